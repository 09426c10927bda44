// SPDX-License-Identifier: Apache-2.0
// Parts of injected faults that need no Exchange: drawing a delay, and pacing an answer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/random.h"
#include "base/time.h"
#include "policy/model.h"

namespace np::proxy {

// Never negative, at most policy::kDelayMax.
Duration draw_delay(const policy::DelayShape& shape, Rng& rng);

// Bytes per second as small pieces: what accrues is taken at least kPiece at a time, so that a slow
// answer flows instead of coming in lumps. Off until begin(). Part of an Exchange; one thread.
class Throttle {
 public:
  static constexpr Duration kPiece = std::chrono::milliseconds(20);

  void begin(uint64_t bytes_per_second, Instant now) {
    rate_ = bytes_per_second;
    since_ = now;
  }
  bool is_on() const { return rate_ != 0; }
  // At most `wanted`; 0: nothing before ready_at().
  size_t take(size_t wanted, Instant now);
  Instant ready_at() const;

 private:
  uint64_t rate_ = 0;
  Instant since_;  // from here on, rate_ x time has not been taken yet
};

}  // namespace np::proxy
