// SPDX-License-Identifier: Apache-2.0
// HeadScanner: finds the blank line that ends a message head or a trailer section, over bytes that
// arrive in pieces, looking at each byte once and checking sizes as it goes. A limit or a bare LF
// is reported at the same byte however the input was cut. Owned by an H1Reader.
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
  kStartLineTooLong,
  kFieldsTooLarge,
  kTooManyFields,
};

class HeadScanner {
 public:
  struct Limits {
    bool has_start_line = true;
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

 private:
  // kComplete here means: go on with the next line.
  ScanResult check_start_line(std::string_view line, bool has_ended);
  ScanResult check_field_line(std::string_view line, bool has_ended);

  Limits limits_;
  size_t start_ = 0;       // of the first line that is not empty
  size_t line_start_ = 0;  // of the current line
  size_t position_ = 0;    // bytes before it were looked at
  size_t field_bytes_ = 0;
  size_t field_count_ = 0;
  size_t empty_lines_ = 0;
  bool is_in_fields_ = false;
  bool is_complete_ = false;
};

}  // namespace np::http
