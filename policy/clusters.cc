// SPDX-License-Identifier: Apache-2.0
#include "policy/clusters.h"

#include <algorithm>

#include "policy/balance.h"

namespace np::policy {

namespace {

constexpr size_t kLegacyNameBytes = 189;  // what Istio 0.x allowed (traffic-semantics.md 1.9)

std::string hex(uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) {
    out.push_back(kDigits[(value >> static_cast<unsigned>(shift)) & 0xfU]);
  }
  return out;
}

std::string legacy_name(const std::string& host, const ServicePort& port, const Labels& labels) {
  std::string name =
      "out." + host + "|" + (port.name.empty() ? std::to_string(port.port) : port.name);
  if (!labels.empty()) name += "|" + label_text(labels);
  if (name.size() <= kLegacyNameBytes) return name;
  // Cut names must still differ.
  const std::string tail = hex(hash_bytes(name));
  return name.substr(0, kLegacyNameBytes - tail.size()) + tail;
}

// RouteRule labels have no name: that of an equal subset, the lone version, or the labels.
std::string subset_name(const HostPolicies& host, const Labels& labels) {
  if (labels.empty()) return {};
  if (const Subset* subset = host.subset_with(labels)) return subset->name;
  if (labels.size() == 1 && labels.begin()->first == "version" &&
      host.find_subset(labels.begin()->second) == nullptr) {
    return labels.begin()->second;
  }
  return label_text(labels);
}

uint64_t weight_of(const std::vector<Endpoint>& endpoints) {
  uint64_t sum = 0;
  for (const Endpoint& endpoint : endpoints) sum += endpoint.weight;
  return std::max<uint64_t>(sum, 1);
}

std::vector<Endpoint> with_labels(const std::vector<Endpoint>& endpoints, const Labels& labels) {
  std::vector<Endpoint> out;
  for (const Endpoint& endpoint : endpoints) {
    if (has_labels(endpoint.labels, labels)) out.push_back(endpoint);
  }
  return out;
}

std::string cache_key(const ServiceRecord& record, const ServicePort& port, char kind,
                      const std::string& subset) {
  return record.service->host + "|" + std::to_string(port.port) + "|" + kind + subset;
}

}  // namespace

std::string label_text(const Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out.push_back(',');
    out.append(key).append("=").append(value);
  }
  return out;
}

const ClusterShares& ClusterBuilder::by_labels(const ServiceRecord& record, const ServicePort& port,
                                               const Labels& labels) {
  const auto [found, inserted] =
      shares_.try_emplace(cache_key(record, port, 'l', label_text(labels)));
  if (!inserted) return found->second;
  const HostPolicies& host = policies_.of_host(record.service->host);
  found->second = split({&record, &port, subset_name(host, labels), labels,
                         labels.empty() ? nullptr : host.subset_with(labels),
                         with_labels(record.endpoints[record.port_index(port)], labels)});
  return found->second;
}

const ClusterShares* ClusterBuilder::by_subset(const ServiceRecord& record, const ServicePort& port,
                                               const std::string& subset) {
  const HostPolicies& host = policies_.of_host(record.service->host);
  const Subset* rule_subset = host.find_subset(subset);
  if (rule_subset == nullptr) return nullptr;
  const auto [found, inserted] = shares_.try_emplace(cache_key(record, port, 's', subset));
  if (!inserted) return &found->second;
  found->second =
      split({&record, &port, subset, rule_subset->labels, rule_subset,
             with_labels(record.endpoints[record.port_index(port)], rule_subset->labels)});
  return &found->second;
}

ClusterShares ClusterBuilder::split(Recipe base) {
  const HostPolicies& host = policies_.of_host(base.record->service->host);
  std::map<std::vector<bool>, std::vector<Endpoint>> groups;  // by which policies cover them
  for (Endpoint& endpoint : base.endpoints) {
    std::vector<bool> covered;
    for (const DestinationPolicy* policy : host.policies) {
      covered.push_back(has_labels(endpoint.labels, policy->labels));
    }
    groups[covered].push_back(std::move(endpoint));
  }
  if (groups.empty()) groups[std::vector<bool>(host.policies.size(), false)] = {};
  ClusterShares shares;
  for (auto& [covered, endpoints] : groups) {
    Recipe part{base.record, base.port,        base.subset,
                base.labels, base.rule_subset, std::move(endpoints)};
    part.carried = base.labels;
    for (size_t i = 0; i < covered.size(); ++i) {
      const Labels& labels = host.policies[i]->labels;
      if (covered[i]) part.carried.insert(labels.begin(), labels.end());
    }
    // A part is named by what its endpoints have in common; a whole keeps the name of the rule.
    if (groups.size() > 1 && part.carried != base.labels) {
      part.labels = part.carried;
      part.subset = subset_name(host, part.carried);
    }
    const uint64_t weight = weight_of(part.endpoints);
    shares.push_back({&make(std::move(part)), weight});
  }
  return shares;
}

