// SPDX-License-Identifier: Apache-2.0
// The directories BPFFS/INSTANCE/vN/{maps,progs,links}: one for each layout that kernel state has
// had (R41). Normally there is one; two while state moves from one layout to another, or after that
// was interrupted. Supervisor only, single-threaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace np::kernel {

struct PinVersion {
  uint32_t number = 1;
  std::string path;
};

PinVersion pin_version(const std::string& pin_base, uint32_t number);
// Newest first; none when `pin_base` does not exist.
std::vector<PinVersion> find_pin_versions(const std::string& pin_base);

// Makes the directory with its three parts, and mounts bpffs above it where none is.
Result<void> make_pin_directories(const std::string& pin_base, const std::string& pin_root);
// Removes the pins of one version. What programs, hooks or processes still use lives on.
void remove_pin_version(const std::string& pin_root);

// Names of the entries of a pin directory, sorted.
std::vector<std::string> list_pins(const std::string& directory);

}  // namespace np::kernel
