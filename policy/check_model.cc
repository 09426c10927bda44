// SPDX-License-Identifier: Apache-2.0
// Checks that span objects, after all of them were loaded. Lists of the model are oldest first.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

void report(Diagnostics& diagnostics, Diagnostic::Level level, const Origin& origin,
            std::string field, std::string message, std::string found = {},
            Topic topic = Topic::kOther) {
  Diagnostic diagnostic;
  diagnostic.level = level;
  diagnostic.file = origin.file;
  diagnostic.line = origin.line;
  diagnostic.object = origin.to_string();
  diagnostic.field = std::move(field);
  diagnostic.message = std::move(message);
  diagnostic.found = std::move(found);
  diagnostic.topic = topic;
  diagnostics.push_back(std::move(diagnostic));
}

void warn(Diagnostics& diagnostics, const Origin& origin, int line, std::string field,
          std::string message, Topic topic) {
  Origin at = origin;
  if (line > 0) at.line = line;
  report(diagnostics, Diagnostic::Level::kWarning, at, std::move(field), std::move(message), {},
         topic);
}

// "reviews.prod" is short for a service of namespace prod when there is such a service and no
// host of exactly this name; only the whole model can tell.
class ShortNames {
 public:
  explicit ShortNames(const Model& model) {
    for (const Service& service : model.services) hosts_.insert(service.host);
  }

  void complete(std::string& host) const {
    if (std::count(host.begin(), host.end(), '.') != 1 || hosts_.contains(host)) return;
    std::string full = host + ".svc." + std::string(kClusterDomain);
    if (hosts_.contains(full)) host = full;
  }

 private:
  std::set<std::string> hosts_;
};

void complete_rule(const ShortNames& names, RouteRule& rule) {
  for (Destination& destination : rule.destinations) names.complete(destination.host);
  for (Mirror& mirror : rule.mirrors) names.complete(mirror.destination.host);
}

void complete_hosts(Model& model) {
  ShortNames names(model);
  for (HostTraffic& traffic : model.traffic) names.complete(traffic.host);
  for (RouteSet& set : model.routes) {
    for (std::string& host : set.hosts) names.complete(host);
    for (RouteRule& rule : set.http) complete_rule(names, rule);
    for (RouteRule& rule : set.tcp) complete_rule(names, rule);
  }
  for (DestinationPolicy& policy : model.destinations) names.complete(policy.host);
  for (RateLimit& limit : model.rate_limits) {
    for (RateLimit::Target& target : limit.services) names.complete(target.host);
  }
  for (QuotaSpecBinding& binding : model.mixer.quota_spec_bindings) {
    for (QuotaSpecBinding::Target& target : binding.services) names.complete(target.host);
  }
}

bool serves_mesh(const RouteSet& set) {
  return std::find(set.gateways.begin(), set.gateways.end(), "mesh") != set.gateways.end();
}

// Whether some namespace sees both objects.
bool share_scope(const RouteSet& a, const RouteSet& b) {
  auto scope = [](const RouteSet& set) {
    std::set<std::string> out;
    for (const std::string& target : set.export_to) {
      out.insert(target == "." ? set.origin.ns : target);
    }
    return out;
  };
  std::set<std::string> first = scope(a);
  std::set<std::string> second = scope(b);
  if (first.contains("*") || second.contains("*")) return true;
  return std::any_of(first.begin(), first.end(),
                     [&](const std::string& ns) { return second.contains(ns); });
}

// Two objects for one host on the mesh: the younger is refused (D14). Gateways merge theirs.
void refuse_second_owner(Model& model, Diagnostics& diagnostics) {
  std::map<std::string, std::vector<const RouteSet*>> owners;
  std::set<const RouteSet*> refused;
  for (const RouteSet& set : model.routes) {
    if (set.api != RouteSet::Api::kVirtualService || !serves_mesh(set)) continue;
    for (const std::string& host : set.hosts) {
      for (const RouteSet* owner : owners[host]) {
        if (!share_scope(*owner, set)) continue;
        std::string older = owner->origin.to_string();
        if (!owner->origin.file.empty()) {
          older += " (" + owner->origin.file + ":" + std::to_string(owner->origin.line) + ")";
        }
        report(diagnostics, Diagnostic::Level::kError, set.origin, "spec.hosts",
               "the host belongs to an older object, " + older +
                   "; put the routes there, or delete it first",
               host);
        refused.insert(&set);
        break;
      }
      if (refused.contains(&set)) break;
      owners[host].push_back(&set);
    }
  }
  std::vector<RouteSet> kept;
  for (RouteSet& set : model.routes) {
    if (!refused.contains(&set)) kept.push_back(std::move(set));
  }
  model.routes = std::move(kept);
}

