// SPDX-License-Identifier: Apache-2.0
// Check: one line of `nodectl doctor`, made by the supervisor (kernel) or by the control thread,
// and the form in which `nodeproxyd --inspect` hands it to nodectl when no worker answers. In a
// header because kernel and nodectl share nothing else of this room but the seams and the protocol.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace np::control {

struct Check {
  enum class Level : uint8_t { kOk, kWarn, kFail };
  Level level = Level::kOk;
  std::string area;                   // "hooks": one of a few, under which checks are shown
  std::string subject;                // what was looked at: "default/web on veth12ab"
  std::string found;                  // one sentence, without a final stop
  std::string remedy;                 // what to do, in words; empty when the commands say it
  std::vector<std::string> commands;  // to be typed one after the other
  uint32_t pod_id = 0;                // not ok: registering this pod again mends it
};

inline std::string_view to_text(Check::Level level) {
  constexpr std::string_view kNames[] = {"ok", "warn", "fail"};
  return kNames[static_cast<size_t>(level)];
}

inline constexpr char kCheckSeparator = '\t';

// One line, without its end: level, area, subject, found, remedy, then the commands.
inline std::string to_line(const Check& check) {
  std::string line(to_text(check.level));
  const auto add = [&line](std::string_view text) {
    line += kCheckSeparator;
    for (const char c : text) line += c == kCheckSeparator || c == '\n' ? ' ' : c;
  };
  for (const auto* text : {&check.area, &check.subject, &check.found, &check.remedy}) add(*text);
  for (const std::string& command : check.commands) add(command);
  return line;
}

// Nothing: the line is none of to_line().
inline std::optional<Check> parse_check(std::string_view line) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(kCheckSeparator, begin), line.size());
    parts.emplace_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  constexpr size_t kFixedParts = 5;
  if (parts.size() < kFixedParts) return std::nullopt;
  Check check;
  for (const auto level : {Check::Level::kOk, Check::Level::kWarn, Check::Level::kFail}) {
    if (parts[0] != to_text(level)) continue;
    check.level = level;
    check.area = std::move(parts[1]);
    check.subject = std::move(parts[2]);
    check.found = std::move(parts[3]);
    check.remedy = std::move(parts[4]);
    check.commands.assign(parts.begin() + kFixedParts, parts.end());
    return check;
  }
  return std::nullopt;
}

}  // namespace np::control
