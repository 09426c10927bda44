// SPDX-License-Identifier: Apache-2.0
// BusyMeter: how much of its time a shard's thread does not sleep. What it waits for a CPU counts:
// on a node that is shared with its pods, a shard that has work all the time gets only a part of
// one. Owned by its Shard, on the shard's thread.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/time.h"

namespace np::shard {

class BusyMeter {
 public:
  // On the thread that is measured.
  void begin(Instant now);
  // The share of the time since the last call, in permille.
  uint32_t measure(Instant now);

 private:
  uint64_t awake_ns() const;

  Fd schedstat_;  // not open: CPU time alone is what is known
  Instant since_{};
  uint64_t awake_ns_ = 0;
};

}  // namespace np::shard
