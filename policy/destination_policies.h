// SPDX-License-Identifier: Apache-2.0
// DestinationPolicies: what DestinationRules and DestinationPolicies say about a host, resolved by
// order of power (traffic-semantics.md 2.2, D2). Control thread; lives during one compile() and
// borrows the Model.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/findings.h"
#include "policy/hash.h"
#include "policy/model.h"

namespace np::policy {

struct EffectivePolicy {
  std::optional<LoadBalancing> load_balancing;
  std::optional<ConnectionPool> pool;
  std::optional<Outlier> outlier;
  std::optional<RetryBudget> retry_budget;
};

// What applies to one host. At most one of the two lists is used: today's API switches the old one
// off (8.10).
struct HostPolicies {
  std::vector<const DestinationPolicy*> rules;     // DestinationRules, oldest first
  std::vector<const DestinationPolicy*> policies;  // DestinationPolicies, one per label set

  const Subset* find_subset(std::string_view name) const;
  const Subset* subset_with(const Labels& labels) const;
};

class DestinationPolicies {
 public:
  DestinationPolicies(const Model& model, Findings& findings);

  // Also through wildcard hosts of DestinationRules: exact first, then the longest.
  const HostPolicies& of_host(const std::string& host);

  void warn(const Origin& origin, std::string message) {
    findings_.warning(origin, std::move(message));
  }

  // By subset (may be null) and port of a DestinationRule.
  static EffectivePolicy of_rules(const HostPolicies& host, const Subset* subset, uint16_t port);
  // Of the policies whose labels are all in `labels`: the more specific first, field by field.
  static EffectivePolicy of_policies(const HostPolicies& host, const Labels& labels);

 private:
  void resolve(const std::string& host, HostPolicies& out);

  Findings& findings_;
  std::unordered_map<std::string, std::vector<const DestinationPolicy*>> rules_by_host_;
  std::unordered_map<std::string, std::vector<const DestinationPolicy*>> policies_by_host_;
  std::vector<std::string> wildcards_;  // hosts of rules, longest first
  std::map<std::string, HostPolicies> resolved_;
};

// The order of keys: namespace, then name.
bool key_less(const Origin& a, const Origin& b);

}  // namespace np::policy
