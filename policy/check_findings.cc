// SPDX-License-Identifier: Apache-2.0
// CheckBuilder, second half: what it has to say about the objects.
#include <algorithm>

#include "policy/check_builder.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

constexpr const char* kUnused = "no rule in effect uses it";
constexpr const char* kPerNode = "per node";

std::string scope_of(const MixerRule& rule) {
  if (rule.origin.ns == kRootNamespace) return "no service is known";
  return "no service of namespace " + rule.origin.ns + " is known";
}

}  // namespace

void CheckBuilder::report_rules() {
  used_.clear();
  for (const ReadyRule& ready : rules_) {
    const Origin& origin = ready.rule->origin;
    if (ready.acts) {
      for (const MixerRule::Action& action : ready.rule->actions) {
        const InstanceName handler(action.handler, origin.ns);
        used_.insert(names_.denier(handler));
        used_.insert(names_.quota_handler(handler));
        for (const std::string& written : action.instances) {
          const InstanceName instance(written, origin.ns);
          used_.insert(names_.quota_instance(instance));
          used_.insert(names_.check_nothing(instance));
        }
      }
      continue;
    }
    const bool any_service =
        std::any_of(model_.services.begin(), model_.services.end(), [&](const Service& service) {
          return origin.ns == kRootNamespace || origin.ns == service.ns;
        });
    if (!any_service) {
      findings_.inactive(origin, scope_of(*ready.rule));
    } else if (!ready.quotas.empty()) {
      findings_.inactive(origin, "no QuotaSpecBinding charges " + ready.quotas.front().first->name +
                                     " for a service that it acts on");
    } else {
      findings_.inactive(origin, "it has no action that refuses anything");
    }
  }
}

void CheckBuilder::report_handlers() {
  for (const QuotaHandler& handler : mixer_.quota_handlers) {
    if (used_.contains(&handler)) {
      findings_.scope(handler.origin, kPerNode);
    } else {
      findings_.inactive(handler.origin, kUnused);
    }
    for (const QuotaHandler::Limit& limit : handler.limits) {
      const InstanceName name(limit.instance, handler.origin.ns);
      if (names_.quota_instance(name) != nullptr) continue;
      findings_.warning(handler.origin, "there is no " + name.to_string(), Topic::kMissing);
    }
  }
  for (const Denier& denier : mixer_.deniers) {
    if (denier.code == 0) {
      findings_.inactive(denier.origin, "its status code is 0 (OK): it refuses nothing");
    } else if (!used_.contains(&denier)) {
      findings_.inactive(denier.origin, kUnused);
    }
  }
  for (const QuotaInstance& instance : mixer_.quota_instances) {
    if (!used_.contains(&instance)) findings_.inactive(instance.origin, kUnused);
  }
  for (const CheckNothing& instance : mixer_.check_nothings) {
    if (!used_.contains(&instance)) findings_.inactive(instance.origin, kUnused);
  }
}

void CheckBuilder::report_specs() {
  std::set<const QuotaSpec*> bound;
  for (const QuotaSpecBinding& binding : mixer_.quota_spec_bindings) {
    for (const auto& [ns, name] : binding.specs) bound.insert(names_.quota_spec(ns, name));
  }
  for (const QuotaSpec& spec : mixer_.quota_specs) {
    if (!bound.contains(&spec)) {
      findings_.inactive(spec.origin, "no QuotaSpecBinding names it");
      continue;
    }
    for (const QuotaSpec::Rule& rule : spec.rules) {
      for (const QuotaSpec::Charge& charge : rule.charges) {
        const bool known = std::any_of(
            mixer_.quota_instances.begin(), mixer_.quota_instances.end(),
            [&](const QuotaInstance& instance) { return means_quota(charge.quota, instance); });
        if (!known)
          findings_.warning(spec.origin, "there is no quota " + charge.quota, Topic::kMissing);
      }
    }
  }
}

void CheckBuilder::report_bindings() {
  for (const QuotaSpecBinding& binding : mixer_.quota_spec_bindings) {
    std::string missing;
    size_t found = 0;
    for (const auto& [ns, name] : binding.specs) {
      if (names_.quota_spec(ns, name) != nullptr) {
        ++found;
      } else {
        missing = "there is no QuotaSpec " + ns + "/" + name;
      }
    }
    if (found == 0) {
      findings_.inactive(binding.origin, missing.empty() ? "it names no QuotaSpec" : missing,
                         Topic::kMissing);
      continue;
    }
    if (!missing.empty()) findings_.warning(binding.origin, missing, Topic::kMissing);
    for (const QuotaSpecBinding::Target& target : binding.services) {
      const bool known = std::any_of(
          model_.services.begin(), model_.services.end(),
          [&](const Service& service) { return host_covers(target.host, service.host); });
      if (!known)
        findings_.warning(binding.origin, "no service is known for host " + target.host,
                          Topic::kMissing);
    }
  }
}

}  // namespace np::policy
