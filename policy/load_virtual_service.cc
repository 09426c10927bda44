// SPDX-License-Identifier: Apache-2.0
// VirtualService of networking.istio.io (traffic-semantics 2.1): the object itself and TCP routes.
#include <algorithm>

#include "policy/http_route_reader.h"
#include "policy/loaders.h"

namespace np::policy {
namespace {

std::vector<std::string> read_hosts(const Value& list, const LoadInput& input,
                                    const std::vector<std::string>& gateways) {
  bool mesh = std::find(gateways.begin(), gateways.end(), "mesh") != gateways.end();
  std::vector<std::string> hosts;
  std::vector<Value> items = list.items();
  if (list.present() && items.empty()) list.error("at least one host is required");
  for (const Value& item : items) {
    auto host = read_host(item, input.ns, Wildcard::kLeadingOrAll);
    if (!item.present()) item.error("a host is required");
    if (!host) continue;
    if (*host == "*" && mesh) {
      item.error("the host * is legal only on gateways, not on the mesh", "*",
                 "a host name, or gateways without mesh");
    }
    if (std::find(hosts.begin(), hosts.end(), *host) != hosts.end()) {
      item.error("this host is given twice", *host);
      continue;
    }
    hosts.push_back(*host);
  }
  return hosts;
}

RouteRule new_rule(const Value& item, const LoadInput& input, std::string name) {
  RouteRule rule;
  rule.origin = input.origin;
  rule.origin.line = item.line();
  rule.name = std::move(name);
  return rule;
}

std::vector<RouteRule> read_http_routes(const Value& list, const LoadInput& input) {
  std::vector<RouteRule> rules;
  for (const Value& item : list.items()) {
    Fields fields(item);
    if (!item.is_map()) {
      if (!item.present()) item.error("a route is required", "nothing");
      continue;
    }
    std::string fallback = input.name + "." + std::to_string(rules.size());
    RouteRule rule = new_rule(item, input, fields.get("name").string().value_or(fallback));
    for (const Value& match : fields.get("match").items()) {
      if (auto condition = read_http_match(match, input)) rule.matches.push_back(*condition);
    }
    read_http_actions(fields, input, rule);
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::optional<MatchCondition> read_tcp_match(const Value& value, const LoadInput& input) {
  if (!value.is_map()) {
    value.error("a match with at least one condition is required", value.found());
    return std::nullopt;
  }
  Fields fields(value);
  MatchCondition condition;
  condition.port = read_port(fields.get("port")).value_or(0);
  condition.destination_subnets = read_prefixes(fields.get("destinationSubnets"));
  condition.source_labels = read_labels(fields.get("sourceLabels"));
  condition.source_namespace = fields.get("sourceNamespace").non_empty_string().value_or("");
  condition.gateways = read_gateway_names(fields.get("gateways"), input);
  return condition;
}

std::vector<RouteRule> read_tcp_routes(const Value& list, const LoadInput& input) {
  std::vector<RouteRule> rules;
  for (const Value& item : list.items()) {
    Fields fields(item);
    RouteRule rule = new_rule(item, input, input.name + ".tcp." + std::to_string(rules.size()));
    rule.retry = Retry{};
    for (const Value& match : fields.get("match").items()) {
      if (auto condition = read_tcp_match(match, input)) rule.matches.push_back(*condition);
    }
    Value route = fields.require("route");
    std::vector<Value> items = route.items();
    if (route.present() && items.empty()) route.error("at least one destination is required");
    for (const Value& entry : items) {
      Fields inner(entry);
      auto destination = read_destination(inner.require("destination"), input);
      auto weight = read_count(inner.get("weight"));
      if (!destination) continue;
      destination->weight = weight.value_or(0);
      destination->line = entry.line();
      rule.destinations.push_back(std::move(*destination));
    }
    check_weights(route, rule.destinations);
    rules.push_back(std::move(rule));
  }
  return rules;
}

// A condition that every request fulfils.
bool is_open(const MatchCondition& condition) {
  bool any_path = !condition.path || (condition.path->kind == StringMatch::Kind::kPrefix &&
                                      condition.path->value == "/");
  return any_path && !condition.path_and_query && !condition.scheme && !condition.method &&
         !condition.authority && condition.headers.empty() && condition.without_headers.empty() &&
         condition.query_params.empty() && condition.port == 0 && condition.source_labels.empty() &&
         condition.source_namespace.empty() && condition.source_host.empty() &&
         condition.gateways.empty() && condition.source_subnets.empty() &&
         condition.destination_subnets.empty() && condition.sni_hosts.empty();
}

}  // namespace

bool takes_every_request(const RouteRule& rule) {
  return rule.matches.empty() || std::any_of(rule.matches.begin(), rule.matches.end(), is_open);
}

void warn_of_unreachable(const Value& list, const std::vector<RouteRule>& rules) {
  for (size_t i = 0; i + 1 < rules.size(); ++i) {
    if (!takes_every_request(rules[i])) continue;
    ReadContext& context = list.context();
    context.report(Diagnostic::Level::kWarning, rules[i].origin.line,
                   list.path() + "[" + std::to_string(i) + "]",
                   "takes every request, so that no rule after it is ever used");
    return;
  }
}

std::optional<Destination> read_destination(const Value& value, const LoadInput& input) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  Destination destination;
  destination.line = value.line();
  auto host = read_host(fields.require("host"), input.ns, Wildcard::kRefused);
  destination.subset = fields.get("subset").non_empty_string().value_or("");
  Value port = fields.get("port");
  if (port.present()) {
    Fields inner(port);
    destination.port = read_port(inner.require("number")).value_or(0);
  }
  if (!host) return std::nullopt;
  destination.host = *host;
  return destination;
}

void check_weights(const Value& list, std::vector<Destination>& destinations) {
  uint64_t sum = 0;
  for (const Destination& destination : destinations) sum += destination.weight;
  if (sum > 0 || destinations.empty()) return;
  if (destinations.size() == 1) {
    destinations[0].weight = 100;
    return;
  }
  list.error("of several destinations at least one needs a weight above zero", "a sum of 0");
}

void load_virtual_service(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  RouteSet set;
  set.origin = input.origin;
  set.api = RouteSet::Api::kVirtualService;
  set.gateways = read_gateway_names(spec.get("gateways"), input);
  if (set.gateways.empty()) set.gateways = {"mesh"};
  set.hosts = read_hosts(spec.require("hosts"), input, set.gateways);
  set.export_to = read_export_to(spec.get("exportTo"));
  if (set.export_to.empty()) set.export_to = {"*"};
  spec.get("tls").refuse_if_written("TLS routes come in a later version");
  Value http = spec.get("http");
  Value tcp = spec.get("tcp");
  set.http = read_http_routes(http, input);
  set.tcp = read_tcp_routes(tcp, input);
  warn_of_unreachable(http, set.http);
  warn_of_unreachable(tcp, set.tcp);
  if (input.spec.is_map() && !http.present() && !tcp.present()) {
    input.spec.error("routes are required", "", "http, tcp");
  }
  model.routes.push_back(std::move(set));
}

}  // namespace np::policy
