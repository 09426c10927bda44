// SPDX-License-Identifier: Apache-2.0
// Small adapters between the worker's rooms, which do not know each other: what control and admin
// ask for, answered by shards and kernel. Made by run_worker, used on the control thread (and
// admin's).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "admin/admin_server.h"
#include "control/seams.h"
#include "ejection_seams.h"
#include "kernel/worker_link.h"
#include "metrics/telemetry.h"
#include "node_board.h"
#include "options.h"
#include "overload/memory_watch.h"
#include "shard/shard_pool.h"

namespace np {

// Rings and threads-to-be over the descriptors and the memory that the supervisor handed over.
// `telemetry` hears of every request; it and `memory` outlive the pool.
Result<std::unique_ptr<shard::ShardPool>> make_shard_pool(
    const Options& options, kernel::WorkerLink& link, KernelEjections& ejections,
    EjectionWatch& watch, const metrics::Telemetry& telemetry, const overload::MemoryWatch& memory);

// Of one shard: all of them together get an eighth of the memory limit, because a buffer ring that
// has grown goes round through all that it has. A power of two; `limit_bytes` 0: there is none.
uint32_t receive_buffers_max(uint64_t limit_bytes, uint32_t workers,
                             const shard::ShardLimits& limits);

// The shards, and before the first policy that says `source: pod` the ports reserved for it:
// without such a policy no port of a pod is taken.
class BandedSink final : public control::SnapshotSink {
 public:
  BandedSink(kernel::WorkerLink& link, shard::ShardPool& pool, NodeBoard& board)
      : link_(link), pool_(pool), board_(board) {}
  Result<void> publish(std::shared_ptr<const policy::Snapshot> snapshot) override;

 private:
  kernel::WorkerLink& link_;
  shard::ShardPool& pool_;
  NodeBoard& board_;  // told which snapshot is in force
  bool has_band_ = false;
};

// Liveness: shards make progress and descriptors are left (R43). Readiness: policy is in force, and
// there is room for new connections.
class DataPathHealth final : public admin::HealthSource {
 public:
  explicit DataPathHealth(const shard::ShardPool& pool) : pool_(pool) {}
  void set_started() { started_.store(true, std::memory_order_release); }
  std::string liveness_problem() override;
  std::string readiness_problem() override;

 private:
  const shard::ShardPool& pool_;
  std::atomic<bool> started_{false};
};

// `nodectl status`: engine, shard and kernel counters by name.
class CounterBoard final : public control::CounterSource {
 public:
  CounterBoard(const shard::ShardPool& pool, kernel::WorkerLink& link, EjectionWatch& watch,
               const KernelEjections& store, const metrics::Telemetry& telemetry)
      : pool_(pool), link_(link), watch_(watch), store_(store), telemetry_(telemetry) {}
  std::vector<control::NamedCounter> counters() override;
  std::map<uint32_t, std::vector<control::NamedCounter>> pod_use() override;
  std::vector<std::string> probe_report() override;

 private:
  const shard::ShardPool& pool_;
  kernel::WorkerLink& link_;
  EjectionWatch& watch_;
  const KernelEjections& store_;
  const metrics::Telemetry& telemetry_;
};

// `nodectl drain` ends the whole daemon, as SIGTERM to the supervisor does.
class SupervisorLifecycle final : public control::Lifecycle {
 public:
  Result<void> drain() override;
};

// The supervisor binds gateway addresses and keeps the sockets; the shards accept from copies.
class GatewayListeners final : public control::ListenerHost {
 public:
  GatewayListeners(kernel::WorkerLink& link, shard::ShardPool& pool);
  ~GatewayListeners() override;
  Result<void> set(const std::vector<SocketAddress>& binds) override;

 private:
  void follow(const std::vector<kernel::GatewaySocket>& sockets);
  kernel::WorkerLink& link_;
  shard::ShardPool& pool_;
  std::string problem_;  // of the latest follow()
};

}  // namespace np
