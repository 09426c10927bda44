// SPDX-License-Identifier: Apache-2.0
// Attaching an XDP program to an interface by a pinned link, which survives this process. There is
// one place for XDP on an interface: whoever has it keeps it. Supervisor only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace np::kernel {

enum class XdpMode : uint8_t { kNative, kGeneric };

const char* xdp_mode_name(XdpMode mode);

struct XdpState {
  uint32_t program_id = 0;
  std::string name;  // of the program
  // Nothing: the program runs on the device itself.
  std::optional<XdpMode> mode;
};
// "other (program 17, native)".
std::string to_text(const XdpState& state);

// Nothing: the interface has no XDP program, or cannot be asked.
std::optional<XdpState> read_xdp(uint32_t ifindex);

// Replaces the program of the link that is pinned at `pin` when it is of this interface and mode;
// else makes and pins a new one. kConflict: somebody else's program is there. kUnsupported: the
// driver will not have it.
Result<void> attach_xdp(XdpMode mode, uint32_t ifindex, const std::string& pin, int program_fd);

// Whether the link at `pin` is alive and of this interface.
bool is_link_of(const std::string& pin, uint32_t ifindex);
// Detaches, also when another process holds the link. What is not there is no error.
void remove_link_pin(const std::string& pin);

}  // namespace np::kernel
