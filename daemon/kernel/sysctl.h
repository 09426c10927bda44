// SPDX-License-Identifier: Apache-2.0
// Settings under /proc/sys, of the network namespace that the calling thread is in: what the proxy
// namespace must have (R18, R27), how it is written and read. Supervisor only.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace np::kernel {

struct Sysctl {
  enum class Fit : uint8_t { kExactly, kAtLeast };
  const char* path;  // below /proc/sys
  const char* value;
  bool required;  // capture does not work otherwise
  Fit fit = Fit::kExactly;
};

// Of the proxy namespace, written at every start.
std::span<const Sysctl> proxy_sysctls();

Result<void> write_sysctl(const Sysctl& sysctl);
// Words are one blank apart; nothing when this kernel has no such setting.
std::optional<std::string> read_sysctl(const std::string& path);
bool fits(const Sysctl& wanted, const std::string& value);
// "net.ipv4.ip_forward", as sysctl(8) writes it.
std::string sysctl_name(const std::string& path);

}  // namespace np::kernel
