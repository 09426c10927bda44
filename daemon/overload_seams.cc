// SPDX-License-Identifier: Apache-2.0
#include "overload_seams.h"

#include "lasting_memory.h"

namespace np {

Result<std::unique_ptr<overload::MemoryWatch>> make_memory_watch(const OverloadChoices& choices,
                                                                 kernel::WorkerLink& link) {
  overload::MemoryWatchOptions options;
  options.limit_bytes = choices.memory_limit_bytes;
  options.thresholds = choices.memory;
  options.life = link.life_page();
  return overload::MemoryWatch::create(options);
}

control::OverloadStatus OverloadBoard::overload() {
  const overload::MemoryState memory = memory_.state();
  control::OverloadStatus status;
  status.stage = memory.stage;
  if (memory.since != Instant()) status.stage_age = monotonic_now() - memory.since;
  status.memory_used_bytes = memory.used_bytes;
  status.memory_limit_bytes = memory.limit_bytes;
  status.memory_limit_source = memory.limit_source;
  status.memory_thresholds = memory.thresholds ? "" : "off";
  if (memory.thresholds) {
    for (const uint32_t percent : memory.thresholds->percent) {
      if (!status.memory_thresholds.empty()) status.memory_thresholds += ',';
      status.memory_thresholds += std::to_string(percent);
    }
  }
  status.late_shards = pool_.late_shards();
  status.lag_limit = choices_.lag;
  for (uint32_t shard = 0; shard < pool_.workers(); ++shard) {
    const proxy::EngineCounters& counters = engine_counters(link_, shard);
    status.requests_refused += read_word(counters.overload_rq_refused);
    status.requests_ended += read_word(counters.overload_rq_ended);
  }
  status.connections_shed = pool_.counters().shed_late;
  if (const LifePage* life = link_.life_page()) {
    status.watchdog_aborts = read_word(life->watchdog_aborts);
  }
  status.watchdog = choices_.watchdog;
  return status;
}

metrics::OverloadTotals OverloadBoard::totals() const {
  const overload::MemoryState memory = memory_.state();
  metrics::OverloadTotals totals;
  totals.memory_used_bytes = memory.used_bytes;
  totals.memory_limit_bytes = memory.limit_bytes;
  totals.memory_stage = static_cast<uint32_t>(memory.stage);
  totals.late_shards = pool_.late_shards();
  const LifePage* life = link_.life_page();
  if (life == nullptr) return totals;
  for (size_t stage = 0; stage < kMemoryStageCount; ++stage) {
    totals.stages_begun.push_back(
        {name_of(static_cast<MemoryStage>(stage)), "", read_word(life->stages_begun[stage])});
  }
  totals.watchdog_aborts = read_word(life->watchdog_aborts);
  return totals;
}

}  // namespace np
