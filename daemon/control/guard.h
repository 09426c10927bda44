// SPDX-License-Identifier: Apache-2.0
// The admission guard of the node's uplinks, as control sees it: which interfaces, which sources,
// which limits. GuardHost is the kernel's side, wired by main. Control thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace np::control {

struct NamedCounter;

struct GuardPlace {
  std::string ifname;
  std::string mode;  // "native", "generic", "tc"; "": the best that the driver has
  bool operator==(const GuardPlace&) const = default;
};

// New connections to an address and port; the unspecified address stands for all of this node.
struct GuardLimit {
  SocketAddress destination;
  uint32_t rate = 0;  // per second; 0: as many as come
  uint32_t burst = 0;
  bool sheds = true;  // none while the daemon is overloaded
  bool operator==(const GuardLimit&) const = default;
};

// What people asked for; it is saved.
struct GuardSettings {
  std::vector<GuardPlace> places;
  std::vector<IpPrefix> denied;
  std::vector<GuardLimit> limits;
  bool operator==(const GuardSettings&) const = default;
};

struct GuardState {
  GuardPlace place;
  std::string hook;  // "native", "generic", "tcx", "clsact"; "": it is not attached
  uint32_t ifindex = 0;
  std::string note;     // why it is not the first choice
  std::string problem;  // why it is not attached, or what endangers it
};

struct GuardUse {
  GuardLimit limit;
  uint64_t passed = 0, limited = 0, shed = 0;
};

class GuardHost {
 public:
  virtual ~GuardHost() = default;
  // `is_kept`: an interface that cannot be guarded now is remembered, and guarded once it can.
  virtual Result<GuardState> attach(const GuardPlace& place, bool is_kept) = 0;
  virtual Result<void> detach(const std::string& ifname) = 0;
  virtual std::vector<GuardState> states() = 0;
  // Each makes the kernel's table say exactly this; what stays keeps its tokens and counters.
  virtual Result<void> set_denied(const std::vector<IpPrefix>& prefixes) = 0;
  virtual Result<void> set_limits(const std::vector<GuardLimit>& limits) = 0;
  // The daemon's own listeners: they shed load without anybody's asking.
  virtual Result<void> set_exposed(const std::vector<SocketAddress>& listeners) = 0;
  virtual std::vector<GuardUse> uses() = 0;
  virtual std::vector<NamedCounter> counters() = 0;  // of np_guard_st
};

}  // namespace np::control
