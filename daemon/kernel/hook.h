// SPDX-License-Identifier: Apache-2.0
// Attaching a program to one side of an interface, first in line: by tcx, or by clsact with a
// fixed handle and priority where there is no tcx (design.md 8.12). Both survive this process: the
// tcx link is pinned, the clsact filter belongs to the interface. Supervisor only.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace np::kernel {

enum class Hook : uint8_t { kTcx, kClsact };

const char* hook_name(Hook hook);

// Whether this kernel has tcx: asked of the kernel, nothing is attached.
bool has_tcx();

enum class HookSide : uint8_t { kIngress, kEgress };

struct HookPoint {
  uint32_t ifindex = 0;
  std::string link_pin;      // where the tcx link is pinned
  std::string program_name;  // only filters with this program are ours
  HookSide side = HookSide::kIngress;
};

// Takes over what an earlier process attached (the program is replaced in place, never doubled),
// removes what it attached by the other hook. Where somebody got ahead of it, it is attached anew,
// at the head: for the length of two system calls the packets of this interface pass uncaptured.
Result<void> attach_hook(Hook hook, const HookPoint& point, int program_fd);

// Removes either kind. What is not there is no error; what is not ours stays.
Result<void> detach_hook(const HookPoint& point);

// The interface of a pinned link; 0 when the interface is gone, Error when there is no such pin.
Result<uint32_t> pinned_link_ifindex(const std::string& pin);

// Replaces the program of a pinned link, whatever kind it is. kNotFound: no pin, or its target is
// gone; such a pin is removed.
Result<void> update_pinned_link(const std::string& pin, int program_fd);

// Replaces the program of our clsact filter at the interface; no filter of ours is no error.
Result<void> update_filter(const HookPoint& point, int program_fd);

// Whether `point`'s program is attached, and ahead of all others.
struct HookState {
  bool is_attached = false;
  bool is_first = false;
  Hook hook = Hook::kTcx;
};
HookState inspect_hook(const HookPoint& point);

}  // namespace np::kernel
