// SPDX-License-Identifier: Apache-2.0
// IdleBoard: how many idle connections each shard keeps, by a hash of what they are for, so that a
// shard which needs one asks another before it dials. A hint: keys may share a place, and what was
// read may have changed since; who is asked decides. Owned by the NodeState, used by every shard.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/engine.h"

namespace np::proxy {

class IdleBoard {
 public:
  static constexpr uint32_t kPlaces = 1024;

  explicit IdleBoard(uint32_t shards)
      : shards_(shards), counts_(shards > 1 ? size_t{shards} * kPlaces : 0) {}

  static uint32_t place_of(size_t hash) { return static_cast<uint32_t>(hash % kPlaces); }

  // `shard` keeps one more, or one less; only that shard says so.
  void change(uint32_t shard, uint32_t place, int by) {
    if (shards_ == 1) return;
    std::atomic<uint32_t>& count = counts_[shard * kPlaces + place];
    count.store(count.load(std::memory_order_relaxed) + static_cast<uint32_t>(by),
                std::memory_order_relaxed);
  }

  // The shard, other than `asking`, that keeps most; kNobody when none keeps more than that.
  uint32_t lender(uint32_t asking, uint32_t place, uint32_t more_than) const {
    uint32_t best = ConnectTarget::kNobody;
    for (uint32_t shard = 0; shard < shards_ && shards_ > 1; ++shard) {
      const uint32_t idle = counts_[shard * kPlaces + place].load(std::memory_order_relaxed);
      if (shard == asking || idle <= more_than) continue;
      best = shard;
      more_than = idle;
    }
    return best;
  }

 private:
  const uint32_t shards_;
  std::vector<std::atomic<uint32_t>> counts_;
};

}  // namespace np::proxy
