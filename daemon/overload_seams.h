// SPDX-License-Identifier: Apache-2.0
// OverloadBoard: memory, load and watchdog as values of one moment, for control's verbs and for
// /metrics. Made by run_worker; asked by the control thread and the admin server's threads.
#pragma once

#include <memory>

#include "control/overload.h"
#include "kernel/worker_link.h"
#include "metrics/node_totals.h"
#include "options.h"
#include "overload/memory_watch.h"
#include "shard/shard_pool.h"

namespace np {

// Before the sandbox: opens what it reads.
Result<std::unique_ptr<overload::MemoryWatch>> make_memory_watch(const OverloadChoices& choices,
                                                                 kernel::WorkerLink& link);

class OverloadBoard final : public control::OverloadSource {
 public:
  OverloadBoard(const OverloadChoices& choices, const overload::MemoryWatch& memory,
                const shard::ShardPool& pool, kernel::WorkerLink& link)
      : choices_(choices), memory_(memory), pool_(pool), link_(link) {}
  control::OverloadStatus overload() override;
  metrics::OverloadTotals totals() const;

 private:
  const OverloadChoices choices_;
  const overload::MemoryWatch& memory_;
  const shard::ShardPool& pool_;
  kernel::WorkerLink& link_;
};

}  // namespace np
