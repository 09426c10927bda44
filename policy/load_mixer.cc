// SPDX-License-Identifier: Apache-2.0
// Mixer kinds of config.istio.io (traffic-semantics 1.6): checked in full, then kept with the
// status "accepted, not yet in effect". The model has no place for them until they act.
#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

constexpr const char* kRateLimitsLater = "rate limits (Mixer quotas) come in a later version";
constexpr const char* kDenialsLater = "Mixer denials come in a later version";
constexpr const char* kRulesLater = "Mixer rules come in a later version";

// Says so once per object, on the line of its spec or else of the object.
void report_inactive(const LoadInput& input, const char* reason) {
  (input.spec.written() ? input.spec : input.root.self()).not_in_effect(reason);
}

// "name.kind" or "name.kind.namespace".
void check_instance_name(const Value& value, std::string_view kind) {
  auto text = value.non_empty_string();
  if (!text) return;
  size_t dot = text->find('.');
  bool good = dot != std::string::npos && dot > 0 && is_dns_subdomain(*text);
  if (good && !kind.empty()) {
    std::string_view rest = std::string_view(*text).substr(dot + 1);
    good = rest.substr(0, rest.find('.')) == kind;
  }
  if (!good) {
    std::string form =
        kind.empty() ? "name.kind or name.kind.namespace"
                     : "name." + std::string(kind) + " or name." + std::string(kind) + ".namespace";
    value.error("not the name of an instance", shown(*text), form);
  }
}

// validDuration 0 is a counter that never drains.
void check_window(Fields& fields) {
  read_duration(fields.get("validDuration"), ZeroDuration::kAllowed);
}

void check_amount(const Value& value) {
  (void)value.integer(0, INT64_MAX);
}

void check_overrides(const Value& list, bool redis) {
  for (const Value& item : list.items()) {
    Fields fields(item);
    (void)fields.get("dimensions").string_map();
    check_amount(fields.get("maxAmount"));
    if (!redis) check_window(fields);
  }
}

void check_quotas(const Value& list, bool redis) {
  for (const Value& item : list.items()) {
    Fields fields(item);
    check_instance_name(fields.require("name"), "quota");
    check_amount(fields.get("maxAmount"));
    check_window(fields);
    if (redis) {
      (void)fields.get("rateLimitAlgorithm").choice({"FIXED_WINDOW", "ROLLING_WINDOW"});
      read_duration(fields.get("bucketDuration"), ZeroDuration::kAllowed);
    }
    check_overrides(fields.get("overrides"), redis);
  }
}

void check_string_match(const Value& value) {
  MatchRules rules;
  rules.allow_empty_regex = false;
  (void)read_string_match(value, rules);
}

}  // namespace

void load_memquota(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    check_quotas(spec.require("quotas"), false);
    read_duration(spec.get("minDeduplicationDuration"), ZeroDuration::kRefused);
  }
  report_inactive(input, kRateLimitsLater);
}

void load_redisquota(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    check_quotas(spec.require("quotas"), true);
    (void)spec.get("redisServerUrl").non_empty_string();
    (void)spec.get("connectionPoolSize").integer(0, INT32_MAX);
  }
  report_inactive(input, kRateLimitsLater);
}

void load_quota(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    for (const Value& entry : spec.get("dimensions").entries()) {
      if (!entry.non_empty_string() && !entry.present()) entry.error("an expression is required");
    }
  }
  report_inactive(input, kRateLimitsLater);
}

void load_rule(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    (void)spec.get("match").string();
    Value actions = spec.require("actions");
    for (const Value& item : actions.items()) {
      Fields fields(item);
      check_instance_name(fields.require("handler"), "");
      for (const Value& instance : fields.get("instances").items()) {
        check_instance_name(instance, "");
      }
    }
  }
  report_inactive(input, kRulesLater);
}

void load_quota_spec(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    for (const Value& rule : spec.require("rules").items()) {
      Fields fields(rule);
      for (const Value& match : fields.get("match").items()) {
        Fields inner(match);
        for (const Value& clause : inner.get("clause").entries()) check_string_match(clause);
      }
      for (const Value& quota : fields.require("quotas").items()) {
        Fields inner(quota);
        (void)inner.require("quota").non_empty_string();
        (void)inner.get("charge").integer(1, INT64_MAX);
      }
    }
  }
  report_inactive(input, kRateLimitsLater);
}

void load_quota_spec_binding(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    for (const Value& service : spec.require("services").items()) {
      (void)read_istio_service(service, input, LabelUse::kAllowed);
    }
    for (const Value& item : spec.require("quotaSpecs").items()) {
      Fields fields(item);
      (void)fields.require("name").non_empty_string();
      (void)fields.get("namespace").non_empty_string();
    }
  }
  report_inactive(input, kRateLimitsLater);
}

void load_denier(const LoadInput& input, Model&) {
  {
    Fields spec(input.spec);
    Fields status(spec.get("status"));
    (void)status.get("code").integer(0, 16);
    (void)status.get("message").string();
    check_window(spec);
    (void)spec.get("validUseCount").integer(0, INT32_MAX);
  }
  report_inactive(input, kDenialsLater);
}

void load_checknothing(const LoadInput& input, Model&) {
  { Fields spec(input.spec); }
  report_inactive(input, kDenialsLater);
}

}  // namespace np::policy
