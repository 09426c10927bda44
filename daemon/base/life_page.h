// SPDX-License-Identifier: Apache-2.0
// LifePage: by which the supervisor sees that its worker's shards go on (its watchdog), and the
// worker what the supervisor had to do. Shared memory that outlives the worker, zero at the very
// first start. Atomic access only; the supervisor believes nothing else of it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/memory_stage.h"

namespace np {

struct LifePage {
  static constexpr uint32_t kShards = 64;
  // Written by its shard. CLOCK_MONOTONIC at the latest iteration; 0: it has not begun, or ended.
  struct alignas(64) Shard {
    uint64_t progress_ns;
  };
  std::array<Shard, kShards> shards;
  // Written by the supervisor: workers that it ended because a shard hung.
  uint64_t watchdog_aborts;
  // Written by the worker's MemoryWatch: how often each stage began.
  std::array<uint64_t, kMemoryStageCount> stages_begun;
};

inline uint64_t read_word(const uint64_t& word) {
  return std::atomic_ref(const_cast<uint64_t&>(word)).load(std::memory_order_relaxed);
}
inline void write_word(uint64_t& word, uint64_t value) {
  std::atomic_ref(word).store(value, std::memory_order_relaxed);
}

}  // namespace np
