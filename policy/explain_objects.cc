// SPDX-License-Identifier: Apache-2.0
#include "policy/explain_objects.h"

#include <algorithm>
#include <string_view>

#include "policy/check_builder.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

class Collector {
 public:
  Collector(const ExplainedPlace& place, const Snapshot& snapshot)
      : place_(place), snapshot_(snapshot) {}

  bool concerns(const std::string& pattern) const {
    return std::any_of(place_.hosts.begin(), place_.hosts.end(),
                       [&](const std::string& host) { return host_covers(pattern, host); });
  }
  template <typename Patterns>
  bool concerns_any(const Patterns& patterns) const {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const std::string& pattern) { return concerns(pattern); });
  }

  void add(const Origin& origin, std::string role) {
    ExplainedObject object;
    object.origin = origin;
    object.role = std::move(role);
    const std::string name = origin.to_string();
    object.is_used = place_.route != nullptr && place_.route->object == name;
    for (const Finding& finding : snapshot_.findings) {
      if (finding.level == Finding::Level::kScope || finding.origin.to_string() != name) continue;
      if (finding.level == Finding::Level::kInactive) object.is_inactive = true;
      object.remarks.push_back(finding.message);
    }
    objects_.push_back(std::move(object));
  }
  // Rules of the latest object that nobody comes to at this place.
  void add_absent_rules(const RouteSet& set) {
    for (size_t i = 0; i < set.http.size(); ++i) {
      const RouteRule& rule = set.http[i];
      const bool counts =
          rule.matches.empty() || std::any_of(rule.matches.begin(), rule.matches.end(),
                                              [this](const MatchCondition& match) {
                                                return counts_in(match, place_.context);
                                              });
      if (counts) continue;
      const MatchCondition& match = rule.matches.front();
      const bool other_port = match.port != 0 && match.port != place_.context.port;
      objects_.back().remarks.push_back(
          "rule " + (rule.name.empty() ? std::to_string(i + 1) : rule.name) +
          " is not asked here: it is for " +
          (other_port ? "port " + std::to_string(match.port) : "another way in"));
    }
  }
  std::vector<ExplainedObject> take() { return std::move(objects_); }

 private:
  const ExplainedPlace& place_;
  const Snapshot& snapshot_;
  std::vector<ExplainedObject> objects_;
};

std::string route_role(const RouteSet& set) {
  std::string gateways;
  bool in_mesh = set.gateways.empty();
  for (const std::string& name : set.gateways) {
    if (name == "mesh") {
      in_mesh = true;
    } else {
      gateways += (gateways.empty() ? "" : ", ") + name;
    }
  }
  if (gateways.empty()) return "routes";
  return "routes at gateway " + gateways + (in_mesh ? " and inside the mesh" : " only");
}

void add_mixer(const Model& model, Collector& collector, const std::set<std::string>& hosts) {
  std::set<std::string_view> namespaces;
  for (const Service& service : model.services) {
    if (hosts.contains(service.host)) namespaces.insert(service.ns);
  }
  if (namespaces.empty()) return;
  for (const MixerRule& rule : model.mixer.rules) {
    const bool acts = rule.origin.ns == kRootNamespace || namespaces.contains(rule.origin.ns);
    if (acts) collector.add(rule.origin, "rate limits and denials");
  }
  for (const QuotaSpecBinding& binding : model.mixer.quota_spec_bindings) {
    const bool acts = std::any_of(
        binding.services.begin(), binding.services.end(),
        [&](const QuotaSpecBinding::Target& target) { return collector.concerns(target.host); });
    if (acts) collector.add(binding.origin, "binds quotas");
  }
}

}  // namespace

std::vector<ExplainedObject> objects_of(const ExplainedPlace& place, const Model& model,
                                        const Snapshot& snapshot) {
  Collector collector(place, snapshot);
  for (const Service& service : model.services) {
    if (collector.concerns(service.host)) collector.add(service.origin, "addresses and endpoints");
  }
  for (const RouteSet& set : model.routes) {
    if (!collector.concerns_any(set.hosts)) continue;
    collector.add(set.origin, route_role(set));
    collector.add_absent_rules(set);
  }
  for (const DestinationPolicy& policy : model.destinations) {
    if (!collector.concerns(policy.host)) continue;
    collector.add(policy.origin, policy.subsets.empty() ? "limits, ejection, load balancing"
                                                        : "subsets, limits, ejection");
  }
  for (const HostTraffic& traffic : model.traffic) {
    if (collector.concerns(traffic.host)) {
      collector.add(traffic.origin, "faults, limits, ejection, health checks");
    }
  }
  for (const RateLimit& limit : model.rate_limits) {
    const bool acts = std::any_of(
        limit.services.begin(), limit.services.end(),
        [&](const RateLimit::Target& target) { return collector.concerns(target.host); });
    if (acts) collector.add(limit.origin, "rate limits");
  }
  add_mixer(model, collector, place.hosts);
  return collector.take();
}

}  // namespace np::policy
