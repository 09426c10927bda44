// SPDX-License-Identifier: Apache-2.0
// Mixer kinds of config.istio.io (traffic-semantics 1.6). Names of other objects are only checked
// for their form here: compile() resolves them, whatever the order of loading was.
#include <algorithm>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

constexpr Duration kMemquotaTick = std::chrono::milliseconds(100);

// "name.kind" or "name.kind.namespace".
std::string read_instance_name(const Value& value, std::string_view kind) {
  auto text = value.non_empty_string();
  if (!text) return {};
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
  return *text;
}

// Says on which part of the text the trouble is: a long expression fills several lines.
std::optional<Expression> read_expression(const Value& value) {
  auto text = value.non_empty_string();
  if (!text) return std::nullopt;
  ExpressionProblem problem;
  auto expression = parse_expression(*text, problem);
  if (!expression) {
    value.error(problem.message + ", at character " + std::to_string(problem.position + 1),
                shown(problem.found), problem.allowed);
    return std::nullopt;
  }
  for (const ExpressionNode& node : expression->program().nodes) {
    if (node.op != ExpressionNode::Op::kAttribute || info_of(node.attribute).is_known) continue;
    value.warning("the attribute " + std::string(info_of(node.attribute).name) +
                  " is not known when a request is checked: it counts as missing");
  }
  return expression;
}

int64_t read_amount(const Value& value, const Value& owner) {
  if (!value.written()) owner.warning("maxAmount is missing: nothing is ever granted");
  return value.integer(0, INT64_MAX).value_or(0);
}

// validDuration 0 is a counter that never drains.
Duration read_valid_duration(const Value& value, const Value& owner) {
  if (!value.written()) owner.warning("without validDuration, what was spent never comes back");
  return read_duration(value, ZeroDuration::kAllowed).value_or(Duration{});
}

QuotaWindow memquota_window(Duration valid) {
  if (valid == Duration::zero()) return {};
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(valid);
  return {QuotaWindow::Kind::kRolling, seconds, kMemquotaTick};
}

QuotaWindow read_redis_window(Fields& fields, const Value& owner) {
  const Duration valid = read_valid_duration(fields.get("validDuration"), owner);
  const bool rolling =
      fields.get("rateLimitAlgorithm").choice({"FIXED_WINDOW", "ROLLING_WINDOW"}).value_or(0) == 1;
  const Value bucket = fields.get("bucketDuration");
  const Duration tick = read_duration(bucket, ZeroDuration::kAllowed).value_or(Duration{});
  if (valid == Duration::zero()) return {};
  if (!rolling) return {QuotaWindow::Kind::kFixed, valid, {}};
  if (tick == Duration::zero() || tick >= valid) {
    (bucket.written() ? bucket : owner)
        .error("ROLLING_WINDOW needs a bucketDuration that is shorter than validDuration",
               bucket.written() ? bucket.found() : "none");
    return {};
  }
  return {QuotaWindow::Kind::kRolling, valid, tick};
}

std::vector<QuotaOverride> read_overrides(const Value& list, bool redis, QuotaWindow window) {
  std::vector<QuotaOverride> out;
  for (const Value& item : list.items()) {
    Fields fields(item);
    QuotaOverride entry;
    entry.dimensions = fields.get("dimensions").string_map();
    entry.max_amount = read_amount(fields.get("maxAmount"), item);
    entry.window = window;
    if (!redis) {
      entry.window = memquota_window(read_valid_duration(fields.get("validDuration"), item));
    }
    out.push_back(std::move(entry));
  }
  return out;
}

std::vector<QuotaHandler::Limit> read_limits(const Value& list, bool redis) {
  std::vector<QuotaHandler::Limit> out;
  for (const Value& item : list.items()) {
    Fields fields(item);
    QuotaHandler::Limit limit;
    limit.line = item.line();
    limit.instance = read_instance_name(fields.require("name"), "quota");
    limit.max_amount = read_amount(fields.get("maxAmount"), item);
    limit.window = redis ? read_redis_window(fields, item)
                         : memquota_window(read_valid_duration(fields.get("validDuration"), item));
    limit.overrides = read_overrides(fields.get("overrides"), redis, limit.window);
    out.push_back(std::move(limit));
  }
  return out;
}

StringMatch read_clause(const Value& value) {
  MatchRules rules;
  rules.allow_empty_regex = false;
  return read_string_match(value, rules).value_or(StringMatch{});
}

std::vector<QuotaSpec::Clause> read_clauses(const Value& map) {
  std::vector<QuotaSpec::Clause> out;
  for (const Value& entry : map.entries()) {
    QuotaSpec::Clause clause;
    clause.match = read_clause(entry);
    const auto attribute = find_attribute(entry.key());
    if (!attribute) {
      entry.error("unknown attribute", shown(entry.key()),
                  "the nearest are " + nearest_attributes(entry.key()));
      continue;
    }
    if (info_of(*attribute).type != ValueType::kString) {
      entry.error("a clause needs an attribute that is a string",
                  std::string(name_of(info_of(*attribute).type)));
    }
    if (!info_of(*attribute).is_known) {
      entry.warning("this attribute is not known when a request is checked: it never matches");
    }
    clause.attribute = *attribute;
    out.push_back(std::move(clause));
  }
  return out;
}

