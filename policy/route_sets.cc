// SPDX-License-Identifier: Apache-2.0
#include "policy/route_sets.h"

#include <algorithm>

#include "policy/destination_policies.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

// Comparing all pairs of thousands of rules would cost seconds for a remark; the neighbours in key
// order are the ones a person confuses.
constexpr size_t kComparedNeighbours = 32;

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::vector<std::string> scope_of(const RouteSet& set) {
  std::vector<std::string> out;
  for (const std::string& ns : set.export_to) {
    if (ns == "*") return {};
    out.push_back(ns == "." ? set.origin.ns : ns);
  }
  return out;
}

// ---- overlap ---------------------------------------------------------------------------------

// Whether no text can satisfy both.
bool disjoint(const StringMatch& a, const StringMatch& b) {
  using Kind = StringMatch::Kind;
  if (a.ignore_case || b.ignore_case) return false;
  if (a.kind == Kind::kExact && b.kind == Kind::kExact) return a.value != b.value;
  const bool a_prefix = a.kind == Kind::kPrefix || a.kind == Kind::kPathElements;
  const bool b_prefix = b.kind == Kind::kPrefix || b.kind == Kind::kPathElements;
  if (a.kind == Kind::kExact && b_prefix) {
    return b.kind == Kind::kPrefix && !a.value.starts_with(b.value);
  }
  if (b.kind == Kind::kExact && a_prefix) return disjoint(b, a);
  if (a_prefix && b_prefix) return !a.value.starts_with(b.value) && !b.value.starts_with(a.value);
  return false;
}

bool disjoint(const std::optional<StringMatch>& a, const std::optional<StringMatch>& b) {
  return a && b && disjoint(*a, *b);
}

bool disjoint(const std::vector<NamedMatch>& a, const std::vector<NamedMatch>& b) {
  for (const NamedMatch& one : a) {
    for (const NamedMatch& other : b) {
      if (one.name == other.name && disjoint(one.match, other.match)) return true;
    }
  }
  return false;
}

bool disjoint(const Labels& a, const Labels& b) {
  return std::any_of(a.begin(), a.end(), [&](const auto& pair) {
    const auto other = b.find(pair.first);
    return other != b.end() && other->second != pair.second;
  });
}

bool disjoint(const MatchCondition& a, const MatchCondition& b) {
  return disjoint(a.path, b.path) || disjoint(a.method, b.method) ||
         disjoint(a.authority, b.authority) || disjoint(a.scheme, b.scheme) ||
         disjoint(a.headers, b.headers) || disjoint(a.query_params, b.query_params) ||
         disjoint(a.source_labels, b.source_labels) ||
         (a.port != 0 && b.port != 0 && a.port != b.port) ||
         (!a.source_host.empty() && !b.source_host.empty() && a.source_host != b.source_host);
}

bool is_unconditional(const MatchCondition& match) {
  const bool any_path = !match.path || ((match.path->kind == StringMatch::Kind::kPrefix ||
                                         match.path->kind == StringMatch::Kind::kPathElements) &&
                                        (match.path->value == "/" || match.path->value.empty()));
  return any_path && !match.path_and_query && !match.scheme && !match.method && !match.authority &&
         match.headers.empty() && match.without_headers.empty() && match.query_params.empty() &&
         match.port == 0 && match.source_labels.empty() && match.source_namespace.empty() &&
         match.source_host.empty() && match.gateways.empty() && match.source_subnets.empty() &&
         match.destination_subnets.empty() && match.sni_hosts.empty();
}

}  // namespace

bool may_overlap(const RouteRule& a, const RouteRule& b) {
  if (a.matches.empty() || b.matches.empty()) return true;
  for (const MatchCondition& one : a.matches) {
    for (const MatchCondition& other : b.matches) {
      if (!disjoint(one, other)) return true;
    }
  }
  return false;
}

bool is_catch_all(const RouteRule& rule) {
  return rule.matches.empty() ||
         std::any_of(rule.matches.begin(), rule.matches.end(), is_unconditional);
}

