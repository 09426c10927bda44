// SPDX-License-Identifier: Apache-2.0
// MemoryTrend: how fast the memory in use rises, from one look to the next. Between a look and the
// time at which shards have acted on it, memory goes on rising: with a small limit by more than is
// left of it. No clock and no system call. Owned by a MemoryWatch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace np::overload {

// What is reckoned with: a look, a shard's iteration and the completions that it finds.
inline constexpr Duration kLookAhead = std::chrono::milliseconds(200);

class MemoryTrend {
 public:
  // `used` bytes at `now`.
  void on_sample(uint64_t used, Instant now) {
    if (at_ != Instant() && now > at_) {
      const double seconds = std::chrono::duration<double>(now - at_).count();
      const double rate = (static_cast<double>(used) - static_cast<double>(used_)) / seconds;
      rate_ = std::max(0.0, (rate_ + rate) / 2);  // smoothed: one step is no trend
    }
    used_ = used;
    at_ = now;
  }
  // Bytes per second; 0 while it falls.
  uint64_t rate() const { return static_cast<uint64_t>(rate_); }
  // In use after `ahead`, if it goes on like this.
  uint64_t used_after(Duration ahead) const {
    return used_ + static_cast<uint64_t>(rate_ * std::chrono::duration<double>(ahead).count());
  }

 private:
  uint64_t used_ = 0;
  Instant at_{};
  double rate_ = 0;
};

}  // namespace np::overload