QuotaSpec::Rule read_spec_rule(const Value& value) {
  QuotaSpec::Rule rule;
  Fields fields(value);
  for (const Value& match : fields.get("match").items()) {
    Fields inner(match);
    rule.matches.push_back(read_clauses(inner.get("clause")));
  }
  for (const Value& item : fields.require("quotas").items()) {
    Fields inner(item);
    QuotaSpec::Charge charge;
    charge.quota = inner.require("quota").non_empty_string().value_or("");
    charge.amount = inner.get("charge").integer(1, INT64_MAX).value_or(1);
    rule.charges.push_back(std::move(charge));
  }
  return rule;
}

}  // namespace

void load_memquota(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  QuotaHandler handler;
  handler.origin = input.origin;
  handler.limits = read_limits(spec.require("quotas"), false);
  const auto deduplication =
      read_duration(spec.get("minDeduplicationDuration"), ZeroDuration::kRefused);
  if (deduplication) handler.deduplication = *deduplication;
  model.mixer.quota_handlers.push_back(std::move(handler));
}

void load_redisquota(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  QuotaHandler handler;
  handler.origin = input.origin;
  handler.limits = read_limits(spec.require("quotas"), true);
  const Value server = spec.get("redisServerUrl");
  const Value pool = spec.get("connectionPoolSize");
  (void)server.non_empty_string();
  (void)pool.integer(0, INT32_MAX);
  server.warn_if_written("has no effect: this node counts by itself, no Redis is asked");
  pool.warn_if_written("has no effect: this node counts by itself, no Redis is asked");
  model.mixer.quota_handlers.push_back(std::move(handler));
}

void load_quota(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  QuotaInstance instance;
  instance.origin = input.origin;
  for (const Value& entry : spec.get("dimensions").entries()) {
    if (!entry.present()) {
      entry.error("an expression is required");
      continue;
    }
    auto expression = read_expression(entry);
    if (!expression) continue;
    if (expression->type() == ValueType::kMap) {
      entry.error("a dimension is one value", "a map of strings",
                  "one entry of it, for example source.labels[\"app\"]");
    }
    instance.dimensions.emplace_back(entry.key(), std::move(*expression));
  }
  std::sort(instance.dimensions.begin(), instance.dimensions.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  model.mixer.quota_instances.push_back(std::move(instance));
}

void load_rule(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  MixerRule rule;
  rule.origin = input.origin;
  const Value match = spec.get("match");
  const auto text = match.string();
  if (text && text->find_first_not_of(" \t\r\n") != std::string::npos) {
    rule.match = read_expression(match);
    if (rule.match && rule.match->type() != ValueType::kBoolean) {
      match.error("a condition is needed here",
                  "a value of type " + std::string(name_of(rule.match->type())),
                  "for example source.labels[\"app\"] == \"reviews\"");
    }
  }
  for (const Value& item : spec.require("actions").items()) {
    Fields fields(item);
    MixerRule::Action action;
    action.handler = read_instance_name(fields.require("handler"), "");
    for (const Value& instance : fields.get("instances").items()) {
      action.instances.push_back(read_instance_name(instance, ""));
    }
    rule.actions.push_back(std::move(action));
  }
  model.mixer.rules.push_back(std::move(rule));
}

void load_quota_spec(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  QuotaSpec out;
  out.origin = input.origin;
  for (const Value& rule : spec.require("rules").items()) {
    out.rules.push_back(read_spec_rule(rule));
  }
  model.mixer.quota_specs.push_back(std::move(out));
}

void load_quota_spec_binding(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  QuotaSpecBinding binding;
  binding.origin = input.origin;
  for (const Value& value : spec.require("services").items()) {
    auto service = read_istio_service(value, input, LabelUse::kAllowed);
    if (service) binding.services.push_back({service->host, service->labels});
  }
  for (const Value& item : spec.require("quotaSpecs").items()) {
    Fields fields(item);
    const auto name = fields.require("name").non_empty_string();
    const auto ns = fields.get("namespace").non_empty_string();
    binding.specs.emplace_back(ns.value_or(input.ns), name.value_or(""));
  }
  model.mixer.quota_spec_bindings.push_back(std::move(binding));
}

void load_denier(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  Fields status(spec.get("status"));
  Denier denier;
  denier.origin = input.origin;
  const auto code = status.get("code").integer(0, 16);
  if (code) denier.code = static_cast<int32_t>(*code);
  denier.message = status.get("message").string().value_or("");
  const Value duration = spec.get("validDuration");
  const Value uses = spec.get("validUseCount");
  read_duration(duration, ZeroDuration::kAllowed);
  (void)uses.integer(0, INT32_MAX);
  duration.warn_if_written("has no effect: every request is checked anew");
  uses.warn_if_written("has no effect: every request is checked anew");
  model.mixer.deniers.push_back(std::move(denier));
}

void load_checknothing(const LoadInput& input, Model& model) {
  { Fields spec(input.spec); }
  model.mixer.check_nothings.push_back({input.origin});
}

}  // namespace np::policy
