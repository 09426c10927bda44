// SPDX-License-Identifier: Apache-2.0
#include "overload_options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>

#include "overload/memory_limit.h"

namespace np {
namespace {

constexpr uint32_t kPercentMax = 100;
// A shard shows that it goes on every 40 ms; less than a few of these would blame the scheduler.
constexpr int64_t kWatchdogMinMs = 200;

std::string check_bytes(const std::string& text) {
  const auto bytes = overload::parse_bytes(text);
  return bytes ? "" : bytes.error().to_string();
}

std::string check_thresholds(const std::string& text) {
  if (parse_thresholds(text)) return "";
  return "found \"" + text + "\"; allowed: off, or three rising percentages of the memory limit " +
         "from 1 to 100, such as 92,95,98";
}

void add_duration(CLI::App& app, const char* name, const char* help, int64_t least_ms,
                  Duration& duration) {
  static const std::map<std::string, int64_t> units = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  const auto check = [least_ms](const std::string& text) -> std::string {
    int64_t ms = 0;
    std::from_chars(text.data(), text.data() + text.size(), ms);
    const bool fits = ms == 0 || (ms >= least_ms && ms <= kDurationMaxMs);
    return fits ? "" : "allowed: 0s, or " + std::to_string(least_ms) + "ms to 24h";
  };
  app.add_option_function<int64_t>(
         name, [&duration](const int64_t& ms) { duration = std::chrono::milliseconds(ms); }, help)
      ->check(CLI::Validator(check, "", ""))
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"));
}

}  // namespace

std::optional<std::optional<overload::MemoryThresholds>> parse_thresholds(const std::string& text) {
  using overload::MemoryThresholds;
  if (text == "off") return std::optional<MemoryThresholds>();
  MemoryThresholds thresholds;
  const char* at = text.data();
  const char* const end = at + text.size();
  uint32_t before = 0;
  for (uint32_t& percent : thresholds.percent) {
    if (before != 0 && (at == end || *at++ != ',')) return std::nullopt;
    const auto [next, error] = std::from_chars(at, end, percent);
    if (error != std::errc() || percent <= before || percent > kPercentMax) return std::nullopt;
    at = next;
    before = percent;
  }
  if (at != end) return std::nullopt;
  return std::optional(thresholds);
}

void define_overload(CLI::App& app, OverloadChoices& choices) {
  app.add_option_function<std::string>(
         "--memory-limit",
         [&choices](const std::string& text) {
           choices.memory_limit_bytes = overload::parse_bytes(text).value();
         },
         "memory that the worker may use, e.g. 512Mi; default: its cgroup's limit, else the "
         "machine's memory")
      ->check(CLI::Validator(check_bytes, "BYTES"));
  app.add_option_function<std::string>(
         "--overload-memory",
         [&choices](const std::string& text) { choices.memory = *parse_thresholds(text); },
         "percent of that from which on nothing is kept alive, new requests are refused, the "
         "largest are ended; off: never; default: 92,95,98")
      ->check(CLI::Validator(check_thresholds, "P,P,P"));
  add_duration(app, "--overload-lag",
               "new connections are refused while the loops run as late; 0s: never; default: 500ms",
               1, choices.lag);
  add_duration(app, "--watchdog",
               "a worker that hangs for as long is aborted and replaced; 0s: never; default: 2s",
               kWatchdogMinMs, choices.watchdog);
}

}  // namespace np
