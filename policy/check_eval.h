// SPDX-License-Identifier: Apache-2.0
// What the checks of a cluster mean for one request: which rules are about it, what each quota
// charges, and to which counter. Pure functions; spending and refusing is the engine's. Shared by
// the engine and explain(). No heap use but the arena's.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "policy/quota.h"

namespace np::policy {

// Borrowed for the time of one check.
struct CheckInput {
  const ClusterChecks& checks;
  const AttributeView& request;
  Arena& arena;
};

// Nothing: the rule's expression cannot be evaluated for this request, so it does not apply.
std::optional<bool> rule_applies(const CheckRule& rule, const CheckInput& input);

// What the request costs; 0: nothing.
int64_t amount_of(const QuotaCheck& quota, const CheckInput& input);

// The values of all dimensions, in their order. False: one cannot be evaluated.
bool read_dimensions(const Quota& quota, const CheckInput& input,
                     std::vector<std::string_view>& values);
const CounterLimit& limit_of(const Quota& quota, const std::vector<std::string_view>& values);
// The counter's key: no two lists of values give one.
std::string_view tuple_of(const std::vector<std::string_view>& values, Arena& arena);

}  // namespace np::policy
