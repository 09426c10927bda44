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

std::string prefix_text(const std::vector<IpPrefix>& prefixes) {
  std::string out;
  for (const IpPrefix& prefix : prefixes) out += (out.empty() ? "" : " or ") + prefix.to_string();
  return out;
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
      source_host_(match.source_host),
      source_subnets_(match.source_subnets),
      destination_subnets_(match.destination_subnets),
      about_caller_(callers_ != nullptr || !source_labels_.empty() || !source_namespace_.empty()) {}

// ---- checking --------------------------------------------------------------------------------

namespace {

// A demand that is not met, in words. `what` and its `name` ("header", "user"), what it should be
// like, and what it is.
std::string differs(std::string_view what, std::string_view name, const StringMatcher& wanted,
                    const std::optional<std::string_view>& found) {
  std::string text(what);
  if (!name.empty()) text.append(" ").append(name);
  text.append(found ? " is \"" + std::string(*found) + "\"" : " is absent");
  return text.append(", wanted: ").append(wanted.to_text());
}

std::string lacks(std::string_view what, std::string_view wanted, std::string_view found) {
  return std::string(what).append(" is ").append(found).append(", wanted: ").append(wanted);
}

}  // namespace

template <typename Complain>
bool Condition::check(const RequestView& request, const CallerView& caller,
                      const Complain& complain) const {
  return check_target(request, complain) && check_caller(caller, complain) &&
         check_addresses(request, caller, complain) && check_fields(request, complain);
}

template <typename Complain>
bool Condition::check_target(const RequestView& request, const Complain& complain) const {
  const auto accepts = [&](std::string_view what, const std::optional<StringMatcher>& matcher,
                           std::string_view text) {
    if (!matcher || matcher->matches(text)) return true;
    complain([&] { return differs(what, {}, *matcher, text); });
    return false;
  };
  return accepts("path", path_, request.path) && accepts("method", method_, request.method) &&
         accepts("scheme", scheme_, request.scheme) &&
         accepts("host", authority_, request.authority) &&
         (!path_and_query_ ||
          accepts("path with query", path_and_query_, path_with_query(request)));
}

template <typename Complain>
bool Condition::check_caller(const CallerView& caller, const Complain& complain) const {
  if (!about_caller_) return true;
  if (caller.pod == nullptr) {  // nothing is known about it, so nothing is granted
    complain([&] { return lacks("caller", "a known pod", "unknown"); });
    return false;
  }
  if (!source_namespace_.empty() && caller.pod->ns != source_namespace_) {
    complain([&] { return lacks("caller's namespace", source_namespace_, caller.pod->ns); });
    return false;
  }
  for (const auto& label : source_labels_) {
    const auto found = caller.pod->labels.find(label.first);
    if (found != caller.pod->labels.end() && found->second == label.second) continue;
    complain([&] {
      const bool absent = found == caller.pod->labels.end();
      return lacks("caller's label " + label.first, label.second,
                   absent ? "absent" : found->second);
    });
    return false;
  }
  if (callers_ == nullptr ||
      std::binary_search(callers_->begin(), callers_->end(), caller.pod_id)) {
    return true;
  }
  complain([&] {
    return lacks("caller", "a pod of " + source_host_, caller.pod->ns + "/" + caller.pod->name);
  });
  return false;
}

template <typename Complain>
bool Condition::check_addresses(const RequestView& request, const CallerView& caller,
                                const Complain& complain) const {
  const auto accepts = [&](std::string_view what, const std::vector<IpPrefix>& prefixes,
                           const IpAddress& ip) {
    if (prefixes.empty() || in_any(prefixes, ip)) return true;
    complain([&] { return lacks(what, prefix_text(prefixes), ip.to_string()); });
    return false;
  };
  return accepts("caller's address", source_subnets_, caller.ip) &&
         accepts("dialled address", destination_subnets_, request.dialled);
}

template <typename Complain>
bool Condition::check_fields(const RequestView& request, const Complain& complain) const {
  for (const NamedMatcher& header : headers_) {
    const auto value = header_value(request, header.name);
    if (value && header.matcher.matches(*value)) continue;
    complain([&] { return differs("header", header.name, header.matcher, value); });
    return false;
  }
  for (const NamedMatcher& header : without_headers_) {
    const auto value = header_value(request, header.name);
    // Absent counts as the empty string, except where presence itself is asked for.
    if (!value && header.matcher.kind() == StringMatch::Kind::kPresent) continue;
    if (!header.matcher.matches(value.value_or(std::string_view()))) continue;
    complain([&] {
      return differs("header", header.name + " (must not match)", header.matcher, value);
    });
    return false;
  }
  for (const NamedMatcher& parameter : query_params_) {
    const auto value = query_value(request.query, parameter.name);
    if (value && parameter.matcher.matches(*value)) continue;
    complain([&] { return differs("query parameter", parameter.name, parameter.matcher, value); });
    return false;
  }
  return true;
}

bool Condition::holds(const RequestView& request, const CallerView& caller) const {
  // Nobody listens: the words are never made.
  return check(request, caller, [](const auto&) {});
}

std::string Condition::mismatch(const RequestView& request, const CallerView& caller) const {
  std::string words;
  check(request, caller, [&words](const auto& say) { words = say(); });
  return words;
}

std::string Condition::to_text() const {
  std::string out;
  const auto add = [&out](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  const auto add_match = [&add](const char* what, const std::optional<StringMatcher>& matcher) {
    if (matcher) add(std::string(what) + " " + matcher->to_text());
  };
  const auto add_all = [&add](const std::string& what, const std::vector<NamedMatcher>& list) {
    for (const NamedMatcher& one : list) add(what + " " + one.name + " " + one.matcher.to_text());
  };
  add_match("path", path_);
  add_match("method", method_);
  add_match("scheme", scheme_);
  add_match("host", authority_);
  add_match("path with query", path_and_query_);
  if (!source_host_.empty()) add("caller of " + source_host_);
  if (!source_namespace_.empty()) add("caller in namespace " + source_namespace_);
  for (const auto& [key, value] : source_labels_) add("caller with " + key + "=" + value);
  if (!source_subnets_.empty()) add("caller in " + prefix_text(source_subnets_));
  if (!destination_subnets_.empty()) add("dialled in " + prefix_text(destination_subnets_));
  add_all("header", headers_);
  add_all("not header", without_headers_);
  add_all("query parameter", query_params_);
  return out.empty() ? "every request" : out;
}

uint32_t Condition::matched_prefix_bytes(const RequestView& request) const {
  if (path_) return path_->matched_bytes(request.path);
  return path_and_query_ ? static_cast<uint32_t>(request.path.size()) : 0;
}

}  // namespace np::policy
