// SPDX-License-Identifier: Apache-2.0
#include "proxy/request_checker.h"

#include <algorithm>
#include <cstring>

namespace np::proxy {

std::optional<Refusal> RequestChecker::check(const policy::ClusterChecks& checks,
                                             const policy::AttributeView& request, bool deduplicate,
                                             Instant now, EngineCounters& counters) {
  const Check check{checks, request, deduplicate, now, counters};
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
  const auto& any = rule.matches;
  if (!any.empty() && std::none_of(any.begin(), any.end(),
                                   [&](const auto& match) { return holds(match, check); })) {
    return false;
  }
  if (rule.match == nullptr) return true;
  const auto decided = policy::evaluate_condition(*rule.match, check.request, arena_);
  if (!decided) ++check.counters.check_errors;
  return decided.value_or(false);
}

bool RequestChecker::holds(const policy::RequestMatch& match, const Check& check) {
  const policy::RequestView& request = *check.request.request;
  return match.condition.holds(request, *check.request.caller) &&
         std::all_of(match.cookies.begin(), match.cookies.end(), [&](const auto& cookie) {
           const auto value = policy::cookie_text(request, cookie.name);
           return value && cookie.matcher.matches(*value);
         });
}

std::optional<Refusal> RequestChecker::charge(const policy::QuotaCheck& quota, const Check& check) {
  const int64_t amount = amount_of(quota, check);
  if (amount == 0) return std::nullopt;
  if (!read_dimensions(*quota.quota, check)) {
    ++check.counters.check_errors;
    return std::nullopt;
  }
  Charged charged;
  charged.charge.quota = quota.quota->id;
  charged.charge.limit = limit_of(*quota.quota);
  charged.charge.tuple = tuple();
  charged.charge.amount = amount;
  if (check.deduplicate) {
    charged.charge.request = check.request.request_id;
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

int64_t RequestChecker::amount_of(const policy::QuotaCheck& quota, const Check& check) {
  int64_t amount = 0;
  for (const policy::QuotaCharge& charge : quota.charges) {
    if (!matches(charge, check)) continue;
    if (__builtin_add_overflow(amount, charge.amount, &amount)) return INT64_MAX;
  }
  return amount;
}

bool RequestChecker::matches(const policy::QuotaCharge& charge, const Check& check) {
  const policy::Labels& labels = check.checks.destination.labels;
  const auto& wanted = charge.destinations;
  if (!wanted.empty() && std::none_of(wanted.begin(), wanted.end(), [&](const auto& one) {
        return policy::has_labels(labels, one);
      })) {
    return false;
  }
  if (charge.matches.empty()) return true;
  return std::any_of(charge.matches.begin(), charge.matches.end(), [&](const auto& clauses) {
    return std::all_of(clauses.begin(), clauses.end(), [&](const auto& clause) {
      const auto value = check.request.get(clause.attribute, arena_);
      return value && clause.matcher.matches(value->text);
    });
  });
}

bool RequestChecker::read_dimensions(const policy::Quota& quota, const Check& check) {
  values_.clear();
  for (const policy::Expression& dimension : quota.dimensions) {
    const auto value = policy::evaluate(dimension, check.request, arena_);
    if (!value) return false;
    values_.push_back(policy::text_of(*value, arena_));
  }
  return true;
}

const policy::CounterLimit& RequestChecker::limit_of(const policy::Quota& quota) const {
  for (const policy::Quota::Override& one : quota.overrides) {
    const bool fits = std::all_of(
        one.dimensions.begin(), one.dimensions.end(),
        [&](const auto& dimension) { return values_[dimension.first] == dimension.second; });
    if (fits) return one.limit;
  }
  return quota.limit;
}

// Each value with its length in front: no two lists of values give one tuple.
std::string_view RequestChecker::tuple() {
  size_t size = 0;
  for (const std::string_view value : values_) size += sizeof(uint32_t) + value.size();
  char* const text = arena_.allocate(size);
  char* end = text;
  for (const std::string_view value : values_) {
    const auto length = static_cast<uint32_t>(value.size());
    std::memcpy(end, &length, sizeof length);
    end = std::copy(value.begin(), value.end(), end + sizeof length);
  }
  return {text, size};
}

void RequestChecker::undo() {
  for (const Charged& charged : charged_) {
    windows_->give_back(charged.charge, charged.answer);
  }
}

}  // namespace np::proxy