RouteSets::RouteSets(const Model& model, const Registry& registry, Findings& findings)
    : findings_(findings) {
  std::vector<const RouteSet*> by_age;
  for (const RouteSet& set : model.routes) by_age.push_back(&set);
  std::stable_sort(by_age.begin(), by_age.end(), [](const RouteSet* a, const RouteSet* b) {
    return a->origin.sequence < b->origin.sequence;
  });
  for (const RouteSet* set : by_age) add(*set, registry);
  std::stable_sort(wildcards_.begin(), wildcards_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  for (auto& [host, rules] : rules_) order_rules(rules);
}

void RouteSets::add(const RouteSet& set, const Registry& registry) {
  const bool in_mesh = set.gateways.empty() || contains(set.gateways, "mesh");
  if (std::any_of(set.gateways.begin(), set.gateways.end(),
                  [](const std::string& name) { return name != "mesh"; })) {
    on_gateways_.push_back(&set);
  }
  if (!in_mesh) return;
  const bool is_rule = set.api == RouteSet::Api::kRouteRule;
  for (const std::string& host : set.hosts) {
    if (!host.starts_with('*') && registry.find(host) == nullptr) {
      findings_.warning(
          set.origin,
          "no service is known for host " + host + ": the rules for it have no effect yet",
          Topic::kMissing);
    }
    auto& sets = (is_rule ? rules_ : objects_)[host];
    if (!is_rule && sets.empty() && host.starts_with('*')) wildcards_.push_back(host);
    sets.push_back(&set);
  }
}

void RouteSets::order_rules(std::vector<const RouteSet*>& rules) const {
  std::stable_sort(rules.begin(), rules.end(), [](const RouteSet* a, const RouteSet* b) {
    if (a->precedence != b->precedence) return a->precedence > b->precedence;
    return key_less(a->origin, b->origin);
  });
  const auto overlap = [](const RouteSet& a, const RouteSet& b) {
    for (const RouteRule& one : a.http) {
      for (const RouteRule& other : b.http) {
        if (may_overlap(one, other)) return true;
      }
    }
    return false;
  };
  for (size_t i = 0; i < rules.size(); ++i) {
    const size_t end = std::min(rules.size(), i + 1 + kComparedNeighbours);
    for (size_t j = i + 1; j < end && rules[j]->precedence == rules[i]->precedence; ++j) {
      if (!overlap(*rules[i], *rules[j])) continue;
      findings_.warning(
          rules[j]->origin,
          "has the same precedence as " + rules[i]->origin.to_string() +
              " and can match the same requests: the other one is tried first, by name",
          Topic::kConflict);
      break;
    }
  }
}

void RouteSets::add_object(const RouteSet& set, const std::string& pattern,
                           std::vector<Layer>& layers) const {
  for (Layer& layer : layers) {
    const bool rival = layer.pattern == pattern;  // a wider name is used where closer ones end
    // HTTPRoutes of one host share one list (traffic-semantics.md 2.7).
    if (rival && layer.api == RouteSet::Api::kHttpRoute && set.api == layer.api) {
      layer.sets.push_back(&set);
      return;
    }
    if (!layer.namespaces.empty()) continue;
    if (rival) {
      findings_.inactive(
          set.origin,
          layer.sets.front()->origin.to_string() + " is older and decides for " + pattern,
          Topic::kConflict);
    }
    return;  // every caller is served already
  }
  layers.push_back({set.api, pattern, scope_of(set), {&set}});
}

std::vector<RouteSets::Layer> RouteSets::of_host(const std::string& host) const {
  std::vector<Layer> layers;
  const auto exact = objects_.find(host);
  if (exact != objects_.end()) {
    for (const RouteSet* set : exact->second) add_object(*set, host, layers);
  }
  for (const std::string& wildcard : wildcards_) {
    if (wildcard == host || !host_covers(wildcard, host)) continue;
    for (const RouteSet* set : objects_.at(wildcard)) add_object(*set, wildcard, layers);
  }
  const auto rules = rules_.find(host);
  if (rules == rules_.end()) return layers;
  if (layers.empty()) return {{RouteSet::Api::kRouteRule, host, {}, rules->second}};
  for (const RouteSet* rule : rules->second) {
    findings_.inactive(rule->origin,
                       layers.front().sets.front()->origin.to_string() + " decides for " + host +
                           ": RouteRules have no effect there",
                       Topic::kConflict);
  }
  return layers;
}

std::vector<std::string> RouteSets::hosts_within(std::string_view wildcard) const {
  std::vector<std::string> hosts;
  for (const ByHost* map : {&objects_, &rules_}) {
    for (const auto& [host, sets] : *map) {
      if (host != wildcard && host_covers(wildcard, host)) hosts.push_back(host);
    }
  }
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return hosts;
}

}  // namespace np::policy
