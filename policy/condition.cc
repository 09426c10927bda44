// SPDX-License-Identifier: Apache-2.0
#include "policy/condition.h"

#include <algorithm>

namespace np::policy {

namespace {

// Joined values need room that lasts until the comparison is done; kept per thread, because a
// Snapshot is read by all shards and a match must not allocate in steady state.
std::string& scratch() {
  thread_local std::string text;
  text.clear();
  return text;
}

std::string_view path_with_query(const RequestView& request) {
  if (request.query.empty()) return request.path;
  const char* path_end = request.path.data() + request.path.size();
  if (path_end + 1 == request.query.data() && *path_end == '?') {
    return {request.path.data(), request.path.size() + 1 + request.query.size()};
  }
  return scratch().append(request.path).append("?").append(request.query);
}

std::optional<std::string_view> pseudo_value(const RequestView& request, std::string_view name) {
  if (name == "host" || name == ":authority") return request.authority;
  if (name == ":method") return request.method;
  if (name == ":scheme") return request.scheme;
  if (name == ":path") return path_with_query(request);
  return std::nullopt;
}

bool in_any(const std::vector<IpPrefix>& prefixes, const IpAddress& ip) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const IpPrefix& prefix) { return prefix.contains(ip); });
}

std::optional<StringMatcher> compiled(const std::optional<StringMatch>& match,
                                      RegexCache& regexes) {
  if (!match) return std::nullopt;
  return StringMatcher(*match, regexes);
}

std::vector<NamedMatcher> compiled(const std::vector<NamedMatch>& matches, RegexCache& regexes) {
  std::vector<NamedMatcher> out;
  out.reserve(matches.size());
  for (const NamedMatch& match : matches) {
    out.push_back({match.name, StringMatcher(match.match, regexes)});
  }
  return out;
}

bool accepts(const std::optional<StringMatcher>& matcher, std::string_view text) {
  return !matcher || matcher->matches(text);
}

}  // namespace

std::optional<std::string_view> header_value(const RequestView& request, std::string_view name) {
  const Field* first = nullptr;
  std::string* joined = nullptr;
  for (const Field& field : request.fields) {
    if (!equals_ignoring_case(field.name, name)) continue;
    if (first == nullptr) {
      first = &field;
      continue;
    }
    if (joined == nullptr) {
      joined = &scratch();
      joined->append(first->value);
    }
    joined->append(equals_ignoring_case(name, "cookie") ? "; " : ",").append(field.value);
  }
  if (joined != nullptr) return *joined;
  if (first != nullptr) return first->value;
  return pseudo_value(request, name);
}

std::optional<std::string_view> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view item = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), item.size() + 1));
    const size_t equals = item.find('=');
    if (item.substr(0, equals) != name) continue;
    return equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
  }
  return std::nullopt;
}

Condition::Condition(const MatchCondition& match, MemberSet callers, RegexCache& regexes)
    : path_(compiled(match.path, regexes)),
      path_and_query_(compiled(match.path_and_query, regexes)),
      scheme_(compiled(match.scheme, regexes)),
      method_(compiled(match.method, regexes)),
      authority_(compiled(match.authority, regexes)),
      headers_(compiled(match.headers, regexes)),
      without_headers_(compiled(match.without_headers, regexes)),
      query_params_(compiled(match.query_params, regexes)),
      callers_(std::move(callers)),
      source_labels_(match.source_labels),
      source_namespace_(match.source_namespace),
      source_subnets_(match.source_subnets),
      destination_subnets_(match.destination_subnets),
      about_caller_(callers_ != nullptr || !source_labels_.empty() || !source_namespace_.empty()) {}

bool Condition::holds(const RequestView& request, const CallerView& caller) const {
  return target_holds(request) && caller_holds(caller) && addresses_hold(request, caller) &&
         fields_hold(request);
}

bool Condition::target_holds(const RequestView& request) const {
  return accepts(path_, request.path) && accepts(method_, request.method) &&
         accepts(scheme_, request.scheme) && accepts(authority_, request.authority) &&
         (!path_and_query_ || path_and_query_->matches(path_with_query(request)));
}

bool Condition::caller_holds(const CallerView& caller) const {
  if (!about_caller_) return true;
  if (caller.pod == nullptr) return false;  // nothing is known about it, so nothing is granted
  if (!source_namespace_.empty() && caller.pod->ns != source_namespace_) return false;
  for (const auto& [key, value] : source_labels_) {
    const auto found = caller.pod->labels.find(key);
    if (found == caller.pod->labels.end() || found->second != value) return false;
  }
  return callers_ == nullptr ||
         std::binary_search(callers_->begin(), callers_->end(), caller.pod_id);
}

bool Condition::addresses_hold(const RequestView& request, const CallerView& caller) const {
  return (source_subnets_.empty() || in_any(source_subnets_, caller.ip)) &&
         (destination_subnets_.empty() || in_any(destination_subnets_, request.dialled));
}

bool Condition::fields_hold(const RequestView& request) const {
  for (const NamedMatcher& header : headers_) {
    const auto value = header_value(request, header.name);
    if (!value || !header.matcher.matches(*value)) return false;
  }
  for (const NamedMatcher& header : without_headers_) {
    const auto value = header_value(request, header.name);
    // Absent counts as the empty string, except where presence itself is asked for.
    if (!value && header.matcher.kind() == StringMatch::Kind::kPresent) continue;
    if (header.matcher.matches(value.value_or(std::string_view()))) return false;
  }
  for (const NamedMatcher& parameter : query_params_) {
    const auto value = query_value(request.query, parameter.name);
    if (!value || !parameter.matcher.matches(*value)) return false;
  }
  return true;
}

uint32_t Condition::matched_prefix_bytes(const RequestView& request) const {
  if (path_) return path_->matched_bytes(request.path);
  return path_and_query_ ? static_cast<uint32_t>(request.path.size()) : 0;
}

}  // namespace np::policy
