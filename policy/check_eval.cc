// SPDX-License-Identifier: Apache-2.0
#include "policy/check_eval.h"

#include <algorithm>
#include <cstring>

namespace np::policy {

namespace {

bool holds(const RequestMatch& match, const CheckInput& input) {
  const RequestView& request = *input.request.request;
  return match.condition.holds(request, *input.request.caller) &&
         std::all_of(match.cookies.begin(), match.cookies.end(), [&](const auto& cookie) {
           const auto value = cookie_text(request, cookie.name);
           return value && cookie.matcher.matches(*value);
         });
}

bool is_charged(const QuotaCharge& charge, const CheckInput& input) {
  const Labels& labels = input.checks.destination.labels;
  const auto& wanted = charge.destinations;
  if (!wanted.empty() && std::none_of(wanted.begin(), wanted.end(),
                                      [&](const auto& one) { return has_labels(labels, one); })) {
    return false;
  }
  if (charge.matches.empty()) return true;
  return std::any_of(charge.matches.begin(), charge.matches.end(), [&](const auto& clauses) {
    return std::all_of(clauses.begin(), clauses.end(), [&](const auto& clause) {
      const auto value = input.request.get(clause.attribute, input.arena);
      return value && clause.matcher.matches(value->text);
    });
  });
}

}  // namespace

std::optional<bool> rule_applies(const CheckRule& rule, const CheckInput& input) {
  const auto& any = rule.matches;
  if (!any.empty() && std::none_of(any.begin(), any.end(),
                                   [&](const auto& match) { return holds(match, input); })) {
    return false;
  }
  if (rule.match == nullptr) return true;
  return evaluate_condition(*rule.match, input.request, input.arena);
}

int64_t amount_of(const QuotaCheck& quota, const CheckInput& input) {
  int64_t amount = 0;
  for (const QuotaCharge& charge : quota.charges) {
    if (!is_charged(charge, input)) continue;
    if (__builtin_add_overflow(amount, charge.amount, &amount)) return INT64_MAX;
  }
  return amount;
}

bool read_dimensions(const Quota& quota, const CheckInput& input,
                     std::vector<std::string_view>& values) {
  values.clear();
  for (const Expression& dimension : quota.dimensions) {
    const auto value = evaluate(dimension, input.request, input.arena);
    if (!value) return false;
    values.push_back(text_of(*value, input.arena));
  }
  return true;
}

const CounterLimit& limit_of(const Quota& quota, const std::vector<std::string_view>& values) {
  for (const Quota::Override& one : quota.overrides) {
    const bool fits = std::all_of(
        one.dimensions.begin(), one.dimensions.end(),
        [&](const auto& dimension) { return values[dimension.first] == dimension.second; });
    if (fits) return one.limit;
  }
  return quota.limit;
}

// Each value with its length in front.
std::string_view tuple_of(const std::vector<std::string_view>& values, Arena& arena) {
  size_t size = 0;
  for (const std::string_view value : values) size += sizeof(uint32_t) + value.size();
  char* const text = arena.allocate(size);
  char* end = text;
  for (const std::string_view value : values) {
    const auto length = static_cast<uint32_t>(value.size());
    std::memcpy(end, &length, sizeof length);
    end = std::copy(value.begin(), value.end(), end + sizeof length);
  }
  return {text, size};
}

}  // namespace np::policy
