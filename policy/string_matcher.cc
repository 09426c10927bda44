// SPDX-License-Identifier: Apache-2.0
#include "policy/string_matcher.h"

#include <re2/re2.h>

#include <algorithm>

namespace np::policy {

namespace {

// Enough for any sane automaton; beyond it RE2 falls back to its slower, still linear, engine.
constexpr int64_t kRegexMemoryBytes = 4LL << 20;
// How much of a pattern's literal start is worth indexing.
constexpr int kLiteralPrefixBytes = 64;

bool equal_folded(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return folded(x) == folded(y); });
}

}  // namespace

std::shared_ptr<const re2::RE2> RegexCache::get(const std::string& pattern) {
  const auto found = compiled_.find(pattern);
  if (found != compiled_.end()) return found->second;
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kRegexMemoryBytes);
  auto regex = std::make_shared<const re2::RE2>(pattern, options);
  if (!regex->ok()) {
    on_broken_(pattern, regex->error());
    regex = nullptr;
  }
  compiled_.emplace(pattern, regex);
  return regex;
}

bool regex_matches(const re2::RE2* regex, std::string_view text) {
  return regex != nullptr && regex->Match(re2::StringPiece(text.data(), text.size()), 0,
                                          text.size(), re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

StringMatcher::StringMatcher(const StringMatch& match, RegexCache& regexes)
    : kind_(match.kind), ignore_case_(match.ignore_case), value_(match.value) {
  if (kind_ == StringMatch::Kind::kRegex) regex_ = regexes.get(value_);
  // "/foo/" and "/foo" mean the same elements; "/" is every path.
  if (kind_ == StringMatch::Kind::kPathElements && value_.ends_with('/')) value_.pop_back();
}

bool StringMatcher::starts(std::string_view text) const {
  if (text.size() < value_.size()) return false;
  const std::string_view head = text.substr(0, value_.size());
  return ignore_case_ ? equal_folded(head, value_) : head == value_;
}

bool StringMatcher::matches(std::string_view text) const {
  switch (kind_) {
    case StringMatch::Kind::kExact:
      return ignore_case_ ? equal_folded(text, value_) : text == value_;
    case StringMatch::Kind::kPrefix:
      return starts(text);
    case StringMatch::Kind::kPathElements:
      return starts(text) && (text.size() == value_.size() || text[value_.size()] == '/');
    case StringMatch::Kind::kRegex:
      return regex_matches(regex_.get(), text);
    case StringMatch::Kind::kPresent:
      return true;
  }
  return false;
}

uint32_t StringMatcher::matched_bytes(std::string_view path) const {
  const bool prefix =
      kind_ == StringMatch::Kind::kPrefix || kind_ == StringMatch::Kind::kPathElements;
  return static_cast<uint32_t>(prefix ? value_.size() : path.size());
}

std::string StringMatcher::to_text() const {
  const auto quoted = [this](const char* kind) {
    return std::string(kind) + " \"" + value_ + "\"" + (ignore_case_ ? " (any case)" : "");
  };
  switch (kind_) {
    case StringMatch::Kind::kExact:
      return quoted("exact");
    case StringMatch::Kind::kPrefix:
      return quoted("prefix");
    case StringMatch::Kind::kPathElements:
      return quoted("elements");
    case StringMatch::Kind::kRegex:
      return quoted("regex");
    case StringMatch::Kind::kPresent:
      return "present";
  }
  return {};
}

std::string StringMatcher::known_prefix() const {
  if (kind_ == StringMatch::Kind::kPresent) return {};
  if (kind_ != StringMatch::Kind::kRegex) return value_;
  std::string least;
  std::string most;
  if (regex_ == nullptr || !regex_->PossibleMatchRange(&least, &most, kLiteralPrefixBytes)) {
    return {};
  }
  // Every match lies between the two in byte order, so what they share at the front it shares too.
  const auto differ = std::mismatch(least.begin(), least.end(), most.begin(), most.end());
  return {least.begin(), differ.first};
}

}  // namespace np::policy
