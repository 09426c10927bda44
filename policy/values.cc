// SPDX-License-Identifier: Apache-2.0
#include "policy/values.h"

#include <algorithm>
#include <cmath>

#include "base/ascii.h"

namespace np::policy {
namespace {

constexpr size_t kMaxHostBytes = 253;
constexpr size_t kMaxLabelBytes = 63;

bool is_lower_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_alnum(char c) {
  return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};
// Longer names first: "ms" must not be read as "m".
constexpr Unit kUnits[] = {{"ns", 1},
                           {"us", 1'000},
                           {"ms", 1'000'000},
                           {"s", 1'000'000'000},
                           {"m", 60'000'000'000},
                           {"h", 3'600'000'000'000}};

// One "12.5ms" at the front of `text`, which it consumes. Exact: no floating point.
std::optional<int64_t> take_part(std::string_view& text) {
  int64_t whole = 0;
  int64_t fraction = 0;
  int64_t scale = 1;
  size_t at = 0;
  size_t digits = 0;
  for (; at < text.size() && is_digit(text[at]); ++at, ++digits) {
    if (__builtin_mul_overflow(whole, int64_t{10}, &whole)) return std::nullopt;
    if (__builtin_add_overflow(whole, int64_t{text[at] - '0'}, &whole)) return std::nullopt;
  }
  if (at < text.size() && text[at] == '.') {
    for (++at; at < text.size() && is_digit(text[at]); ++at, ++digits) {
      if (scale >= 1'000'000'000) continue;  // finer than a nanosecond
      fraction = fraction * 10 + (text[at] - '0');
      scale *= 10;
    }
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(at);
  for (const Unit& unit : kUnits) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    int64_t total = 0;
    if (__builtin_mul_overflow(whole, unit.nanoseconds, &total)) return std::nullopt;
    auto rest = static_cast<int64_t>(static_cast<__int128>(fraction) * unit.nanoseconds / scale);
    if (__builtin_add_overflow(total, rest, &total)) return std::nullopt;
    return total;
  }
  return std::nullopt;
}

bool check_label_text(const Value& value, std::string_view text, bool key) {
  bool legal = text.size() <= (key ? kMaxHostBytes + 1 + kMaxLabelBytes : kMaxLabelBytes);
  for (char c : text)
    legal = legal && (is_alnum(c) || c == '-' || c == '_' || c == '.' || c == '/');
  if (key && text.empty()) legal = false;
  if (!legal) {
    value.error(key ? "not a legal label name" : "not a legal label value", shown(text),
                "letters, digits, '-', '_', '.', '/'");
  }
  return legal;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration{};
  if (text.empty()) return std::nullopt;
  int64_t total = 0;
  while (!text.empty()) {
    auto part = take_part(text);
    if (!part || __builtin_add_overflow(total, *part, &total)) return std::nullopt;
  }
  return Duration(total);
}

std::optional<Duration> read_duration(const Value& value, ZeroDuration zero) {
  if (!value.present()) return std::nullopt;
  const char* allowed = zero == ZeroDuration::kAllowed
                            ? "0s, or at least 1ms in whole milliseconds, for example 1.5s or 1h30m"
                            : "at least 1ms in whole milliseconds, for example 1.5s or 1h30m";
  std::optional<Duration> duration;
  if (value.is_scalar()) duration = parse_duration(value.node()->scalar);
  if (!duration) {
    bool bare = value.is_scalar() && scalar_type(*value.node()) != ScalarType::kString;
    value.error(bare ? "a duration needs a unit" : "not a duration", value.found(), allowed);
    return std::nullopt;
  }
  if (*duration == Duration{} && zero == ZeroDuration::kAllowed) return duration;
  if (*duration < std::chrono::milliseconds(1) ||
      *duration % std::chrono::milliseconds(1) != Duration{}) {
    value.error("duration out of range", value.found(), allowed);
    return std::nullopt;
  }
  return duration;
}

std::optional<uint32_t> read_percent(const Value& value) {
  auto percent = value.number(0, 100);
  if (!percent) return std::nullopt;
  double parts = *percent * 10'000;
  double rounded = std::round(parts);
  if (std::abs(parts - rounded) > 1e-6) {
    value.error("finer than the step of 0.0001 percent", value.found(), "0, 0.0001..100");
    return std::nullopt;
  }
  return static_cast<uint32_t>(rounded);
}

std::optional<uint32_t> read_whole_percent(const Value& value) {
  auto percent = value.number(0, 100);
  if (!percent) return std::nullopt;
  if (*percent != std::floor(*percent)) {
    value.warning("the fraction of this percentage is cut off, as Istio 0.x did");
  }
  return static_cast<uint32_t>(std::floor(*percent)) * (kPerMillion / 100);
}

std::optional<uint16_t> read_port(const Value& value) {
  auto port = value.integer(1, 65535);
  if (!port) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

std::optional<uint32_t> read_count(const Value& value, uint32_t least) {
  auto count = value.integer(least, INT32_MAX);
  if (!count) return std::nullopt;
  return static_cast<uint32_t>(*count);
}

bool is_dns_label(std::string_view text) {
  if (text.empty() || text.size() > kMaxLabelBytes) return false;
  if (!is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_lower_alnum(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view text) {
  if (text.empty() || text.size() > kMaxHostBytes) return false;
  while (true) {
    size_t dot = text.find('.');
    if (!is_dns_label(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_header_name(std::string_view text) {
  if (text.empty() || text.size() > 256) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

std::string full_host(std::string_view text, std::string_view ns) {
  std::string host = lower_case(text);
  if (host.ends_with('.')) host.pop_back();
  size_t dot = host.find('.');
  std::string suffix = ".svc." + std::string(kClusterDomain);
  if (dot == std::string::npos) {
    if (host.starts_with('*')) return host;
    return host + "." + std::string(ns) + suffix;
  }
  std::string_view rest = std::string_view(host).substr(dot + 1);
  if (rest == ns) return host + suffix;
  size_t second = rest.find('.');
  if (second != std::string_view::npos && rest.substr(second) == ".svc") {
    return host + "." + std::string(kClusterDomain);
  }
  return host;
}

std::optional<std::string> read_host(const Value& value, std::string_view ns, Wildcard wildcard) {
  auto text = value.non_empty_string();
  if (!text) return std::nullopt;
  if (*text == "*" && wildcard == Wildcard::kLeadingOrAll) return text;
  std::string host = full_host(*text, ns);
  if (IpAddress::parse(host)) return host;
  std::string_view name = host;
  // Underscores occur in real host names and in Docker's.
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '_', '-');
  bool wild = name.starts_with("*.");
  if (wild && wildcard != Wildcard::kRefused && is_dns_subdomain(plain.substr(2))) return host;
  if (!wild && is_dns_subdomain(plain)) return host;
  value.error("not a legal host", shown(*text),
              wildcard == Wildcard::kRefused ? "a short or a full name"
                                             : "a short name, a full name, or *.domain");
  return std::nullopt;
}

Labels read_labels(const Value& value) {
  Labels labels;
  for (const Value& entry : value.entries()) {
    if (!check_label_text(entry, entry.key(), true)) continue;
    if (!entry.written()) continue;
    if (!entry.present()) {
      labels[entry.key()] = "";
      continue;
    }
    auto text = entry.string();
    if (text && check_label_text(entry, *text, false)) labels[entry.key()] = *text;
  }
  return labels;
}

std::vector<std::string> read_export_to(const Value& value) {
  std::vector<std::string> out = value.strings();
  for (const std::string& target : out) {
    if (target != "." && target != "*" && !is_dns_label(target)) {
      value.error("not a legal namespace", shown(target), "\".\", \"*\", or a namespace");
    }
  }
  return out;
}

Protocol protocol_by_name(std::string_view name) {
  std::string text = lower_case(name);
  struct Known {
    std::string_view name;
    Protocol protocol;
  };
  static constexpr Known kApplication[] = {{"kubernetes.io/h2c", Protocol::kHttp2},
                                           {"kubernetes.io/ws", Protocol::kHttp},
                                           {"kubernetes.io/wss", Protocol::kHttps},
                                           {"h2c", Protocol::kHttp2},
                                           {"grpc-web", Protocol::kHttp}};
  for (const Known& known : kApplication) {
    if (text == known.name || text.starts_with(std::string(known.name) + "-")) {
      return known.protocol;
    }
  }
  std::string_view prefix = std::string_view(text).substr(0, text.find('-'));
  static constexpr Known kPrefixes[] = {{"http", Protocol::kHttp},   {"http2", Protocol::kHttp2},
                                        {"grpc", Protocol::kGrpc},   {"tcp", Protocol::kTcp},
                                        {"mongo", Protocol::kTcp},   {"mysql", Protocol::kTcp},
                                        {"redis", Protocol::kTcp},   {"tls", Protocol::kTls},
                                        {"https", Protocol::kHttps}, {"udp", Protocol::kUdp}};
  for (const Known& known : kPrefixes) {
    if (prefix == known.name) return known.protocol;
  }
  return Protocol::kAuto;
}

}  // namespace np::policy
