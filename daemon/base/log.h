// SPDX-License-Identifier: Apache-2.0
// The process's log: one line per event on stderr, "TIME LEVEL MESSAGE". Any thread; never on the
// path of a request (that is the access log's work). The level is NP_LOG's (debug, info, warn,
// error, off) until set_log_level() says otherwise; info when neither is given.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace np {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

std::optional<LogLevel> parse_log_level(std::string_view text);
void set_log_level(LogLevel level);

// Control bytes in `message` are shown as '?', so that text that came from outside cannot forge a
// line.
void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

}  // namespace np
