// SPDX-License-Identifier: Apache-2.0
// HostGuard: by which names this server may be asked. A page of somebody else's can make a name of
// its own mean this address and then read what a browser on this machine can reach (DNS rebinding);
// but browsers say by which name they came. Pure; a value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace np::admin {

class HostGuard {
 public:
  // `names`: beside addresses and localhost.
  explicit HostGuard(const std::vector<std::string>& names);
  // `host`: of the field Host, with or without port; null: there was none, so no browser asks.
  bool allows(const char* host) const;

 private:
  std::vector<std::string> names_;  // lower case
};

// Empty when it can be such a name, else what is allowed.
std::string check_host_name(std::string_view name);

}  // namespace np::admin
