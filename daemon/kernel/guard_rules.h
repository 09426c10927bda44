// SPDX-License-Identifier: Apache-2.0
// GuardRules: makes np_guard_lpm and np_guard_dst say what people asked for, and what the daemon's
// own listeners need. Begins with what an earlier worker left there: what stays wanted keeps its
// tokens and counters. Worker, control thread only.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "control/guard.h"
#include "kernel/kernel_maps.h"

namespace np::kernel {

class GuardRules {
 public:
  GuardRules(int denied, int destinations) : denied_(denied), destinations_(destinations) {}

  Result<void> set_denied(const std::vector<IpPrefix>& prefixes);
  // What is asked for comes before what is exposed. Until both are known nothing is removed.
  Result<void> set_limits(const std::vector<control::GuardLimit>& limits);
  Result<void> set_exposed(const std::vector<SocketAddress>& listeners);
  std::vector<control::GuardUse> uses() const;

 private:
  Result<void> write_destinations();

  MapView<np_guard_net, np_guard_rule> denied_;
  MapView<np_guard_key, np_guard_dst> destinations_;
  std::optional<std::vector<control::GuardLimit>> limits_;
  std::optional<std::vector<SocketAddress>> exposed_;
};

}  // namespace np::kernel