const Cluster& ClusterBuilder::make(Recipe recipe) {
  const Service& service = *recipe.record->service;
  const HostPolicies& host = policies_.of_host(service.host);
  const uint16_t port = recipe.port->port;
  Cluster cluster;
  cluster.host = service.host;
  cluster.subset = recipe.subset;
  cluster.port = port;
  cluster.service_id = ids_.id(IdTable::Space::kService, service.host + ":" + std::to_string(port));
  cluster.name = (recipe.dialled_only ? "original-dst|" : "outbound|") + std::to_string(port) +
                 "|" + recipe.subset + "|" + service.host;
  const auto known = by_name_.find(cluster.name);
  if (known != by_name_.end()) return *known->second;
  cluster.legacy_name =
      recipe.dialled_only ? cluster.name : legacy_name(service.host, *recipe.port, recipe.labels);
  cluster.original_destination = recipe.dialled_only || recipe.record->forwards_to_dialled();
  cluster.source_pod = service.source_pod;
  cluster.endpoints = std::move(recipe.endpoints);
  const EffectivePolicy policy =
      host.rules.empty() ? DestinationPolicies::of_policies(host, recipe.carried)
                         : DestinationPolicies::of_rules(host, recipe.rule_subset, port);
  if (policy.load_balancing) cluster.load_balancing = *policy.load_balancing;
  if (policy.pool) cluster.pool = *policy.pool;
  cluster.pool.retry_budget = policy.retry_budget;
  cluster.outlier = policy.outlier;
  traffic_.apply(cluster, recipe.labels);
  warn_of_vain_ejection(cluster, host);
  if (cluster.load_balancing.kind == LoadBalancing::Kind::kPassthrough) {
    cluster.original_destination = true;
  }
  return keep(std::move(cluster));
}

// D6: today's rule ejects only while the share of those out stays within the limit.
void ClusterBuilder::warn_of_vain_ejection(const Cluster& cluster, const HostPolicies& host) {
  constexpr uint32_t kWhole = 100;
  const size_t count = cluster.endpoints.size();
  if (!cluster.outlier || cluster.outlier->old_percent_rule || host.rules.empty() || count == 0 ||
      cluster.outlier->max_ejection_percent * count >= kWhole) {
    return;
  }
  policies_.warn(host.rules.front()->origin,
                 "maxEjectionPercent " + std::to_string(cluster.outlier->max_ejection_percent) +
                     " of " + std::to_string(count) + " endpoints of " + cluster.name +
                     " is less than one: nobody is ever ejected there");
}

const Cluster& ClusterBuilder::dialled_endpoint(const ServiceRecord& record,
                                                const ServicePort& port) {
  Recipe recipe{&record, &port, {}, {}, nullptr, record.endpoints[record.port_index(port)]};
  recipe.dialled_only = true;
  for (const DestinationPolicy* policy : policies_.of_host(record.service->host).policies) {
    const bool covers_all =
        !recipe.endpoints.empty() &&
        recipe.endpoints.size() == with_labels(recipe.endpoints, policy->labels).size();
    if (covers_all) recipe.carried.insert(policy->labels.begin(), policy->labels.end());
  }
  return make(std::move(recipe));
}

const Cluster& ClusterBuilder::passthrough() {
  Cluster cluster;
  cluster.name = cluster.legacy_name = "PassthroughCluster";
  const auto known = by_name_.find(cluster.name);
  if (known != by_name_.end()) return *known->second;
  cluster.original_destination = true;
  return keep(std::move(cluster));
}

const Cluster& ClusterBuilder::keep(Cluster cluster) {
  cluster.id = ids_.id(IdTable::Space::kCluster, cluster.name);
  auto owned = std::make_unique<Cluster>(std::move(cluster));
  if (!owned->original_destination) build_hash_tables(*owned);
  by_name_.emplace(owned->name, owned.get());
  snapshot_.clusters.push_back(std::move(owned));
  return *snapshot_.clusters.back();
}

}  // namespace np::policy
