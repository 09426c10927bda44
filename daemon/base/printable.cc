// SPDX-License-Identifier: Apache-2.0
#include "base/printable.h"

#include <algorithm>

namespace np {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::string_view kPlain = "_-./:=,@%+";

bool is_printable(char c) {
  return c >= 0x20 && c < 0x7f;
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kPlain.find(c) != std::string_view::npos;
}

void append_hex(std::string& out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += kDigits[byte >> 4U];
  out += kDigits[byte & 15U];
}

// U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069: Unicode's Bidi_Control.
bool turns_direction(char16_t code) {
  return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

bool is_unseen(char16_t code) {
  return (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 || turns_direction(code);
}

// Length of a sequence of UTF-8 with at most 16 bits, and of the others only that it is another.
size_t sequence_bytes(unsigned first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return 2;
  return first >= 0xe0 && first < 0xf0 ? 3 : 0;
}

}  // namespace

Unseen unseen_at(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned>(text[i]) & 0xffU; };
  const size_t bytes = text.empty() ? 0 : sequence_bytes(byte(0));
  if (bytes == 0 || bytes > text.size()) return {};
  unsigned code = bytes == 1 ? byte(0) : byte(0) & (0x7fU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    code = code << 6U | (byte(i) & 0x3fU);
  }
  constexpr unsigned kTwoByteMax = 0x7ff;
  if (bytes == 3 && code <= kTwoByteMax) return {};  // longer than needed: no UTF-8
  const auto character = static_cast<char16_t>(code);
  return is_unseen(character) ? Unseen{character, bytes} : Unseen{};
}

bool has_unseen(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (unseen_at(text.substr(i)).bytes > 0) return true;
  }
  return false;
}

void append_unseen(std::string& out, Unseen character) {
  out += "\\u";
  for (const unsigned shift : {12U, 8U, 4U, 0U}) out += kDigits[character.code >> shift & 15U];
}

std::string with_unseen_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Unseen character = unseen_at(text);
    if (character.bytes > 0) {
      append_unseen(out, character);
    } else {
      out += text.front();
    }
    text.remove_prefix(character.bytes > 0 ? character.bytes : 1);
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (!is_printable(c)) {
      append_hex(out, c);
      continue;
    }
    if (c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string shell_word(std::string_view text) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return std::string(text);
  const bool is_clean = std::all_of(text.begin(), text.end(), is_printable);
  std::string out = is_clean ? "'" : "$'";
  for (const char c : text) {
    if (!is_clean && !is_printable(c)) {
      append_hex(out, c);
    } else if (c == '\'') {
      out += is_clean ? "'\\''" : "\\'";
    } else {
      if (c == '\\' && !is_clean) out += '\\';
      out += c;
    }
  }
  return out + "'";
}

}  // namespace np
