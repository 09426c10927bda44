// SPDX-License-Identifier: Apache-2.0
// The two rules about what is full, as the engine applies them and explain() tells them: whether a
// cluster's limits let one more request in, and whether so many endpoints are out that all are used
// (traffic-semantics 3.3, D16). Pure functions; any thread.
#pragma once

#include <cstdint>

#include "policy/model.h"

namespace np::policy {

enum class LimitVerdict : uint8_t {
  kGranted,
  kWaits,           // in line for a place
  kTooManyPending,  // no place free and none to wait in: 503
  kTooManyRequests  // 503
};

struct LimitLoad {
  uint32_t running = 0, waiting = 0;
};

constexpr LimitVerdict limit_verdict(uint32_t max_connections, uint32_t max_pending,
                                     uint32_t max_requests, const LimitLoad& load, bool may_wait) {
  if (load.running < max_connections && load.waiting == 0) {
    return load.running < max_requests ? LimitVerdict::kGranted : LimitVerdict::kTooManyRequests;
  }
  if (may_wait && load.waiting < max_pending) return LimitVerdict::kWaits;
  return LimitVerdict::kTooManyPending;
}

// `available`: endpoints that are neither ejected nor unhealthy, of `count`.
inline bool is_panic(const std::optional<Outlier>& outlier, uint64_t available, uint64_t count) {
  constexpr uint64_t kWhole = 100;  // percent
  return available < count && outlier &&
         available * kWhole < uint64_t{outlier->panic_percent} * count;
}

}  // namespace np::policy
