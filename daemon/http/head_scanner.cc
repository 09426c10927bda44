// SPDX-License-Identifier: Apache-2.0
#include "http/head_scanner.h"

#include <algorithm>
#include <cstring>

#include "http/grammar.h"

namespace np::http {
namespace {

constexpr std::string_view kStatusLineStart = "HTTP/";

bool is_bare_lf(std::string_view line) {
  return line.size() < 2 || line[line.size() - 2] != '\r';
}

}  // namespace

void HeadScanner::begin(const Limits& limits) {
  limits_ = limits;
  start_ = start_line_end_ = line_start_ = position_ = 0;
  field_bytes_ = field_count_ = empty_lines_ = 0;
  is_in_fields_ = limits.start_line == StartLine::kNone;
  is_complete_ = false;
}

ScanResult HeadScanner::scan(std::string_view bytes) {
  while (true) {
    const std::string_view rest = bytes.substr(position_);
    const void* const hit = rest.empty() ? nullptr : std::memchr(rest.data(), '\n', rest.size());
    const bool has_ended = hit != nullptr;
    position_ = has_ended ? static_cast<size_t>(static_cast<const char*>(hit) - bytes.data()) + 1
                          : bytes.size();
    const std::string_view line = bytes.substr(line_start_, position_ - line_start_);
    if (line.empty()) return ScanResult::kMore;
    const ScanResult result =
        is_in_fields_ ? check_field_line(line, has_ended) : check_start_line(line, has_ended);
    if (result != ScanResult::kComplete || is_complete_) return result;
    line_start_ = position_;
  }
}

// Whoever speaks another protocol may never send a line end: TLS, a database. What stands before
// the first blank tells; line ends are left to the caller.
ScanResult HeadScanner::check_beginning(std::string_view line) const {
  const bool is_request = limits_.start_line == StartLine::kRequest;
  if (line.front() == '\r') {
    const bool may_be_empty = line.size() == 1 || line[1] == '\n';
    if (may_be_empty) return ScanResult::kMore;
    return is_request ? ScanResult::kBadRequestLine : ScanResult::kBadVersion;
  }
  if (!is_request) {
    const std::string_view seen =
        line.substr(0, std::min(kStatusLineStart.size(), line.find('\n')));
    return kStatusLineStart.starts_with(seen) ? ScanResult::kMore : ScanResult::kBadVersion;
  }
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (is_token_char(c)) {
      if (i >= limits_.method_bytes_max) return ScanResult::kMethodTooLong;
      continue;
    }
    if (c == '\n' || (c == ' ' && i > 0)) break;
    return c == '\r' || c == '\t' ? ScanResult::kBadRequestLine : ScanResult::kBadMethod;
  }
  return ScanResult::kMore;
}

// The length comes before the line end's form in both checks, because a line that arrives slowly is
// known to be too long before its end is seen.
ScanResult HeadScanner::check_start_line(std::string_view line, bool has_ended) {
  const ScanResult beginning = check_beginning(line);
  if (beginning != ScanResult::kMore) return beginning;
  if (line.size() > limits_.start_line_bytes_max) return ScanResult::kStartLineTooLong;
  if (!has_ended) return ScanResult::kMore;
  if (is_bare_lf(line)) return ScanResult::kBareLf;
  if (line == "\r\n") {
    start_ = position_;
    return ++empty_lines_ > limits_.empty_lines_max ? ScanResult::kTooManyEmptyLines
                                                    : ScanResult::kComplete;
  }
  is_in_fields_ = true;
  start_line_end_ = position_;
  return ScanResult::kComplete;
}

ScanResult HeadScanner::check_field_line(std::string_view line, bool has_ended) {
  if (line == "\r\n") {
    is_complete_ = true;
    return ScanResult::kComplete;
  }
  if (!has_ended && line == "\r") return ScanResult::kMore;
  if (field_count_ >= limits_.field_count_max) return ScanResult::kTooManyFields;
  if (field_bytes_ + line.size() > limits_.field_bytes_max) return ScanResult::kFieldsTooLarge;
  if (!has_ended) return ScanResult::kMore;
  if (is_bare_lf(line)) return ScanResult::kBareLf;
  ++field_count_;
  field_bytes_ += line.size();
  return ScanResult::kComplete;
}

void HeadScanner::forget_prefix() {
  start_ = 0;
  line_start_ = 0;
  position_ = 0;
}

}  // namespace np::http
