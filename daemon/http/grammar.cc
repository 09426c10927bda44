// SPDX-License-Identifier: Apache-2.0
#include "http/grammar.h"

#include "base/ascii.h"
#include "base/field.h"

namespace np::http {
namespace {

constexpr bool contains(std::string_view set, char c) {
  return set.find(c) != std::string_view::npos;
}

template <typename Rule>
constexpr ByteSet make_set(Rule rule) {
  ByteSet set;
  for (uint8_t byte = 0x21; byte < 0x7f; ++byte) {
    if (rule(static_cast<char>(byte))) set.add(byte);
  }
  return set;
}

constexpr bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

constexpr ByteSet kTargetBytes = make_set([](char c) { return !contains("\"<>#", c); });
// RFC 3986 reg-name. Percent-encoding is left out: the same name in two spellings would be two
// names for policy.
constexpr ByteSet kHostBytes =
    make_set([](char c) { return is_alphanumeric(c) || contains("-._~!$&'()*+,;=", c); });
constexpr ByteSet kAddressBytes =
    make_set([](char c) { return is_hex_digit(c) || contains(":.", c); });

bool consists_of(std::string_view text, const ByteSet& wanted) {
  return good_bytes(text, wanted) == text.size();
}

const char* find_port_fault(std::string_view port) {
  if (port.empty() || port.size() > 5 || !consists_of(port, kAddressBytes)) return "bad_port";
  uint64_t number = 0;
  return parse_length(port, number) && number <= 65535 ? nullptr : "bad_port";
}

}  // namespace

constexpr ByteSet kTokenBytes =
    make_set([](char c) { return is_alphanumeric(c) || contains("!#$%&'*+-.^_`|~", c); });

bool is_token(std::string_view text) {
  return !text.empty() && consists_of(text, kTokenBytes);
}

bool is_field_value(std::string_view text) {
  return good_bytes(text, ValueBytes()) == text.size();
}

bool is_target_char(char c) {
  return kTargetBytes.contains(c);
}

bool is_target(std::string_view text) {
  return !text.empty() && consists_of(text, kTargetBytes);
}

const char* find_authority_fault(std::string_view text, PortRule port) {
  if (contains(text, '@')) return "userinfo";
  size_t host_size = 0;
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos || bracket < 3) return "bad_host";
    if (!consists_of(text.substr(1, bracket - 1), kAddressBytes)) return "bad_host";
    host_size = bracket + 1;
  } else {
    host_size = good_bytes(text, kHostBytes);
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
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
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
