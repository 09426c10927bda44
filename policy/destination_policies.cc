// SPDX-License-Identifier: Apache-2.0
#include "policy/destination_policies.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "policy/registry.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

// portLevelSettings replace the level they stand in wholly.
const TrafficPolicy& at_port(const TrafficPolicy& policy, uint16_t port) {
  const auto found = policy.ports.find(port);
  return found == policy.ports.end() || found->second == nullptr ? policy : *found->second;
}

void fill_missing(EffectivePolicy& out, const TrafficPolicy& from) {
  if (!out.load_balancing) out.load_balancing = from.load_balancing;
  if (!out.pool) out.pool = from.pool;
  if (!out.retry_budget) out.retry_budget = from.retry_budget;
  if (!out.outlier) out.outlier = from.outlier;
}

bool older(const DestinationPolicy* a, const DestinationPolicy* b) {
  return a->origin.sequence < b->origin.sequence;
}

}  // namespace

bool key_less(const Origin& a, const Origin& b) {
  return std::tie(a.ns, a.name) < std::tie(b.ns, b.name);
}

const Subset* HostPolicies::find_subset(std::string_view name) const {
  for (const DestinationPolicy* rule : rules) {
    for (const Subset& subset : rule->subsets) {
      if (subset.name == name) return &subset;
    }
  }
  return nullptr;
}

const Subset* HostPolicies::subset_with(const Labels& labels) const {
  for (const DestinationPolicy* rule : rules) {
    for (const Subset& subset : rule->subsets) {
      if (subset.labels == labels) return &subset;
    }
  }
  return nullptr;
}

DestinationPolicies::DestinationPolicies(const Model& model, Findings& findings)
    : findings_(findings) {
  std::set<std::string> wildcards;
  for (const DestinationPolicy& policy : model.destinations) {
    const bool is_rule = policy.api == DestinationPolicy::Api::kDestinationRule;
    (is_rule ? rules_by_host_ : policies_by_host_)[policy.host].push_back(&policy);
    if (is_rule && policy.host.starts_with('*')) wildcards.insert(policy.host);
    const auto& scope = policy.export_to;
    if (is_rule && !scope.empty() && std::find(scope.begin(), scope.end(), "*") == scope.end()) {
      findings_.note(policy.origin, "exportTo is not narrowed: the rule acts for all callers");
    }
  }
  wildcards_.assign(wildcards.begin(), wildcards.end());
  std::stable_sort(wildcards_.begin(), wildcards_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  for (auto& [host, rules] : rules_by_host_) std::stable_sort(rules.begin(), rules.end(), older);
  for (auto& [host, policies] : policies_by_host_) {
    std::stable_sort(policies.begin(), policies.end(),
                     [](const DestinationPolicy* a, const DestinationPolicy* b) {
                       return key_less(a->origin, b->origin);
                     });
  }
}

const HostPolicies& DestinationPolicies::of_host(const std::string& host) {
  const auto [found, inserted] = resolved_.try_emplace(host);
  if (inserted) resolve(host, found->second);
  return found->second;
}

void DestinationPolicies::resolve(const std::string& host, HostPolicies& out) {
  auto rules = rules_by_host_.find(host);
  for (size_t i = 0; rules == rules_by_host_.end() && i < wildcards_.size(); ++i) {
    if (host_covers(wildcards_[i], host)) rules = rules_by_host_.find(wildcards_[i]);
  }
  if (rules != rules_by_host_.end()) out.rules = rules->second;
  const auto policies = policies_by_host_.find(host);
  if (policies == policies_by_host_.end()) return;
  for (const DestinationPolicy* policy : policies->second) {
    if (!out.rules.empty()) {
      findings_.inactive(policy->origin,
                         out.rules.front()->origin.to_string() + " decides for " + host +
                             ": DestinationPolicies have no effect there",
                         Topic::kConflict);
      continue;
    }
    const auto same = std::find_if(
        out.policies.begin(), out.policies.end(),
        [&](const DestinationPolicy* other) { return other->labels == policy->labels; });
    if (same == out.policies.end()) {
      out.policies.push_back(policy);
    } else {
      findings_.warning(policy->origin,
                        (*same)->origin.to_string() +
                            " claims the same endpoints and comes first: this one has no effect",
                        Topic::kConflict);
    }
  }
}

EffectivePolicy DestinationPolicies::of_rules(const HostPolicies& host, const Subset* subset,
                                              uint16_t port) {
  EffectivePolicy out;
  if (subset != nullptr) {
    const TrafficPolicy& own = at_port(subset->policy, port);
    fill_missing(out, own);
    if (&own != &subset->policy) return out;
  }
  if (!host.rules.empty()) fill_missing(out, at_port(host.rules.front()->policy, port));
  return out;
}

EffectivePolicy DestinationPolicies::of_policies(const HostPolicies& host, const Labels& labels) {
  std::vector<const DestinationPolicy*> matching;
  for (const DestinationPolicy* policy : host.policies) {
    if (has_labels(labels, policy->labels)) matching.push_back(policy);
  }
  std::stable_sort(matching.begin(), matching.end(),
                   [](const DestinationPolicy* a, const DestinationPolicy* b) {
                     return a->labels.size() > b->labels.size();
                   });
  EffectivePolicy out;
  for (const DestinationPolicy* policy : matching) fill_missing(out, policy->policy);
  return out;
}

}  // namespace np::policy
