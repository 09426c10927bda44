// SPDX-License-Identifier: Apache-2.0
// Peers: what the shards know of each other: inboxes, loads and signs of life. Built by the pool,
// never changed in shape while threads run; every field is an atomic with one meaning.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "bpf/abi/np_abi.h"
#include "shard/fair_queue.h"
#include "shard/message.h"
#include "shard/pod_use.h"

namespace np::shard {

struct alignas(64) ShardStatus {
  // Client connections assigned to the shard. Raised by whoever assigns one, lowered by its shard.
  std::atomic<uint32_t> load{0};
  // Engine connections and sockets that are still being closed; written by its shard.
  std::atomic<uint32_t> open{0};
  // CLOCK_MONOTONIC at the top of the latest loop iteration; 0 before the first.
  std::atomic<uint64_t> progress_ns{0};
  // A limit is near (R43): nothing new should be sent here.
  std::atomic<bool> sheds{false};
  // An accept failed for want of a descriptor, and none is free yet.
  std::atomic<bool> out_of_descriptors{false};
};

// The overload bit of np_live.flags: while it is set, captured connections follow their fail mode
// in the kernel. Any shard raises it; the first one settles it at each tick, so that a bit that was
// cleared while another shard raised it comes back.
class OverloadFlag {
 public:
  explicit OverloadFlag(uint32_t* live_flags) : live_flags_(live_flags) {}
  void raise() const {
    if (live_flags_ != nullptr) std::atomic_ref(*live_flags_).fetch_or(kBit);
  }
  void lower() const {
    if (live_flags_ != nullptr) std::atomic_ref(*live_flags_).fetch_and(~kBit);
  }

 private:
  static constexpr uint32_t kBit = NP_LIVE_OVERLOAD;
  uint32_t* live_flags_;  // null: nobody captures
};

struct Peers {
  Peers(uint32_t count, uint32_t* live_flags)
      : overload(live_flags), status(count), pod_use(count) {
    for (std::vector<PodUse>& of_shard : pod_use) of_shard.resize(FairQueue::kLines);
  }

  uint32_t least_loaded(uint32_t own) const {
    uint32_t best = own;
    uint32_t best_load = status[own].load.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < status.size(); ++i) {
      const uint32_t load = status[i].load.load(std::memory_order_relaxed);
      if (load < best_load) {
        best = i;
        best_load = load;
      }
    }
    return best;
  }

  // When the shard that is furthest behind was last alive; 0 until all have begun.
  uint64_t oldest_progress_ns() const {
    uint64_t oldest = UINT64_MAX;
    for (const ShardStatus& one : status) {
      const uint64_t progress = one.progress_ns.load(std::memory_order_relaxed);
      if (progress < oldest) oldest = progress;
    }
    return oldest;
  }

  bool is_any_shedding() const {
    return std::any_of(status.begin(), status.end(), [](const ShardStatus& one) {
      return one.sheds.load(std::memory_order_relaxed);
    });
  }
  // By the first shard.
  void settle_overload() const {
    if (is_any_shedding()) {
      overload.raise();
    } else {
      overload.lower();
    }
  }

  const OverloadFlag overload;
  std::vector<ShardStatus> status;
  std::vector<std::vector<PodUse>> pod_use;  // by shard index and FairQueue line
  std::vector<ShardInbox*> inboxes;  // by shard index; filled before the first thread starts
};

}  // namespace np::shard
