// SPDX-License-Identifier: Apache-2.0
// The part of the model that Mixer's kinds of Istio 0.x fill: rate limits and denials
// (traffic-semantics 1.6). Names of other objects are kept as they were written, because the order
// of loading must not matter; compile() resolves them. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "policy/attributes.h"
#include "policy/expression.h"
#include "policy/model_base.h"
#include "policy/quota_window.h"

namespace np::policy {

struct QuotaOverride {
  std::vector<std::pair<std::string, std::string>> dimensions;
  int64_t max_amount = 0;
  QuotaWindow window;
};

// memquota or redisquota.
struct QuotaHandler {
  struct Limit {
    std::string instance;  // "name.quota[.namespace]"
    int64_t max_amount = 0;
    QuotaWindow window;
    std::vector<QuotaOverride> overrides;  // the first that fits counts
    int line = 0;
  };
  Origin origin;
  std::vector<Limit> limits;
  Duration deduplication = std::chrono::seconds(1);
};

struct QuotaInstance {
  Origin origin;
  std::vector<std::pair<std::string, Expression>> dimensions;  // sorted by name
};

struct Denier {
  Origin origin;
  int32_t code = 9;  // google.rpc.Code; Mixer's default is FAILED_PRECONDITION
  std::string message;
};

struct CheckNothing {
  Origin origin;
};

struct MixerRule {
  struct Action {
    std::string handler;                 // "name.kind[.namespace]"
    std::vector<std::string> instances;  // the same
  };
  Origin origin;
  std::optional<Expression> match;  // absent: every request
  std::vector<Action> actions;
};

struct QuotaSpec {
  struct Clause {
    Attribute attribute = Attribute::kRequestPath;
    StringMatch match;
  };
  struct Charge {
    std::string quota;  // compared loosely with names of instances
    int64_t amount = 1;
  };
  struct Rule {
    std::vector<std::vector<Clause>> matches;  // any of these, each with all its clauses; none: all
    std::vector<Charge> charges;
  };
  Origin origin;
  std::vector<Rule> rules;
};

struct QuotaSpecBinding {
  struct Target {
    std::string host;  // may be a wildcard
    Labels labels;
  };
  Origin origin;
  std::vector<Target> services;
  std::vector<std::pair<std::string, std::string>> specs;  // {namespace, name}
};

struct MixerModel {
  std::vector<QuotaHandler> quota_handlers;
  std::vector<QuotaInstance> quota_instances;
  std::vector<Denier> deniers;
  std::vector<CheckNothing> check_nothings;
  std::vector<MixerRule> rules;
  std::vector<QuotaSpec> quota_specs;
  std::vector<QuotaSpecBinding> quota_spec_bindings;
  bool empty() const {
    return quota_handlers.empty() && quota_instances.empty() && deniers.empty() &&
           check_nothings.empty() && rules.empty() && quota_specs.empty() &&
           quota_spec_bindings.empty();
  }
};

}  // namespace np::policy
