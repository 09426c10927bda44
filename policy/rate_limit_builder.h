// SPDX-License-Identifier: Apache-2.0
// RateLimitBuilder: RateLimit objects -> check rules of a cluster. Used by CheckBuilder for every
// cluster, then asked for what it has to say. Control thread; lives during one compile().
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "policy/compile.h"
#include "policy/findings.h"
#include "policy/quota.h"
#include "policy/registry.h"

namespace np::policy {

class RateLimitBuilder {
 public:
  RateLimitBuilder(const Model& model, const Registry& registry, IdTable& ids, RegexCache& regexes)
      : model_(model), registry_(registry), ids_(ids), regexes_(regexes) {}

  // Adds the rules that act on requests to this cluster, oldest object first.
  void add_rules(const Cluster& cluster, const DestinationAttributes& destination,
                 CheckPolicy& policy, std::vector<CheckRule>& out);
  void report(Findings& findings) const;

 private:
  using RuleKey = std::pair<const RateLimit*, const RateLimit::Rule*>;

  // Each rule's counters exist once, however many clusters lead to its services.
  const std::vector<const Quota*>& quotas_of(const RateLimit& limit, const RateLimit::Rule& rule,
                                             CheckPolicy& policy);
  RequestMatch match_of(const RateLimit::Match& match);

  const Model& model_;
  const Registry& registry_;
  IdTable& ids_;
  RegexCache& regexes_;
  std::map<RuleKey, std::vector<const Quota*>> quotas_;
  std::map<const RateLimit*, bool> acts_;
};

}  // namespace np::policy
