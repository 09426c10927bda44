// SPDX-License-Identifier: Apache-2.0
// LogFormat: what a line of the access log looks like: a format string with Envoy's command
// operators
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage) or
// JSON. Parsed once at start; a value, used by the telemetry thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "metrics/record_codec.h"

namespace np::metrics {

// Istio's default line, and behind it the policy object.
extern const std::string_view kDefaultLogFormat;

class LogFormat {
 public:
  // "json", "default", or a format string; a line ends with a newline of ours. Fails on an operator
  // that is not known, and says which are.
  static Result<LogFormat> parse(std::string_view text);
  // Appends one line. `unix_offset`: what turns an Instant into the time of day.
  void write(const Record& record, Duration unix_offset, std::string& out) const;

 private:
  using Write = void (*)(const Record& record, Duration unix_offset, std::string& out);
  struct Piece {
    Write write = nullptr;  // null: the text as it is
    std::string text;
    size_t bytes_max = 0;  // %REQ(X):40%; 0: all
  };
  bool is_json_ = false;
  std::vector<Piece> pieces_;
};

}  // namespace np::metrics
