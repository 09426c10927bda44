// SPDX-License-Identifier: Apache-2.0
// The names that an instance gives to things that all daemons of a kernel share (design.md 8.11).
#pragma once

#include <string>

#include "base/result.h"

namespace np::kernel {

struct InstanceNames {
  std::string instance;
  std::string netns_path;  // /run/netns/INSTANCE
  std::string np0;         // host end of the veth into the proxy namespace, at most 15 characters
  std::string pin_base;    // BPFFS/INSTANCE; the pins are in vN below it (pin_versions.h)
};

inline constexpr const char* kNpxName = "npx";  // the other end: alone in its namespace

// Refuses names that could leave /run/netns or bpffs.
Result<InstanceNames> name_instance(const std::string& instance, const std::string& bpffs);

}  // namespace np::kernel
