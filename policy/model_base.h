// SPDX-License-Identifier: Apache-2.0
// What all parts of the model are written in: labels, origins, string matches. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

}  // namespace np::policy
