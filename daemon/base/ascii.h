// SPDX-License-Identifier: Apache-2.0
// Characters, without the locale that <cctype> asks.
#pragma once

namespace np {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Stands between double quotes as it is, in JSON and in a log line.
constexpr bool is_plain_text(char c) {
  return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

}  // namespace np
