// SPDX-License-Identifier: Apache-2.0
#include "overload/memory_limit.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace np::overload {
namespace {

constexpr uint64_t kKibi = 1024, kKilo = 1000;
// cgroup v1 says "none" by the largest number of whole pages.
constexpr uint64_t kNoLimitFrom = uint64_t{1} << 60;

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

// The number of the line that begins with NAME.
std::optional<uint64_t> field_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());  // "NAME 12" in cgroups, "NAME:   12 kB" in /proc
    const size_t digit = line.find_first_not_of(" \t:");
    if (digit == 0 || digit == std::string_view::npos) continue;
    return parse_number(line.substr(digit));
  }
  return std::nullopt;
}

bool has_word(std::string_view list, std::string_view word) {
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    if (list.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

// "5:memory:/path" of version 1, "0::/path" of version 2. What is ".." at the front lies outside of
// this namespace: its own root is all that can be read.
struct OwnGroups {
  std::optional<std::string> v2, v1;
};
OwnGroups own_groups(const std::string& text) {
  OwnGroups groups;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string path(line.substr(second + 1));
    if (path == "/" || path.starts_with("/..")) path.clear();
    if (controllers.empty() && line.starts_with("0:")) groups.v2 = std::move(path);
    if (has_word(controllers, "memory")) groups.v1 = std::move(path);
  }
  return groups;
}

struct Layout {
  std::string mount;
  const char* file;
  bool is_v1;
};

// From the group up to the root of the hierarchy, keeping the smallest.
void look_up(const Layout& layout, std::string path, MemoryLimit& found) {
  for (;;) {
    const std::string directory = layout.mount + path;
    const auto limit = parse_number(read_file(directory + "/" + layout.file));
    if (limit && *limit < kNoLimitFrom && (found.bytes == 0 || *limit < found.bytes)) {
      found.bytes = *limit;
      found.directory = directory;
      found.is_v1 = layout.is_v1;
      found.source = std::string(layout.file) + " of cgroup " + (path.empty() ? "/" : path);
    }
    if (path.empty()) return;
    path.resize(std::min(path.rfind('/'), path.size()));
  }
}

}  // namespace

MemoryLimit find_memory_limit(const MemoryFiles& files) {
  const OwnGroups groups = own_groups(read_file(files.proc + "/self/cgroup"));
  MemoryLimit found;
  if (groups.v2) {
    // Alone, or beside version 1 under "unified".
    for (const char* below : {"", "/unified"}) {
      look_up({files.cgroup_root + below, "memory.max", false}, *groups.v2, found);
    }
  }
  if (groups.v1) {
    look_up({files.cgroup_root + "/memory", "memory.limit_in_bytes", true}, *groups.v1, found);
  }
  const auto machine = field_of(read_file(files.proc + "/meminfo"), "MemTotal");
  const uint64_t machine_bytes = machine.value_or(0) * kKibi;
  // A limit above what there is limits nothing.
  const bool is_limited = found.bytes != 0 && (machine_bytes == 0 || found.bytes < machine_bytes);
  if (is_limited) return found;
  MemoryLimit whole;
  whole.bytes = machine_bytes;
  whole.source = "the machine's memory";
  return whole;
}

uint64_t working_set(const std::string& usage_text, const std::string& stat_text, bool is_v1) {
  const auto usage = parse_number(usage_text);
  if (!usage) return 0;
  // What the kernel takes back before it kills.
  constexpr std::array<std::string_view, 3> kInV2 = {"inactive_file", "active_file",
                                                     "slab_reclaimable"};
  constexpr std::array<std::string_view, 2> kInV1 = {"total_inactive_file", "total_active_file"};
  uint64_t reclaimable = 0;
  const auto add = [&](std::string_view name) {
    reclaimable += field_of(stat_text, name).value_or(0);
  };
  if (is_v1) {
    std::for_each(kInV1.begin(), kInV1.end(), add);
  } else {
    std::for_each(kInV2.begin(), kInV2.end(), add);
  }
  return *usage - std::min(*usage, reclaimable);
}

Result<uint64_t> parse_bytes(const std::string& text) {
  struct Unit {
    std::string_view name;
    uint64_t bytes;
  };
  static constexpr std::array<Unit, 13> kUnits = {{{"", 1},
                                                   {"K", kKilo},
                                                   {"M", kKilo * kKilo},
                                                   {"G", kKilo * kKilo * kKilo},
                                                   {"T", kKilo * kKilo * kKilo * kKilo},
                                                   {"Ki", kKibi},
                                                   {"Mi", kKibi * kKibi},
                                                   {"Gi", kKibi * kKibi * kKibi},
                                                   {"Ti", kKibi * kKibi * kKibi * kKibi},
                                                   {"KiB", kKibi},
                                                   {"MiB", kKibi * kKibi},
                                                   {"GiB", kKibi * kKibi * kKibi},
                                                   {"TiB", kKibi * kKibi * kKibi * kKibi}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const auto* const found = std::find_if(kUnits.begin(), kUnits.end(),
                                         [unit](const Unit& one) { return one.name == unit; });
  constexpr double kMost = 1e18;
  const bool is_number = error == std::errc() && number > 0;
  if (is_number && found != kUnits.end()) {
    const double bytes = number * static_cast<double>(found->bytes);
    if (bytes >= 1 && bytes <= kMost) return static_cast<uint64_t>(bytes);
  }
  return Error{ErrorCode::kInvalid, "read a size", "found \"" + text + "\"",
               "a number above 0 with K, M, G, T, Ki, Mi, Gi or Ti, such as 512Mi"};
}

}  // namespace np::overload
