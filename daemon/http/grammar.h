// SPDX-License-Identifier: Apache-2.0
// Grammar: what may stand where in an HTTP/1 message (RFC 9110 5, RFC 9112, RFC 3986), as pure
// functions over bytes. Used by the h1 reader and writer; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/byte_scan.h"

namespace np::http {

// tchar
extern const ByteSet kTokenBytes;
inline bool is_token_char(char c) {
  return kTokenBytes.contains(c);
}
// 1*tchar
bool is_token(std::string_view text);
// HTAB, SP, VCHAR and obs-text; no CR, LF, NUL or other control character.
bool is_field_value(std::string_view text);
// A byte that may stand in a request target: printable ASCII but `"`, `<`, `>`, `#` and blank. RFC
// 3986 also excludes \ ^ ` { | }, which browsers do send.
bool is_target_char(char c);
bool is_target(std::string_view text);

// host [":" port] without userinfo and percent-encoding. Null when `text` is one, else the name of
// the broken rule.
enum class PortRule : uint8_t { kOptional, kRequired };
const char* find_authority_fault(std::string_view text, PortRule port);

// 1*DIGIT up to 2^63-1.
bool parse_length(std::string_view text, uint64_t& out);

inline bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
std::string_view trim_blanks(std::string_view text);
bool starts_with_ignoring_case(std::string_view text, std::string_view lower_case_prefix);

// Takes the next element off a comma list; false when none is left. Elements may be empty.
//   for (ListReader list{value}; list.next(element);)
class ListReader {
 public:
  explicit ListReader(std::string_view value) : rest_(value) {}
  bool next(std::string_view& element);

 private:
  std::string_view rest_;
  bool is_finished_ = false;
};

}  // namespace np::http