// Ports that speak TLS, by {host, port}.
using TlsPorts = std::set<std::pair<std::string, uint16_t>>;

bool needs_tls(const RouteRule& rule, const TlsPorts& ports) {
  return std::any_of(rule.destinations.begin(), rule.destinations.end(),
                     [&](const Destination& target) {
                       return ports.contains({target.host, target.port});
                     });
}

// Routing plain requests to a port that speaks TLS asks the proxy to originate TLS. Until it does,
// the object is set aside: sending plain text there would be worse than not acting.
void set_aside_tls_routes(Model& model, Diagnostics& diagnostics) {
  TlsPorts ports;
  for (const Service& service : model.services) {
    for (const ServicePort& port : service.ports) {
      bool tls = port.protocol == Protocol::kHttps || port.protocol == Protocol::kTls;
      if (service.external && tls) ports.emplace(service.host, port.port);
    }
  }
  std::erase_if(model.routes, [&](const RouteSet& set) {
    auto needs = [&](const RouteRule& rule) { return needs_tls(rule, ports); };
    auto rule = std::find_if(set.http.begin(), set.http.end(), needs);
    if (rule == set.http.end()) return false;
    report(diagnostics, Diagnostic::Level::kNotInEffect, rule->origin, "spec.http",
           "routes requests to a port that speaks TLS, and upstream TLS comes in a later version; "
           "until then the whole object has no effect");
    return true;
  });
}

// Order in which RouteRules of one host are tried: precedence, then namespace/name (D8).
bool tried_before(const RouteSet* a, const RouteSet* b) {
  if (a->precedence != b->precedence) return a->precedence > b->precedence;
  return std::tie(a->origin.ns, a->origin.name) < std::tie(b->origin.ns, b->origin.name);
}

void check_route_rules(const Model& model, Diagnostics& diagnostics) {
  std::map<std::string, std::vector<const RouteSet*>> by_host;
  for (const RouteSet& set : model.routes) {
    if (set.api == RouteSet::Api::kRouteRule) by_host[set.hosts.at(0)].push_back(&set);
  }
  for (auto& [host, sets] : by_host) {
    std::sort(sets.begin(), sets.end(), tried_before);
    const RouteSet* catch_all = nullptr;
    for (size_t i = 0; i < sets.size(); ++i) {
      const RouteSet& set = *sets[i];
      if (i > 0 && sets[i - 1]->precedence == set.precedence) {
        warn(diagnostics, set.origin, 0, "spec.precedence",
             "has the same precedence as " + sets[i - 1]->origin.to_string() +
                 " for the same destination: rules are then tried in order of their names (D8)",
             Topic::kConflict);
      }
      if (catch_all != nullptr) {
        warn(diagnostics, set.origin, 0, "spec.match",
             "can never be used: " + catch_all->origin.to_string() +
                 " comes first and takes every request",
             Topic::kShadowed);
      } else if (!set.http.empty() && takes_every_request(set.http.front())) {
        catch_all = &set;
      }
    }
  }
}

