// SPDX-License-Identifier: Apache-2.0
#include "admin/host_guard.h"

#include <algorithm>

#include "base/address.h"
#include "base/field.h"

namespace np::admin {
namespace {

constexpr size_t kNameMax = 253;

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out += ascii_lower(c);
  return out;
}

}  // namespace

HostGuard::HostGuard(const std::vector<std::string>& names) : names_{"localhost"} {
  for (const std::string& name : names) names_.push_back(lower(name));
}

bool HostGuard::allows(const char* host) const {
  if (host == nullptr) return true;
  std::string name = lower(host);
  const size_t colon = name.rfind(':');
  if (colon != std::string::npos && name.find(']', colon) == std::string::npos) name.resize(colon);
  if (name.size() > 2 && name.front() == '[' && name.back() == ']') {
    name = name.substr(1, name.size() - 2);
  }
  if (name.ends_with('.')) name.pop_back();
  return std::find(names_.begin(), names_.end(), name) != names_.end() ||
         IpAddress::parse(name).has_value();
}

std::string check_host_name(std::string_view name) {
  const bool is_good = !name.empty() && name.size() <= kNameMax && name.front() != '.' &&
                       name.back() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
                         const char small = ascii_lower(c);
                         return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') ||
                                c == '-' || c == '.' || c == '_';
                       });
  if (is_good) return "";
  return "found \"" + std::string(name) + "\"; allowed: a host name without port";
}

}  // namespace np::admin
