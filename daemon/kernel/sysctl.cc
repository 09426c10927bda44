// SPDX-License-Identifier: Apache-2.0
#include "kernel/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/fd.h"

namespace np::kernel {

namespace {

constexpr size_t kValueBytesMax = 4096;

// A new namespace inherits the host's settings on some distributions.
constexpr Sysctl kProxySysctls[] = {
    {"net/ipv4/conf/all/rp_filter", "0", true},
    {"net/ipv4/conf/default/rp_filter", "0", true},
    {"net/ipv4/conf/npx/rp_filter", "0", true},
    {"net/ipv4/conf/all/accept_local", "1", true},
    {"net/ipv4/conf/npx/accept_local", "1", true},
    {"net/ipv4/conf/all/src_valid_mark", "0", false},
    {"net/ipv4/conf/all/send_redirects", "0", false},
    {"net/ipv4/conf/npx/send_redirects", "0", false},
    {"net/ipv4/ip_forward", "0", true},
    {"net/ipv4/ip_local_port_range", "1024 65535", true},
    {"net/ipv4/tcp_max_syn_backlog", "8192", false, Sysctl::Fit::kAtLeast},
    {"net/core/somaxconn", "8192", false, Sysctl::Fit::kAtLeast},
    {"net/ipv6/conf/all/forwarding", "0", false},
    {"net/ipv6/conf/all/accept_ra", "0", false},
    {"net/ipv6/conf/npx/accept_ra", "0", false},
    {"net/ipv6/conf/npx/accept_dad", "0", false},
    {"net/ipv6/conf/npx/disable_ipv6", "0", false},
};

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [stopped, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || stopped != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::span<const Sysctl> proxy_sysctls() {
  return kProxySysctls;
}

Result<void> write_sysctl(const Sysctl& sysctl) {
  const std::string path = std::string("/proc/sys/") + sysctl.path;
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const auto size = static_cast<ssize_t>(std::strlen(sysctl.value));
  if (file.is_open() && ::write(file.get(), sysctl.value, static_cast<size_t>(size)) == size) {
    return ok();
  }
  if (!sysctl.required) return ok();
  return system_error(errno, "write " + path, "is /proc/sys mounted read-only?");
}

std::optional<std::string> read_sysctl(const std::string& path) {
  const Fd file(::open(("/proc/sys/" + path).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return std::nullopt;
  char bytes[kValueBytesMax];
  const ssize_t got = ::read(file.get(), bytes, sizeof(bytes));
  if (got < 0) return std::nullopt;
  std::string value(bytes, static_cast<size_t>(got));
  std::replace(value.begin(), value.end(), '\t', ' ');
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

bool fits(const Sysctl& wanted, const std::string& value) {
  if (wanted.fit == Sysctl::Fit::kExactly) return value == wanted.value;
  const auto is = number(value);
  const auto least = number(wanted.value);
  return is && least && *is >= *least;
}

std::string sysctl_name(const std::string& path) {
  std::string name = path;
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

}  // namespace np::kernel
