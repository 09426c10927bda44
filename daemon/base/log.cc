// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

namespace np {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("nodeproxy",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::trace);
    const char* wanted = std::getenv("NP_LOG");
    const auto level = parse_log_level(wanted == nullptr ? "" : wanted);
    made->set_level(to_spdlog(level.value_or(LogLevel::kInfo)));
    return made;
  }();
  return *instance;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

void write(spdlog::level::level_enum level, std::string_view message) {
  if (!logger().should_log(level)) return;
  if (std::none_of(message.begin(), message.end(), is_control)) {
    logger().log(level, spdlog::string_view_t(message.data(), message.size()));
    return;
  }
  std::string clean(message);
  std::replace_if(clean.begin(), clean.end(), is_control, '?');
  logger().log(level, spdlog::string_view_t(clean.data(), clean.size()));
}

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view text) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warn") return LogLevel::kWarn;
  if (text == "error") return LogLevel::kError;
  if (text == "off") return LogLevel::kOff;
  return std::nullopt;
}

void set_log_level(LogLevel level) {
  logger().set_level(to_spdlog(level));
}

void log_debug(std::string_view message) {
  write(spdlog::level::debug, message);
}
void log_info(std::string_view message) {
  write(spdlog::level::info, message);
}
void log_warn(std::string_view message) {
  write(spdlog::level::warn, message);
}
void log_error(std::string_view message) {
  write(spdlog::level::err, message);
}

}  // namespace np
