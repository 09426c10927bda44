// SPDX-License-Identifier: Apache-2.0
// A matcher that does what the rules say and nothing clever, to compare RuleIndex with; and random
// rules and requests from a small alphabet, so that they meet often.
#pragma once

#include <re2/re2.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "base/random.h"
#include "policy/match.h"
#include "tests/unit/policy/compile_support.h"

namespace np::policy {

// ---- the naive matcher -----------------------------------------------------------------------

inline std::string lowered(std::string text) {
  for (char& c : text) c = ascii_lower(c);
  return text;
}

inline bool naive_matches(const StringMatch& match, std::string text) {
  std::string value = match.value;
  if (match.ignore_case) {
    value = lowered(value);
    text = lowered(text);
  }
  switch (match.kind) {
    case StringMatch::Kind::kExact:
      return text == value;
    case StringMatch::Kind::kPrefix:
      return text.compare(0, value.size(), value) == 0;
    case StringMatch::Kind::kPresent:
      return true;
    case StringMatch::Kind::kRegex:
      return re2::RE2::FullMatch(text, match.value);
    case StringMatch::Kind::kPathElements:
      if (!value.empty() && value.back() == '/') value.pop_back();
      return text == value || text.compare(0, value.size() + 1, value + "/") == 0;
  }
  return false;
}

inline std::optional<std::string> naive_header(const RequestView& request,
                                               const std::string& name) {
  std::optional<std::string> out;
  for (const Field& field : request.fields) {
    if (lowered(std::string(field.name)) != name) continue;
    if (out) *out += name == "cookie" ? "; " : ",";
    if (!out) out = "";
    *out += field.value;
  }
  return out;
}

inline std::optional<std::string> naive_parameter(const std::string& query,
                                                  const std::string& name) {
  const std::string text = "&" + query + "&";
  for (size_t at = 0; at + 1 < text.size(); at = text.find('&', at + 1)) {
    const std::string item = text.substr(at + 1, text.find('&', at + 1) - at - 1);
    const size_t equals = item.find('=');
    if (item.substr(0, equals) != name) continue;
    return equals == std::string::npos ? "" : item.substr(equals + 1);
  }
  return std::nullopt;
}

inline bool naive_holds(const MatchCondition& match, const RequestView& request,
                        const CallerView& caller) {
  const std::string path(request.path);
  const std::string query(request.query);
  if (match.path && !naive_matches(*match.path, path)) return false;
  if (match.path_and_query &&
      !naive_matches(*match.path_and_query, query.empty() ? path : path + "?" + query)) {
    return false;
  }
  if (match.method && !naive_matches(*match.method, std::string(request.method))) return false;
  if (match.authority && !naive_matches(*match.authority, std::string(request.authority))) {
    return false;
  }
  for (const NamedMatch& header : match.headers) {
    const auto value = naive_header(request, lowered(header.name));
    if (!value || !naive_matches(header.match, *value)) return false;
  }
  for (const NamedMatch& header : match.without_headers) {
    const auto value = naive_header(request, lowered(header.name));
    if (header.match.kind == StringMatch::Kind::kPresent) {
      if (value) return false;
    } else if (naive_matches(header.match, value.value_or(""))) {
      return false;
    }
  }
  for (const NamedMatch& parameter : match.query_params) {
    const auto value = naive_parameter(query, parameter.name);
    if (!value || !naive_matches(parameter.match, *value)) return false;
  }
  for (const auto& [key, value] : match.source_labels) {
    if (caller.pod == nullptr || !caller.pod->labels.contains(key) ||
        caller.pod->labels.at(key) != value) {
      return false;
    }
  }
  return true;
}

// ---- random rules and requests -----------------------------------------------------------------

class RandomWorld {
 public:
  explicit RandomWorld(uint64_t seed) : rng_(seed) {
    pods_[0].labels = {{"app", "a"}};
    pods_[1].labels = {{"app", "b"}};
  }

  MatchCondition condition() {
    MatchCondition out;
    if (rng_.chance(8, 10)) out.path = path_match();
    if (!out.path && rng_.chance(1, 4)) out.path_and_query = regex("/" + word() + ".*\\?.*x=[ab]");
    if (rng_.chance(1, 4)) out.method = exact(rng_.chance(1, 2) ? "GET" : "POST");
    if (rng_.chance(1, 8)) out.authority = exact(word());
    if (rng_.chance(1, 3)) out.headers.push_back({header(), value_match()});
    if (rng_.chance(1, 8)) out.headers.push_back({header(), value_match()});
    if (rng_.chance(1, 8)) out.without_headers.push_back({header(), value_match()});
    if (rng_.chance(1, 6)) out.query_params.push_back({"x", value_match()});
    if (rng_.chance(1, 10)) out.source_labels = {{"app", rng_.chance(1, 2) ? "a" : "b"}};
    return out;
  }

  // Valid until the next call.
  RequestView request() {
    texts_.clear();
    fields_.clear();
    RequestView out;
    out.method = rng_.chance(1, 2) ? "GET" : "POST";
    out.scheme = "http";
    out.authority = keep(word());
    out.path = keep(path());
    if (rng_.chance(1, 2)) out.query = keep("y=1&x=" + word() + "&x=b");
    const uint32_t count = rng_.below(4);
    for (uint32_t i = 0; i < count; ++i) {
      std::string name = header();
      if (rng_.chance(1, 3)) name[0] = static_cast<char>(name[0] - 'a' + 'A');
      fields_.push_back({keep(name), keep(word())});
    }
    out.fields = fields_;
    return out;
  }

  CallerView caller() {
    CallerView out;
    const uint32_t which = rng_.below(3);
    if (which < 2) out.pod = &pods_[which];
    return out;
  }

 private:
  std::string word() {
    static const char* const kWords[] = {"a", "b", "ab", "A", "abc", "", "Ab"};
    return kWords[rng_.below(7)];
  }
  std::string header() {
    static const char* const kNames[] = {"user", "cookie", "x-env"};
    return kNames[rng_.below(3)];
  }
  std::string path() {
    std::string out;
    const uint32_t parts = 1 + rng_.below(3);
    for (uint32_t i = 0; i < parts; ++i) out += "/" + word();
    return out;
  }
  StringMatch path_match() {
    StringMatch out;
    switch (rng_.below(6)) {
      case 0:
      case 1:
        out = exact(path());
        break;
      case 2:
      case 3:
        out = prefix(path());
        break;
      case 4:
        return elements(path());
      default:
        return regex(path() + (rng_.chance(1, 2) ? "[a-c]*" : "(/.*)?"));
    }
    out.ignore_case = rng_.chance(1, 4);
    return out;
  }
  StringMatch value_match() {
    switch (rng_.below(5)) {
      case 0:
        return prefix("a");
      case 1:
        return regex("a.*");
      case 2:
        return present();
      default:
        return exact(word());
    }
  }
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

  Rng rng_;
  Pod pods_[2];
  std::deque<std::string> texts_;
  std::vector<Field> fields_;
};

}  // namespace np::policy
