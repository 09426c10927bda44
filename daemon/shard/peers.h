// SPDX-License-Identifier: Apache-2.0
// Peers: what the shards know of each other: inboxes, loads and signs of life. Built by the pool,
// never changed in shape while threads run; every field is an atomic with one meaning.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "shard/message.h"

namespace np::shard {

struct alignas(64) ShardStatus {
  // Client connections assigned to the shard. Raised by whoever assigns one, lowered by its shard.
  std::atomic<uint32_t> load{0};
  // Engine connections and sockets that are still being closed; written by its shard.
  std::atomic<uint32_t> open{0};
  // CLOCK_MONOTONIC at the top of the latest loop iteration; 0 before the first.
  std::atomic<uint64_t> progress_ns{0};
  // Accepting is paused because a limit is near (R43).
  std::atomic<bool> overloaded{false};
};

struct Peers {
  explicit Peers(uint32_t count) : status(count) {}

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

  std::vector<ShardStatus> status;
  std::vector<ShardInbox*> inboxes;  // by shard index; filled before the first thread starts
};

}  // namespace np::shard
