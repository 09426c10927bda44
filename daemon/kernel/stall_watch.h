// SPDX-License-Identifier: Apache-2.0
// StallWatch: the supervisor's watchdog: finds a shard that completes no loop iteration any more
// (reliability F7). It compares what it saw itself at its own looks, not the times in the page:
// when it did not run either (a machine that slept, both processes stopped), nobody is blamed for
// that time. An idle shard wakes itself every 40 ms and is seen to go on. No clock and no system
// call but in describe_shard_thread(). Supervisor only.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/life_page.h"
#include "base/time.h"

namespace np::kernel {

class StallWatch {
 public:
  struct Stall {
    uint32_t shard = 0;
    Duration length{};
  };

  explicit StallWatch(Duration limit);

  // Another worker is watched from the next look on.
  void begin() { is_begun_ = false; }
  // The shard that has stood still for longest, when that is as long as the limit.
  std::optional<Stall> look(const LifePage& page, Instant now);
  // When the next look is due.
  Duration interval() const { return interval_; }

 private:
  struct Seen {
    uint64_t progress_ns = 0;
    Instant since{};
  };

  const Duration limit_, interval_;
  std::array<Seen, LifePage::kShards> seen_{};
  bool is_begun_ = false;
  Instant latest_look_{};
};

// How the kernel sees the thread: "np-shard-0, state R (running)".
std::string describe_shard_thread(pid_t worker, uint32_t shard);

}  // namespace np::kernel
