// SPDX-License-Identifier: Apache-2.0
// What is counted per shard in the memory that the supervisor keeps, so that no metric goes back
// when a worker is replaced. Zero at the very first start.
#pragma once

#include "base/check.h"
#include "kernel/worker_link.h"
#include "metrics/series_store.h"
#include "proxy/counters.h"
#include "shard/fair_queue.h"
#include "shard/pod_use.h"
#include "shard/shard_counters.h"

namespace np {

// One 8 KiB block per shard: the engine's counters, then the driver's.
inline constexpr size_t kShardCountersOffset = 6144;
static_assert(sizeof(proxy::EngineCounters) <= kShardCountersOffset);
static_assert(kShardCountersOffset + sizeof(shard::ShardCounters) <= 8192);

inline proxy::EngineCounters& engine_counters(kernel::WorkerLink& link, uint32_t shard) {
  return *reinterpret_cast<proxy::EngineCounters*>(link.counter_block(shard).data());
}
inline shard::ShardCounters& shard_counters(kernel::WorkerLink& link, uint32_t shard) {
  std::byte* block = link.counter_block(shard).data();
  return *reinterpret_cast<shard::ShardCounters*>(block + kShardCountersOffset);
}

// What has no room there.
struct ShardLasting {
  metrics::ShardSeries series;
  shard::PodUse pod_use[shard::FairQueue::kLines];
};

inline ShardLasting& lasting_memory(kernel::WorkerLink& link, uint32_t shard) {
  const std::span<std::byte> block = link.series_block(shard);
  NP_CHECK(block.size() == sizeof(ShardLasting));
  return *reinterpret_cast<ShardLasting*>(block.data());
}

}  // namespace np
