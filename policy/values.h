// SPDX-License-Identifier: Apache-2.0
// Readers of the small values that all kinds share: durations, percentages, hosts, labels, string
// matches, headers. Each reports what is wrong and returns nothing then. Control thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/model.h"
#include "policy/yaml_reader.h"

namespace np::policy {

inline constexpr std::string_view kClusterDomain = "cluster.local";

// "1h30m", "7.000s", "100ms": decimal numbers with the units ns, us, ms, s, m, h. "0" is legal.
std::optional<Duration> parse_duration(std::string_view text);

enum class ZeroDuration : uint8_t { kRefused, kAllowed };
// At least 1 ms (or zero, where that is allowed) and no part finer than 1 ms.
std::optional<Duration> read_duration(const Value& value, ZeroDuration zero);

// Percent with a step of 0.0001, as parts per million.
std::optional<uint32_t> read_percent(const Value& value);
// Percent whose fraction is cut off (config.istio.io).
std::optional<uint32_t> read_whole_percent(const Value& value);

std::optional<uint16_t> read_port(const Value& value);
std::optional<uint32_t> read_count(const Value& value, uint32_t least = 0);

bool is_dns_label(std::string_view text);      // "reviews"
bool is_dns_subdomain(std::string_view text);  // "reviews.v1-test"
bool is_header_name(std::string_view text);    // a token of RFC 9110 5.6.2

// "reviews" in namespace "prod" -> "reviews.prod.svc.cluster.local"; "reviews.prod.svc" and, when
// prod is the object's own namespace, "reviews.prod" likewise. Other names with dots are full.
std::string full_host(std::string_view text, std::string_view ns);

enum class Wildcard : uint8_t { kRefused, kLeading, kLeadingOrAll };
// A host as a VirtualService or DestinationRule names it, as its full name in lower case.
std::optional<std::string> read_host(const Value& value, std::string_view ns, Wildcard wildcard);

// String to string; label grammar of Kubernetes. A value like 2.0 must be quoted.
Labels read_labels(const Value& value);

// Compiles `pattern` with RE2 and reports when it cannot.
bool check_regex(const Value& value, const std::string& pattern);

// exact, prefix or regex. `allow_present`: {} and the regex "*" mean "is there".
struct MatchRules {
  bool allow_present = false;
  bool allow_empty_prefix = true;
  bool allow_empty_regex = false;
};
std::optional<StringMatch> read_string_match(const Value& value, const MatchRules& rules);
// Warns about the cookie idiom that misses "a=b; user=jason" (traffic-semantics 1.3).
void warn_of_cookie_trap(const Value& value, std::string_view header, const StringMatch& match);

// A header's value that goes out as it stands.
bool check_header_value(const Value& value, std::string_view text);
// {request, response} x {set, add, remove}. `authority` takes a request `set` of Host when the
// place allows one (null: refused).
void read_header_operations(const Value& value, HeaderOps& request, HeaderOps& response,
                            std::optional<std::string>* authority);

// ".", "*" or namespaces.
std::vector<std::string> read_export_to(const Value& value);

// Protocol of a port by its name ("http-web") or appProtocol; kAuto when it says nothing.
Protocol protocol_by_name(std::string_view name);

}  // namespace np::policy
