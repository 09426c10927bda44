// SPDX-License-Identifier: Apache-2.0
#include "proxy/request_checker.h"

#include "policy/check_eval.h"

namespace np::proxy {

std::optional<Refusal> RequestChecker::check(const policy::ClusterChecks& checks,
                                             const policy::AttributeView& request, bool deduplicate,
                                             Instant now, EngineCounters& counters) {
  const Check check{{checks, request, arena_}, deduplicate, now, counters};
  arena_.reset();
  charged_.clear();
  // A request that may not pass at all is not charged.
  for (const policy::CheckRule& rule : checks.rules) {
    if (rule.denials.empty() || !applies(rule, check)) continue;
    const policy::Denial& denial = *rule.denials.front();
    return Refusal{.status = denial.status, .denial = denial.body};
  }
  for (const policy::CheckRule& rule : checks.rules) {
    if (rule.quotas.empty() || !applies(rule, check)) continue;
    for (const policy::QuotaCheck& quota : rule.quotas) {
      if (auto refusal = charge(quota, check)) {
        undo();
        return refusal;
      }
    }
  }
  return std::nullopt;
}

bool RequestChecker::applies(const policy::CheckRule& rule, const Check& check) {
  const auto decided = policy::rule_applies(rule, check.input);
  if (!decided) ++check.counters.check_errors;
  return decided.value_or(false);
}

std::optional<Refusal> RequestChecker::charge(const policy::QuotaCheck& quota, const Check& check) {
  const int64_t amount = policy::amount_of(quota, check.input);
  if (amount == 0) return std::nullopt;
  if (!policy::read_dimensions(*quota.quota, check.input, values_)) {
    ++check.counters.check_errors;
    return std::nullopt;
  }
  Charged charged;
  charged.charge.quota = quota.quota->id;
  charged.charge.limit = policy::limit_of(*quota.quota, values_);
  charged.charge.tuple = policy::tuple_of(values_, arena_);
  charged.charge.amount = amount;
  if (check.deduplicate) {
    charged.charge.request = check.input.request.request_id;
    charged.charge.deduplication = quota.quota->deduplication;
  }
  if (windows_ == nullptr) {
    own_windows_ = std::make_unique<QuotaWindows>(seed_);
    windows_ = own_windows_.get();
  }
  charged.answer = windows_->charge(charged.charge, check.now);
  switch (charged.answer.kind) {
    case QuotaAnswer::Kind::kGranted:
      ++check.counters.rate_limit_ok;
      charged_.push_back(charged);
      return std::nullopt;
    case QuotaAnswer::Kind::kRepeated:
      ++check.counters.rate_limit_repeated;
      return std::nullopt;
    case QuotaAnswer::Kind::kUntracked:
      ++check.counters.rate_limit_untracked;
      return std::nullopt;
    case QuotaAnswer::Kind::kExhausted:
      if (!quota.quota->is_shadow) break;
      ++check.counters.rate_limit_shadowed;
      return std::nullopt;
  }
  return Refusal{.quota = quota.quota->name, .retry_after = charged.answer.retry_after};
}

void RequestChecker::undo() {
  for (const Charged& charged : charged_) {
    windows_->give_back(charged.charge, charged.answer);
  }
}

}  // namespace np::proxy
