// SPDX-License-Identifier: Apache-2.0
#include "kernel/instance.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace np::kernel {

namespace {

constexpr size_t kInstanceNameMax = 32;
constexpr size_t kInterfaceNameMax = 15;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// "np0" for the default instance, "np0-NAME" when that fits, else "np0-" and a hash of the name.
std::string name_np0(const std::string& instance) {
  if (instance == "nodeproxy") return "np0";
  std::string name = "np0-" + instance;
  if (name.size() <= kInterfaceNameMax) return name;
  uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : instance) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619U;
  char text[16];
  std::snprintf(text, sizeof(text), "np0-%08x", hash);
  return text;
}

}  // namespace

Result<InstanceNames> name_instance(const std::string& instance, const std::string& bpffs) {
  if (instance.empty() || instance.size() > kInstanceNameMax || instance.front() == '-' ||
      !std::all_of(instance.begin(), instance.end(), is_name_character)) {
    return Error{ErrorCode::kInvalid, "instance name \"" + instance + "\"",
                 "only a-z, 0-9, - and _ are allowed, 1 to 32 of them, not starting with -", ""};
  }
  return InstanceNames{instance, "/run/netns/" + instance, name_np0(instance),
                       bpffs + "/" + instance};
}

}  // namespace np::kernel
