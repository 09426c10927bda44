// SPDX-License-Identifier: Apache-2.0
// HeadScanner: finds the blank line that ends a message head or a trailer section, over bytes that
// arrive in pieces, looking at each byte once and checking sizes as it goes. A limit, a bare LF or
// a beginning that no start line has is reported at the same byte however the input was cut. Owned
// by an H1Reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace np::http {

enum class ScanResult : uint8_t {
  kMore,      // no end yet
  kComplete,  // [start(), end()) is the section, blank line included
  kBareLf,
  kTooManyEmptyLines,
  kBadMethod,
  kMethodTooLong,
  kBadRequestLine,  // it ends before its target
  kBadVersion,      // an answer that does not begin with HTTP/
  kStartLineTooLong,
  kFieldsTooLarge,
  kTooManyFields,
};

class HeadScanner {
 public:
  enum class StartLine : uint8_t { kRequest, kStatus, kNone };
  struct Limits {
    StartLine start_line = StartLine::kRequest;
    size_t method_bytes_max = 0;
    size_t empty_lines_max = 0;  // before the start line
    size_t start_line_bytes_max = 0;
    size_t field_bytes_max = 0;
    size_t field_count_max = 0;
  };

  void begin(const Limits& limits);

  // `bytes` starts with everything of this section that earlier calls were given.
  ScanResult scan(std::string_view bytes);

  // Whether anything but whole empty lines was seen. If not, forget_prefix() lets the next call
  // start with fresh bytes.
  bool has_content(std::string_view bytes) const { return start_ != bytes.size(); }
  void forget_prefix();

  size_t start() const { return start_; }
  size_t end() const { return position_; }
  // Behind the start line; 0 before its end was seen, and where there is none.
  size_t start_line_end() const { return start_line_end_; }

 private:
  // kComplete here means: go on with the next line.
  ScanResult check_start_line(std::string_view line, bool has_ended);
  ScanResult check_beginning(std::string_view line) const;
  ScanResult check_field_line(std::string_view line, bool has_ended);

  Limits limits_;
  size_t start_ = 0;  // of the first line that is not empty
  size_t start_line_end_ = 0;
  size_t line_start_ = 0;  // of the current line
  size_t position_ = 0;    // bytes before it were looked at
  size_t field_bytes_ = 0;
  size_t field_count_ = 0;
  size_t empty_lines_ = 0;
  bool is_in_fields_ = false;
  bool is_complete_ = false;
};

}  // namespace np::http
