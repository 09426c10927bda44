// SPDX-License-Identifier: Apache-2.0
// Field: one header line, as seen by codecs, policy and the engine. Views only; whoever hands out a
// Field says how long the bytes live.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace np {

struct Field {
  std::string_view name;   // as received; compare with equals_ignoring_case
  std::string_view value;  // leading and trailing blanks removed
  // Accepted by a parser as a field that is passed on, or made here of nothing but safe texts, and
  // in memory just as it is written: name, colon, blank, value, CRLF.
  bool is_line = false;

  // With its CRLF; only when is_line.
  std::string_view line() const {
    return {name.data(), static_cast<size_t>(value.data() - name.data()) + value.size() + 2};
  }
};
using FieldSpan = std::span<const Field>;

constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
// Of two texts of the same size.
bool has_same_letters(const char* a, const char* b, size_t size);
inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  if (a.empty()) return true;
  // The size and the first letter tell most names apart. A letter's case is one bit.
  constexpr unsigned kCaseBit = 0x20;
  const auto first = static_cast<unsigned>(a.front() ^ b.front());
  return (first & ~kCaseBit) == 0 && has_same_letters(a.data(), b.data(), a.size());
}

// The first field with that name, or null.
const Field* find_field(FieldSpan fields, std::string_view name);

}  // namespace np
