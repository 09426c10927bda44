// SPDX-License-Identifier: Apache-2.0
#include "policy/check_builder.h"

#include <algorithm>

#include "policy/route_table.h"

namespace np::policy {

namespace {

// google.rpc.Code, by number.
constexpr std::string_view kCodeNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

uint16_t http_status(int32_t code) {
  switch (code) {
    case 3:
      return 400;
    case 5:
      return 404;
    case 7:
      return 403;
    case 8:
      return 429;
    case 14:
      return 503;
    case 16:
      return 401;
    default:
      return 500;
  }
}

bool is_in_scope(const MixerRule& rule, const Service& service) {
  return rule.origin.ns == kRootNamespace || rule.origin.ns == service.ns;
}

// Of what all endpoints have; nothing is known of the labels where there is no endpoint.
Labels common_labels(const std::vector<Endpoint>& endpoints) {
  if (endpoints.empty()) return {};
  Labels common = endpoints.front().labels;
  for (const Endpoint& endpoint : endpoints) {
    std::erase_if(common, [&](const auto& pair) {
      const auto found = endpoint.labels.find(pair.first);
      return found == endpoint.labels.end() || found->second != pair.second;
    });
  }
  return common;
}

}  // namespace

CounterWindow counter_window(const QuotaWindow& window) {
  switch (window.kind) {
    case QuotaWindow::Kind::kNever:
      return {};
    case QuotaWindow::Kind::kFixed:
      return {CounterWindow::Kind::kFixed, 0, window.length};
    case QuotaWindow::Kind::kBucket:
      return {CounterWindow::Kind::kBucket, 0, window.tick};
    case QuotaWindow::Kind::kRolling:
      break;
  }
  const int64_t length = window.length.count();
  int64_t tick = std::max<int64_t>(window.tick.count(), 1);
  int64_t ticks = (length + tick - 1) / tick;
  if (ticks > kWindowTicksMax) {
    // One tick more than the window is long: with long ticks an amount must not come back early.
    tick *= (ticks + kWindowTicksMax - 2) / (kWindowTicksMax - 1);
    ticks = (length + tick - 1) / tick + 1;
  }
  return {CounterWindow::Kind::kTicks, static_cast<uint32_t>(ticks), Duration(tick)};
}

CheckBuilder::CheckBuilder(const Model& model, const Registry& registry, IdTable& ids,
                           Snapshot& snapshot, Findings& findings)
    : model_(model),
      mixer_(model.mixer),
      registry_(registry),
      ids_(ids),
      snapshot_(snapshot),
      findings_(findings),
      names_(model.mixer),
      regexes_([](const std::string&, const std::string&) {}),  // the loader has compiled them all
      rate_limits_(model, registry, ids, regexes_),
      policy_(std::make_shared<CheckPolicy>()) {}

void CheckBuilder::build() {
  if (mixer_.empty() && model_.rate_limits.empty()) {
    forget_old_quotas();
    return;
  }
  ready_rules();
  for (const auto& cluster : snapshot_.clusters) add_checks(*cluster);
  forget_old_quotas();
  report_rules();
  report_handlers();
  report_specs();
  report_bindings();
  rate_limits_.report(findings_);
  snapshot_.checks = policy_;
}

// A limit that was deleted and comes again begins at zero: that is how a person resets one.
void CheckBuilder::forget_old_quotas() {
  std::set<uint32_t> used;
  for (const auto& quota : policy_->quotas) used.insert(quota->id);
  ids_.forget_others(IdTable::Space::kQuota, used);
}

// ---- rules ------------------------------------------------------------------------------------

void CheckBuilder::ready_rules() {
  std::vector<const MixerRule*> ordered;
  for (const MixerRule& rule : mixer_.rules) ordered.push_back(&rule);
  std::sort(ordered.begin(), ordered.end(), [](const MixerRule* a, const MixerRule* b) {
    return std::tie(a->origin.ns, a->origin.name) < std::tie(b->origin.ns, b->origin.name);
  });
  for (const MixerRule* rule : ordered) {
    ReadyRule ready;
    ready.rule = rule;
    std::string missing;
    for (const MixerRule::Action& action : rule->actions) {
      if (missing.empty()) missing = add_action(*rule, action, ready);
    }
    if (!missing.empty()) {
      findings_.inactive(rule->origin, missing, Topic::kMissing);
      continue;
    }
    if (rule->match) {
      policy_->expressions.push_back(std::make_unique<Expression>(*rule->match));
      ready.match = policy_->expressions.back().get();
    }
    rules_.push_back(std::move(ready));
  }
}

// Returns why the action cannot act; empty: it can.
std::string CheckBuilder::add_action(const MixerRule& rule, const MixerRule::Action& action,
                                     ReadyRule& out) {
  const InstanceName name(action.handler, rule.origin.ns);
  if (name.kind == "denier") {
    const Denier* denier = names_.denier(name);
    if (denier == nullptr) return "there is no " + name.to_string();
    return add_denials(rule, action, *denier, out);
  }
  if (name.kind == "memquota" || name.kind == "redisquota") {
    const QuotaHandler* handler = names_.quota_handler(name);
    if (handler == nullptr) return "there is no " + name.to_string();
    return add_quotas(rule, action, *handler, out);
  }
  return "handlers of kind " + name.kind + " are not supported: " + action.handler;
}

std::string CheckBuilder::add_denials(const MixerRule& rule, const MixerRule::Action& action,
                                      const Denier& denier, ReadyRule& out) {
  for (const std::string& written : action.instances) {
    const InstanceName name(written, rule.origin.ns);
    if (name.kind != "checknothing") return "a denier takes instances of checknothing: " + written;
    const CheckNothing* instance = names_.check_nothing(name);
    if (instance == nullptr) return "there is no " + name.to_string();
    if (denier.code != 0) out.denials.push_back(&denial_of(denier));
  }
  if (action.instances.empty()) return "the action of " + action.handler + " names no instance";
  return {};
}

std::string CheckBuilder::add_quotas(const MixerRule& rule, const MixerRule::Action& action,
                                     const QuotaHandler& handler, ReadyRule& out) {
  for (const std::string& written : action.instances) {
    const InstanceName name(written, rule.origin.ns);
    if (name.kind != "quota") {
      return "a " + handler.origin.kind + " takes instances of quota: " + written;
    }
    const QuotaInstance* instance = names_.quota_instance(name);
    if (instance == nullptr) return "there is no " + name.to_string();
    const auto limit = std::find_if(
        handler.limits.begin(), handler.limits.end(), [&](const QuotaHandler::Limit& one) {
          return names_.quota_instance({one.instance, handler.origin.ns}) == instance;
        });
    if (limit == handler.limits.end()) {
      return handler.origin.to_string() + " has no limit for " + name.to_string();
    }
    out.quotas.emplace_back(&quota_of(handler, *limit, *instance), instance);
  }
  if (action.instances.empty()) return "the action of " + action.handler + " names no instance";
  return {};
}

CounterLimit CheckBuilder::limit_of(int64_t amount, const QuotaWindow& window) const {
  return {amount, counter_window(window)};
}

const Quota& CheckBuilder::quota_of(const QuotaHandler& handler, const QuotaHandler::Limit& limit,
                                    const QuotaInstance& instance) {
  const Quota*& known = quotas_[{&handler, &instance}];
  if (known != nullptr) return *known;
  auto quota = std::make_unique<Quota>();
  quota->id = ids_.id(IdTable::Space::kQuota,
                      handler.origin.to_string() + "|" + instance.origin.to_string());
  quota->name = instance.origin.name;
  for (const auto& [name, expression] : instance.dimensions) {
    quota->dimensions.push_back(expression);
  }
  quota->limit = limit_of(limit.max_amount, limit.window);
  quota->deduplication = handler.deduplication;
  for (const QuotaOverride& written : limit.overrides) {
    Quota::Override made;
    std::string unknown;
    for (const auto& [name, value] : written.dimensions) {
      const auto at =
          std::find_if(instance.dimensions.begin(), instance.dimensions.end(),
                       [&name = name](const auto& dimension) { return dimension.first == name; });
      if (at == instance.dimensions.end()) unknown = name;
      made.dimensions.emplace_back(static_cast<uint32_t>(at - instance.dimensions.begin()), value);
    }
    if (!unknown.empty()) {
      findings_.warning(handler.origin,
                        "an override never applies: " + instance.origin.to_string() +
                            " has no dimension " + unknown);
      continue;
    }
    made.limit = limit_of(written.max_amount, written.window);
    quota->overrides.push_back(std::move(made));
  }
  policy_->quotas.push_back(std::move(quota));
  known = policy_->quotas.back().get();
  return *known;
}

const Denial& CheckBuilder::denial_of(const Denier& denier) {
  const Denial*& known = denials_[&denier];
  if (known != nullptr) return *known;
  auto denial = std::make_unique<Denial>();
  denial->status = http_status(denier.code);
  denial->body = std::string(kCodeNames[denier.code]) + ":" + denier.origin.name + "." +
                 denier.origin.kind + "." + denier.origin.ns + ":" + denier.message;
  policy_->denials.push_back(std::move(denial));
  known = policy_->denials.back().get();
  return *known;
}

// ---- clusters ---------------------------------------------------------------------------------

void CheckBuilder::add_checks(Cluster& cluster) {
  const ServiceRecord* record = cluster.host.empty() ? nullptr : registry_.find(cluster.host);
  if (record == nullptr) return;
  const Service& service = *record->service;
  auto checks = std::make_unique<ClusterChecks>();
  const BoundSpecs specs = specs_of(service.host);
  for (ReadyRule& ready : rules_) {
    if (!is_in_scope(*ready.rule, service)) continue;
    CheckRule rule;
    rule.match = ready.match;
    rule.denials = ready.denials;
    for (const auto& [quota, instance] : ready.quotas) {
      std::vector<QuotaCharge> charges = charges_of(*instance, specs);
      if (!charges.empty()) rule.quotas.push_back({quota, std::move(charges)});
    }
    if (rule.denials.empty() && rule.quotas.empty()) continue;
    ready.acts = true;
    checks->rules.push_back(std::move(rule));
  }
  checks->destination = destination_of(cluster, service);
  rate_limits_.add_rules(cluster, checks->destination, *policy_, checks->rules);
  if (checks->rules.empty()) return;
  policy_->clusters.push_back(std::move(checks));
  cluster.checks = policy_->clusters.back().get();
}

DestinationAttributes CheckBuilder::destination_of(const Cluster& cluster,
                                                   const Service& service) const {
  DestinationAttributes out;
  out.service = service.host;
  out.ns = service.ns;
  out.port = cluster.port;
  out.labels = common_labels(cluster.endpoints);
  for (const Endpoint& endpoint : cluster.endpoints) {
    const Pod* pod = registry_.pod_at(endpoint.address.ip);
    const std::string account = pod == nullptr ? std::string() : pod->service_account;
    if (&endpoint == &cluster.endpoints.front()) out.service_account = account;
    if (account != out.service_account) out.service_account.clear();
    if (cluster.endpoints.size() > 1) continue;
    out.ip = endpoint.address.ip;
    if (pod == nullptr) continue;
    out.name = pod->name;
    out.uid = "kubernetes://" + pod->name + "." + pod->ns;
  }
  return out;
}

CheckBuilder::BoundSpecs CheckBuilder::specs_of(const std::string& host) const {
  BoundSpecs specs;
  std::set<const QuotaSpec*> unconditional;
  for (const QuotaSpecBinding& binding : mixer_.quota_spec_bindings) {
    for (const QuotaSpecBinding::Target& target : binding.services) {
      if (!host_covers(target.host, host)) continue;
      for (const auto& [ns, name] : binding.specs) {
        const QuotaSpec* spec = names_.quota_spec(ns, name);
        if (spec == nullptr) continue;
        specs[spec].push_back(target.labels);
        if (target.labels.empty()) unconditional.insert(spec);
      }
    }
  }
  for (const QuotaSpec* spec : unconditional) specs[spec].clear();
  return specs;
}

std::vector<QuotaCharge> CheckBuilder::charges_of(const QuotaInstance& instance,
                                                  const BoundSpecs& specs) {
  if (mixer_.quota_spec_bindings.empty()) return {QuotaCharge{}};
  std::vector<QuotaCharge> out;
  for (const auto& [spec, labels] : specs) {
    for (const QuotaSpec::Rule& rule : spec->rules) {
      for (const QuotaSpec::Charge& charge : rule.charges) {
        if (!means_quota(charge.quota, instance)) continue;
        QuotaCharge made;
        made.destinations = labels;
        made.amount = charge.amount;
        for (const auto& clauses : rule.matches) {
          auto& one = made.matches.emplace_back();
          for (const QuotaSpec::Clause& clause : clauses) {
            one.push_back({clause.attribute, StringMatcher(clause.match, regexes_)});
          }
        }
        out.push_back(std::move(made));
      }
    }
  }
  return out;
}

}  // namespace np::policy
