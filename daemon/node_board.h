// SPDX-License-Identifier: Apache-2.0
// NodeBoard: the whole node as values of one moment, for /metrics, the dashboard and `nodectl top`:
// counters of shards and kernel, clusters with their endpoints and limits, policies, pods. Made by
// run_worker; asked by the admin server's threads and the control thread, told by the latter.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/seams.h"
#include "ejection_seams.h"
#include "kernel/worker_link.h"
#include "metrics/node_totals.h"
#include "options.h"
#include "overload_seams.h"
#include "policy/snapshot.h"
#include "shard/shard_pool.h"

namespace np {

using PodNames = std::unordered_map<uint32_t, std::string>;  // "namespace/name" by pod id

class NodeBoard final : public metrics::NodeSource, public control::PolicyWatcher {
 public:
  // Before the sandbox: opens what it later reads of /proc. All outlive it.
  NodeBoard(const Options& options, shard::ShardPool& pool, kernel::WorkerLink& link,
            EjectionWatch& watch);

  // The one that the shards run on.
  void set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot);
  void set_overload(const OverloadBoard& overload) { overload_ = &overload; }
  void on_policies(std::vector<control::PolicyNote> notes) override;

  metrics::NodeTotals totals() override;
  std::vector<metrics::EndpointState> endpoints() override;
  metrics::PolicyTotals policies() override;
  std::map<uint32_t, std::string> route_names() override;
  PodNames pod_names() const;  // in full: the kernel cuts them

 private:
  std::shared_ptr<const policy::Snapshot> snapshot() const;
  void add_counters(metrics::NodeTotals& totals) const;
  void add_clusters(const policy::Snapshot& snapshot, metrics::NodeTotals& totals) const;
  void add_pods(const policy::Snapshot& snapshot, metrics::NodeTotals& totals) const;
  uint64_t resident_bytes() const;

  const std::string instance_;
  const uint32_t shards_;
  const int64_t started_unix_ms_;
  const Fd statm_;
  shard::ShardPool& pool_;
  kernel::WorkerLink& link_;
  EjectionWatch& watch_;
  const OverloadBoard* overload_ = nullptr;

  mutable std::mutex mutex_;
  std::shared_ptr<const policy::Snapshot> snapshot_;
  std::vector<metrics::PolicyState> policies_;
  uint64_t policies_revision_ = 0;  // of the snapshot that they describe
};

}  // namespace np
