// SPDX-License-Identifier: Apache-2.0
// What all parts of the model are written in: labels, origins, string matches. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"

namespace np::policy {

using Labels = std::map<std::string, std::string>;
// Whether `labels` contain every pair of `wanted`.
bool has_labels(const Labels& labels, const Labels& wanted);

// Where a piece of policy came from: for messages, traces, `describe` and conflict rules.
struct Origin {
  std::string kind;  // "RouteRule", "VirtualService", ...
  std::string ns;    // namespace
  std::string name;
  std::string file;              // as the user gave it; "" for stored objects
  int line = 0;                  // 1-based line of the object's first key
  uint64_t sequence = 0;         // order of first acceptance: smaller is older
  uint64_t changed_unix_ns = 0;  // when its present text was accepted; 0: not stored yet

  std::string to_string() const;  // "RouteRule istio-system/reviews-default"
};

// What a complaint about an object is about, so that one who looks for causes can sort them.
enum class Topic : uint8_t {
  kOther,
  kConflict,  // another object claims the same thing
  kShadowed,  // another rule comes first and takes every request
  kMissing,   // it names something that is not there, and has no effect until then
  kUnserved,  // the same, and requests are answered 503 meanwhile
};

struct StringMatch {
  enum class Kind : uint8_t { kExact, kPrefix, kRegex, kPresent, kPathElements };
  Kind kind = Kind::kExact;
  std::string value;
  bool ignore_case = false;
};

struct NamedMatch {
  std::string name;  // header names in lower case
  StringMatch match;
};

// All set conditions must hold.
struct MatchCondition {
  std::string name;
  std::optional<StringMatch> path;            // without query
  std::optional<StringMatch> path_and_query;  // RouteRule's uri regex sees both
  std::optional<StringMatch> scheme, method, authority;
  std::vector<NamedMatch> headers;
  std::vector<NamedMatch> without_headers;
  std::vector<NamedMatch> query_params;
  uint16_t port = 0;                  // 0: any
  Labels source_labels;               // caller must carry all
  std::string source_namespace;       // "" any
  std::string source_host;            // RouteRule match.source: caller belongs to that service
  std::vector<std::string> gateways;  // full names "ns/name" or "mesh"; empty: the object's list
  std::vector<IpPrefix> source_subnets, destination_subnets;
  std::vector<std::string> sni_hosts;
};

}  // namespace np::policy
