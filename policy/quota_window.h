// SPDX-License-Identifier: Apache-2.0
// QuotaWindow: over which time a rate limit counts, as its object says it. A plain value.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace np::policy {

// How spent amounts come back.
struct QuotaWindow {
  enum class Kind : uint8_t {
    kRolling,  // each amount when the tick it was spent in leaves the window
    kFixed,    // all at once, `length` after the first one was spent
    kBucket,   // one unit each `tick`; the limit is what the bucket holds
    kNever,    // a counter that never drains
  };
  Kind kind = Kind::kNever;
  Duration length{};
  Duration tick{};  // kRolling, kBucket
};

}  // namespace np::policy
