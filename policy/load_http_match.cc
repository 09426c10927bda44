// SPDX-License-Identifier: Apache-2.0
// Conditions of a VirtualService's HTTP routes (traffic-semantics 2.1).
#include "policy/http_route_reader.h"

namespace np::policy {
namespace {

std::optional<StringMatch> read_plain(const Value& value) {
  if (!value.present()) return std::nullopt;
  return read_string_match(value, MatchRules{});
}

std::optional<StringMatch> read_uri(const Value& value, const Value& ignore_case) {
  auto ignore = ignore_case.boolean();
  if (!value.present()) {
    if (ignore) ignore_case.error("has a meaning only together with uri");
    return std::nullopt;
  }
  MatchRules rules;
  rules.allow_empty_prefix = false;
  auto match = read_string_match(value, rules);
  if (!match) return std::nullopt;
  if (match->kind == StringMatch::Kind::kExact && match->value.empty()) {
    value.error("must not be empty");
    return std::nullopt;
  }
  if (ignore.value_or(false) && match->kind == StringMatch::Kind::kRegex) {
    ignore_case.error("works for exact and prefix only; in a regex write (?i)");
  }
  match->ignore_case = ignore.value_or(false);
  return match;
}

std::vector<NamedMatch> read_named(const Value& map, bool headers) {
  std::vector<NamedMatch> out;
  MatchRules rules;
  rules.allow_present = true;
  for (const Value& entry : map.entries()) {
    std::string name = headers ? lower_case(entry.key()) : entry.key();
    if (headers && !is_header_name(name)) {
      entry.error("not a legal header name", shown(entry.key()));
      continue;
    }
    auto match = read_string_match(entry, rules);
    if (!match) continue;
    if (headers) warn_of_cookie_trap(entry, name, *match);
    out.push_back({std::move(name), *match});
  }
  return out;
}

}  // namespace

std::vector<std::string> read_gateway_names(const Value& list, const LoadInput& input) {
  std::vector<std::string> out;
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (!text) continue;
    size_t slash = text->find('/');
    std::string ns = slash == std::string::npos ? input.ns : text->substr(0, slash);
    std::string name = slash == std::string::npos ? *text : text->substr(slash + 1);
    if (*text == "mesh") {
      out.push_back(*text);
    } else if (!is_dns_label(ns) || !is_dns_subdomain(name)) {
      item.error("not the name of a gateway", shown(*text), "mesh, name, namespace/name");
    } else {
      out.push_back(ns + "/" + name);
    }
  }
  return out;
}

std::vector<IpPrefix> read_prefixes(const Value& list) {
  std::vector<IpPrefix> out;
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (!text) continue;
    auto prefix = IpPrefix::parse(*text);
    if (prefix) {
      out.push_back(*prefix);
    } else {
      item.error("not an address or CIDR block", shown(*text), "for example 10.1.0.0/16");
    }
  }
  return out;
}

void read_http_conditions(Fields& fields, MatchCondition& condition) {
  Value uri = fields.get("uri");
  condition.path = read_uri(uri, fields.get("ignoreUriCase"));
  condition.scheme = read_plain(fields.get("scheme"));
  condition.method = read_plain(fields.get("method"));
  condition.authority = read_plain(fields.get("authority"));
  condition.headers = read_named(fields.get("headers"), true);
  condition.without_headers = read_named(fields.get("withoutHeaders"), true);
  condition.query_params = read_named(fields.get("queryParams"), false);
  condition.port = read_port(fields.get("port")).value_or(0);
  condition.source_labels = read_labels(fields.get("sourceLabels"));
  condition.source_namespace = fields.get("sourceNamespace").non_empty_string().value_or("");
}

std::optional<MatchCondition> read_http_match(const Value& value, const LoadInput& input) {
  if (!value.is_map()) {
    value.error("a match with at least one condition is required", value.found());
    return std::nullopt;
  }
  Fields fields(value);
  MatchCondition condition;
  condition.name = fields.get("name").string().value_or("");
  read_http_conditions(fields, condition);
  condition.gateways = read_gateway_names(fields.get("gateways"), input);
  fields.get("statPrefix").warn_if_written("statistics are named by route; a prefix has no effect");
  return condition;
}

}  // namespace np::policy
