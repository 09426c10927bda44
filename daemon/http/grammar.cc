// SPDX-License-Identifier: Apache-2.0
#include "http/grammar.h"

#include <array>
#include <cstring>

#include "base/field.h"

namespace np::http {
namespace {

enum CharClass : uint8_t {
  kTokenChar = kTokenClass,
  kTargetChar = 2,
  kHostChar = 4,
  kAddressChar = 8
};

constexpr bool contains(std::string_view set, char c) {
  return set.find(c) != std::string_view::npos;
}

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> classes{};
  for (int i = 0x21; i < 0x7f; ++i) {
    const char c = static_cast<char>(i);
    const bool digit = c >= '0' && c <= '9';
    const bool hex_letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    unsigned bits = 0;
    if (digit || letter || contains("!#$%&'*+-.^_`|~", c)) bits |= kTokenChar;
    if (!contains("\"<>#", c)) bits |= kTargetChar;
    // RFC 3986 reg-name. Percent-encoding is left out: the same name in two spellings would be two
    // names for policy.
    if (digit || letter || contains("-._~!$&'()*+,;=", c)) bits |= kHostChar;
    if (digit || hex_letter || contains(":.", c)) bits |= kAddressChar;
    classes[static_cast<size_t>(i)] = static_cast<uint8_t>(bits);
  }
  return classes;
}

bool is_of(char c, CharClass wanted) {
  return (kCharClasses[static_cast<uint8_t>(c)] & wanted) != 0;
}

bool consists_of(std::string_view text, CharClass wanted) {
  for (const char c : text) {
    if (!is_of(c, wanted)) return false;
  }
  return true;
}

bool is_value_char(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

// Whether any of eight bytes is below 0x20 or is 0x7f: the usual word-parallel tests.
bool has_control_byte(uint64_t word) {
  constexpr uint64_t kOnes = ~0ULL / 255;
  constexpr uint64_t kHighs = kOnes * 0x80;
  const uint64_t below = (word - kOnes * 0x20) & ~word & kHighs;
  const uint64_t del = word ^ (kOnes * 0x7f);
  return (below | ((del - kOnes) & ~del & kHighs)) != 0;
}

const char* find_port_fault(std::string_view port) {
  if (port.empty() || port.size() > 5 || !consists_of(port, kAddressChar)) return "bad_port";
  uint64_t number = 0;
  return parse_length(port, number) && number <= 65535 ? nullptr : "bad_port";
}

}  // namespace

constexpr std::array<uint8_t, 256> kCharClasses = make_classes();

bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!is_token_char(c)) return false;
  }
  return !text.empty();
}

bool is_field_value(std::string_view text) {
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= text.size(); i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if (!has_control_byte(word)) continue;
    for (const char c : text.substr(i, sizeof(word))) {
      if (!is_value_char(c)) return false;
    }
  }
  for (; i < text.size(); ++i) {
    if (!is_value_char(text[i])) return false;
  }
  return true;
}

bool is_target_char(char c) {
  return is_of(c, kTargetChar);
}

bool is_target(std::string_view text) {
  return !text.empty() && consists_of(text, kTargetChar);
}

const char* find_authority_fault(std::string_view text, PortRule port) {
  if (contains(text, '@')) return "userinfo";
  size_t host_size = 0;
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos || bracket < 3) return "bad_host";
    if (!consists_of(text.substr(1, bracket - 1), kAddressChar)) return "bad_host";
    host_size = bracket + 1;
  } else {
    while (host_size < text.size() && is_of(text[host_size], kHostChar)) ++host_size;
    if (host_size == 0) return "bad_host";
  }
  if (host_size == text.size()) return port == PortRule::kRequired ? "bad_port" : nullptr;
  if (text[host_size] != ':') return "bad_host";
  return find_port_fault(text.substr(host_size + 1));
}

bool parse_length(std::string_view text, uint64_t& out) {
  constexpr uint64_t kMax = ~0ULL >> 1U;
  if (text.empty()) return false;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (kMax - digit) / 10) return false;
    value = value * 10 + digit;
  }
  out = value;
  return true;
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_case_prefix) {
  return text.size() >= lower_case_prefix.size() &&
         equals_ignoring_case(text.substr(0, lower_case_prefix.size()), lower_case_prefix);
}

bool ListReader::next(std::string_view& element) {
  if (is_finished_) return false;
  const size_t comma = rest_.find(',');
  element = trim_blanks(rest_.substr(0, comma));
  is_finished_ = comma == std::string_view::npos;
  if (!is_finished_) rest_.remove_prefix(comma + 1);
  return true;
}

}  // namespace np::http
