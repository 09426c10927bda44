// SPDX-License-Identifier: Apache-2.0
// Rules of repeats that need no Exchange (traffic-semantics 3.5). Pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/field.h"
#include "base/random.h"
#include "base/time.h"
#include "policy/model.h"

namespace np::proxy {

// Wait before repeat `n` (1, 2, ...): uniform in [0, (2^n - 1) x base), at most the policy's cap.
Duration backoff(const policy::Retry& retry, uint32_t n, Rng& rng);

// The RetryOn conditions that an answer head meets; 0: the answer is final.
uint32_t answer_conditions(const policy::Retry& retry, uint16_t status, FieldSpan fields);

// RetryBudget: what repeats may add to the requests of one cluster on one shard, counted over the
// last kWindow. It bounds what a failing upstream costs: with `percent` 20, at most 1.2 times the
// requests, once there are more of them than the minimum covers. Owned by the Picker; one thread.
class RetryBudget {
 public:
  static constexpr int kSeconds = 10;
  static constexpr Duration kWindow = std::chrono::seconds(kSeconds);

  void count_request(Instant now);
  // One repeat, if `percent` of the window's requests, or `minimum`, are not used up.
  bool take(Instant now, uint32_t percent, uint32_t minimum);

 private:
  struct Second {
    uint32_t requests = 0, repeats = 0;
  };
  void advance(Instant now);

  Second seconds_[kSeconds];
  int64_t current_ = 0;  // second since the clock began
  uint64_t requests_ = 0, repeats_ = 0;
};

}  // namespace np::proxy
