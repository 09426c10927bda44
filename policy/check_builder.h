// SPDX-License-Identifier: Apache-2.0
// CheckBuilder: Mixer's rules, handlers, instances, specs and bindings, and RateLimits
// (RateLimitBuilder) -> the checks of each Cluster. Runs after all clusters were made, because a
// check belongs to the called side: its service, its labels. Control thread; lives during one
// compile() and fills the Snapshot.
//
// Scope (design.md 8.10): rules of the root namespace act on all services, others on the services
// of their own namespace. Any QuotaSpecBinding there is: bindings alone decide what is charged, and
// how much; none: every service in scope is charged 1 (D4).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "policy/compile.h"
#include "policy/findings.h"
#include "policy/mixer_names.h"
#include "policy/quota.h"
#include "policy/rate_limit_builder.h"
#include "policy/registry.h"

namespace np::policy {

inline constexpr std::string_view kRootNamespace = "istio-system";

class CheckBuilder {
 public:
  CheckBuilder(const Model& model, const Registry& registry, IdTable& ids, Snapshot& snapshot,
               Findings& findings);
  void build();

 private:
  // A rule whose names were all found.
  struct ReadyRule {
    const MixerRule* rule = nullptr;
    const Expression* match = nullptr;
    std::vector<const Denial*> denials;
    std::vector<std::pair<const Quota*, const QuotaInstance*>> quotas;
    bool acts = false;  // on some cluster
  };
  // QuotaSpecs of a service, each with the labels it is bound to (none: all endpoints).
  using BoundSpecs = std::map<const QuotaSpec*, std::vector<Labels>>;

  void ready_rules();
  std::string add_action(const MixerRule& rule, const MixerRule::Action& action, ReadyRule& out);
  std::string add_denials(const MixerRule& rule, const MixerRule::Action& action,
                          const Denier& denier, ReadyRule& out);
  std::string add_quotas(const MixerRule& rule, const MixerRule::Action& action,
                         const QuotaHandler& handler, ReadyRule& out);
  const Quota& quota_of(const QuotaHandler& handler, const QuotaHandler::Limit& limit,
                        const QuotaInstance& instance);
  CounterLimit limit_of(int64_t amount, const QuotaWindow& window) const;
  const Denial& denial_of(const Denier& denier);

  void add_checks(Cluster& cluster);
  DestinationAttributes destination_of(const Cluster& cluster, const Service& service) const;
  BoundSpecs specs_of(const std::string& host) const;
  std::vector<QuotaCharge> charges_of(const QuotaInstance& instance, const BoundSpecs& specs);

  void forget_old_quotas();
  void report_rules();
  void report_handlers();
  void report_specs();
  void report_bindings();

  const Model& model_;
  const MixerModel& mixer_;
  const Registry& registry_;
  IdTable& ids_;
  Snapshot& snapshot_;
  Findings& findings_;
  MixerNames names_;
  RegexCache regexes_;
  RateLimitBuilder rate_limits_;
  std::shared_ptr<CheckPolicy> policy_;
  std::vector<ReadyRule> rules_;
  std::map<std::pair<const QuotaHandler*, const QuotaInstance*>, const Quota*> quotas_;
  std::map<const Denier*, const Denial*> denials_;
  std::set<const void*> used_;  // objects that an active rule needs
};

}  // namespace np::policy