// Who defines which subset of which host; and two objects that claim the same thing.
std::set<std::pair<std::string, std::string>> check_destinations(const Model& model,
                                                                 Diagnostics& diagnostics) {
  std::set<std::pair<std::string, std::string>> subsets;
  std::map<std::pair<std::string, Labels>, const DestinationPolicy*> policies;
  std::map<std::string, const DestinationPolicy*> rules;
  for (const DestinationPolicy& policy : model.destinations) {
    if (policy.api == DestinationPolicy::Api::kDestinationPolicy) {
      auto [at, added] = policies.try_emplace({policy.host, policy.labels}, &policy);
      if (!added) {
        warn(diagnostics, policy.origin, 0, "spec.destination",
             "claims the same endpoints as " + at->second->origin.to_string() +
                 ": the one whose namespace/name sorts first counts (D2)",
             Topic::kConflict);
      }
      continue;
    }
    auto [at, first] = rules.try_emplace(policy.host, &policy);
    bool has_policy = policy.policy.load_balancing || policy.policy.pool || policy.policy.outlier ||
                      policy.policy.retry_budget || !policy.policy.ports.empty();
    if (!first && has_policy) {
      warn(diagnostics, policy.origin, 0, "spec.trafficPolicy",
           "has no effect: the policy of the older " + at->second->origin.to_string() +
               " counts for this host, and only subsets are merged",
           Topic::kConflict);
    }
    for (const Subset& subset : policy.subsets) {
      if (subsets.emplace(policy.host, subset.name).second) continue;
      warn(diagnostics, policy.origin, subset.line, "spec.subsets",
           "subset " + subset.name +
               " of this host is defined by an older DestinationRule, which "
               "counts",
           Topic::kConflict);
    }
  }
  return subsets;
}

class ReferenceCheck {
 public:
  ReferenceCheck(const Model& model, Diagnostics& diagnostics)
      : diagnostics_(diagnostics), subsets_(check_destinations(model, diagnostics)) {
    for (const Service& service : model.services) hosts_.insert(service.host);
    for (const Gateway& gateway : model.gateways) {
      gateways_.insert(gateway.origin.ns + "/" + gateway.origin.name);
    }
  }

  void check(const RouteSet& set) {
    said_.clear();
    for (const std::string& gateway : set.gateways) {
      if (gateway != "mesh" && !gateways_.contains(gateway)) {
        warn(diagnostics_, set.origin, 0, "spec.gateways",
             "Gateway " + gateway + " does not exist: nothing enters through it", Topic::kMissing);
      }
    }
    for (const RouteRule& rule : set.http) check_rule(set, rule);
    for (const RouteRule& rule : set.tcp) check_rule(set, rule);
  }

 private:
  void check_rule(const RouteSet& set, const RouteRule& rule) {
    for (const Destination& destination : rule.destinations) check_target(set, destination);
    for (const Mirror& mirror : rule.mirrors) check_target(set, mirror.destination);
  }

  void check_target(const RouteSet& set, const Destination& target) {
    if (!said_.emplace(target.host, target.subset).second) return;
    const char* field = set.api == RouteSet::Api::kRouteRule ? "spec.route" : "spec.http";
    // Without any service this is one file checked on its own, and every host would be unknown.
    if (!hosts_.empty() && !is_known(target.host)) {
      warn(diagnostics_, set.origin, target.line, field,
           "no Service has the host " + target.host + ": requests to it are answered 503",
           Topic::kUnserved);
    } else if (!target.subset.empty() && !subsets_.contains({target.host, target.subset})) {
      warn(diagnostics_, set.origin, target.line, field,
           "no DestinationRule defines subset " + target.subset + " of " + target.host +
               ": requests to it are answered 503",
           Topic::kUnserved);
    }
  }

  bool is_known(const std::string& host) const {
    if (hosts_.contains(host) || hosts_.contains("*")) return true;
    for (size_t dot = host.find('.'); dot != std::string::npos; dot = host.find('.', dot + 1)) {
      if (hosts_.contains("*" + host.substr(dot))) return true;
    }
    return false;
  }

  Diagnostics& diagnostics_;
  std::set<std::pair<std::string, std::string>> subsets_;  // {host, subset}
  std::set<std::string> hosts_;
  std::set<std::string> gateways_;
  std::set<std::pair<std::string, std::string>> said_;  // of the object being checked
};

}  // namespace

void check_model(Model& model, Diagnostics& diagnostics) {
  complete_hosts(model);
  refuse_second_owner(model, diagnostics);
  set_aside_tls_routes(model, diagnostics);
  check_route_rules(model, diagnostics);
  ReferenceCheck references(model, diagnostics);
  for (const RouteSet& set : model.routes) references.check(set);
}

}  // namespace np::policy
