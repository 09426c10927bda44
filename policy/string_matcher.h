// SPDX-License-Identifier: Apache-2.0
// StringMatcher: a StringMatch made ready to run. Immutable after construction; any thread. Owned
// by the conditions of a Snapshot; made on the control thread by compile().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "policy/hash.h"
#include "policy/model.h"

namespace re2 {
class RE2;
}

namespace np::policy {

// Compiles each pattern once for all rules that use it. RE2 syntax, linear time, bounded memory
// (D12). A pattern that does not compile yields null and is told to the listener.
class RegexCache {
 public:
  using OnBroken = std::function<void(const std::string& pattern, const std::string& why)>;
  explicit RegexCache(OnBroken on_broken) : on_broken_(std::move(on_broken)) {}
  std::shared_ptr<const re2::RE2> get(const std::string& pattern);

 private:
  OnBroken on_broken_;
  std::unordered_map<std::string, std::shared_ptr<const re2::RE2>> compiled_;
};

// Whether the whole of `text` matches; false for a null expression. No heap use once the
// expression has met similar text (RE2 builds its automaton as it goes).
bool regex_matches(const re2::RE2* regex, std::string_view text);

class StringMatcher {
 public:
  StringMatcher(const StringMatch& match, RegexCache& regexes);

  bool matches(std::string_view text) const;
  // How much of a path that matches() accepted the condition speaks about.
  uint32_t matched_bytes(std::string_view path) const;

  StringMatch::Kind kind() const { return kind_; }
  bool ignore_case() const { return ignore_case_; }
  const std::string& value() const { return value_; }
  // For people: `prefix "/reviews"`, `exact "jason" (any case)`, `present`.
  std::string to_text() const;
  // Bytes that every accepted text begins with; may be shorter than what could be known. For
  // kPathElements without the trailing slash. Compare with ignore_case().
  std::string known_prefix() const;

 private:
  bool starts(std::string_view text) const;

  StringMatch::Kind kind_;
  bool ignore_case_;
  std::string value_;
  std::shared_ptr<const re2::RE2> regex_;
};

}  // namespace np::policy
