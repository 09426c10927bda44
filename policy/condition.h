// SPDX-License-Identifier: Apache-2.0
// Condition: a MatchCondition made ready to run. Port and gateways are not in it: compile() has
// decided them, since a table serves one port and one way in. Immutable after construction; any
// thread; owned by a RuleIndex.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/snapshot.h"
#include "policy/string_matcher.h"

namespace np::policy {

// Ids of the pods that belong to a service, ascending.
using MemberSet = std::shared_ptr<const std::vector<uint32_t>>;

struct NamedMatcher {
  std::string name;
  StringMatcher matcher;
};

class Condition {
 public:
  // `callers` is the membership of match.source_host; null when that is empty.
  Condition(const MatchCondition& match, MemberSet callers, RegexCache& regexes);

  bool holds(const RequestView& request, const CallerView& caller) const;
  // The same checks, for people: the first demand that fails and what was found; empty: it holds.
  std::string mismatch(const RequestView& request, const CallerView& caller) const;
  // Its demands in words: `path prefix "/a", header user exact "x"`; "every request".
  std::string to_text() const;
  // Of the path, when holds(): see RouteMatch.
  uint32_t matched_prefix_bytes(const RequestView& request) const;

  const std::optional<StringMatcher>& path() const { return path_; }
  const std::optional<StringMatcher>& path_and_query() const { return path_and_query_; }
  const std::optional<StringMatcher>& method() const { return method_; }
  const std::optional<StringMatcher>& authority() const { return authority_; }
  const std::vector<NamedMatcher>& headers() const { return headers_; }
  const std::vector<NamedMatcher>& query_params() const { return query_params_; }

 private:
  // One kind of demand each. `complain` is given a function that says in words which demand failed
  // first; nobody calls it in holds().
  template <typename Complain>
  bool check(const RequestView& request, const CallerView& caller, const Complain& complain) const;
  template <typename Complain>
  bool check_target(const RequestView& request, const Complain& complain) const;
  template <typename Complain>
  bool check_caller(const CallerView& caller, const Complain& complain) const;
  template <typename Complain>
  bool check_addresses(const RequestView& request, const CallerView& caller,
                       const Complain& complain) const;
  template <typename Complain>
  bool check_fields(const RequestView& request, const Complain& complain) const;

  std::optional<StringMatcher> path_, path_and_query_, scheme_, method_, authority_;
  std::vector<NamedMatcher> headers_, without_headers_, query_params_;
  MemberSet callers_;
  Labels source_labels_;
  std::string source_namespace_;
  std::string source_host_;  // for people: `callers_` decides
  std::vector<IpPrefix> source_subnets_, destination_subnets_;
  bool about_caller_ = false;
};

// The value of a header as policy sees it: several lines are joined by "," (Cookie: "; ") first.
// Knows host, :authority, :method, :scheme and :path too. The view is valid until the next call on
// this thread, or as long as `request` if nothing had to be joined.
std::optional<std::string_view> header_value(const RequestView& request, std::string_view name);

// The first value of a query parameter, not decoded. A name without "=" has the empty value.
std::optional<std::string_view> query_value(std::string_view query, std::string_view name);

}  // namespace np::policy
