// SPDX-License-Identifier: Apache-2.0
// ShardPool: the worker's data path. Owns the shards (thread, ring, engine each), the listening
// sockets given to it and the thread that makes pod-bound upstream sockets. Built and called by
// main and the control thread; every function may be called from any one thread at a time.
//
//   create()  before privileges drop: makes the rings and enters the proxy netns with one thread
//   start()   after the sandbox is in place: starts the shard threads, accepting begins
//   publish() / add_gateway_listener() / ... while running
//   drain()   ends gateway listeners for every process that has a copy, stops accepting, lets
//             requests end;  stop() or the destructor ends the threads
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/flow_record.h"
#include "base/life_page.h"
#include "base/limit_slot.h"
#include "base/memory_stage.h"
#include "base/request_report.h"
#include "base/result.h"
#include "base/time.h"
#include "control/seams.h"
#include "shard/balance.h"
#include "shard/pod_use.h"
#include "shard/shard_counters.h"

namespace np::proxy {
class EjectionStore;
class NodeState;
class QuotaWindows;
struct EngineLimits;
struct EngineCounters;
}  // namespace np::proxy

namespace np::shard {

struct ShardLimits {
  // Sockets of one shard, both sides; cut to what RLIMIT_NOFILE allows. Clients get at most half.
  uint32_t sockets_max = 65536;
  uint32_t receive_buffer_bytes = 32768;
  uint32_t receive_buffers_initial = 256;  // power of two
  uint32_t receive_buffers_max = 2048;     // power of two; 64 MiB per shard
  uint32_t receive_buffers_window = 64;    // in the kernel's hands at a time: 2 MiB stay in caches
  uint32_t submit_entries = 1024;
  uint32_t completion_entries = 8192;
  uint32_t pod_port_tries = 16;  // R26
  // Off: what kernels below 6.1 and 6.7 get anyway, should a newer one misbehave.
  bool deferred_completions = true;
  bool fixed_files = true;
  // An orderly close waits this long for the peer to take what was sent before it.
  Duration close_flush_max = std::chrono::seconds(30);
  BalanceLimits balance;
};

struct ShardPoolOptions {
  uint32_t workers = 1;
  // Of the proxy netns; owned by the pool from here on. May be empty (--no-capture).
  std::vector<Fd> captured_listeners;
  // np_conn, mapped for writing; split evenly among the shards. Empty: captured connections run
  // with the engine's private record.
  std::span<FlowRecord> flow_records;
  // One per worker, never null, zeroed or a predecessor's. They outlive the pool.
  std::vector<proxy::EngineCounters*> engine_counters;
  // One per worker, same rule; empty: the pool keeps its own.
  std::vector<ShardCounters*> shard_counters;
  // Where pods' use of each shard is counted, FairQueue::kLines each; same rule. What they hold
  // (held_bytes) is 0 there at first.
  std::vector<std::span<PodUse>> pod_use;
  // Which place a pod has there: PodPlaces::kPlaces owners, same rule; empty: no pod has one.
  std::span<uint32_t> pod_owners;
  // Who is told about ended requests, one per worker; empty: nobody. They outlive the pool.
  std::vector<RequestObserver*> observers;
  TraceOptions tracing;
  // np_limit, zeroed; empty: limits are shown to nobody. They outlive the pool.
  std::span<LimitSlot> limit_slots;
  // Where ejections are kept for the next worker; null: nowhere. Outlives the pool.
  proxy::EjectionStore* ejection_store = nullptr;
  // Called by a shard when an endpoint was ejected or came back: must not block. See node().
  std::function<void()> on_ejection;
  // np_live.heartbeat_ns; null: no heartbeat.
  uint64_t* heartbeat_ns = nullptr;
  // Where each shard shows that it goes on, for the supervisor's watchdog; null: nowhere. Outlives
  // the pool.
  LifePage* life = nullptr;
  // How short memory is; null: never. Outlives the pool.
  const MemorySignal* memory = nullptr;
  // A shard whose loop runs as late as this gets no new connections (overload/lag_gate.h); zero: it
  // is not looked at.
  Duration overload_lag{};
  // np_live.flags: the shards set and clear the overload bit, no other (R43); null: none.
  uint32_t* live_flags = nullptr;
  // The proxy netns, for `source: pod`; -1: such connects use the node's address. Borrowed during
  // create().
  int proxy_netns_fd = -1;
  uint16_t pod_port_lo = 0, pod_port_hi = 0;           // np_config's band, both ends included
  const proxy::EngineLimits* engine_limits = nullptr;  // null: defaults; outlives the pool
  uint64_t seed = 0;                                   // of the engines' draws; 0: from the kernel
  bool pin_threads = false;                            // shard i on the i-th allowed CPU
  ShardLimits limits;
};

class ShardPool final : public control::SnapshotSink {
 public:
  static Result<std::unique_ptr<ShardPool>> create(ShardPoolOptions options);
  ~ShardPool() override;

  // Starts the threads. Returns when every ring is enabled.
  Result<void> start();

  // SnapshotSink. Before start(): the snapshot that the shards begin with.
  Result<void> publish(std::shared_ptr<const policy::Snapshot> snapshot) override;

  // `listener` is a listening TCP socket; `bind` must be the address the snapshot names it by.
  Result<void> add_gateway_listener(const SocketAddress& bind, Fd listener);
  // Returns when no shard accepts from it any more; connections that were accepted live on.
  Result<void> remove_gateway_listener(const SocketAddress& bind);
  std::vector<SocketAddress> gateway_listeners() const;

  // Stops accepting and asks the engines to drain; waits until no client connection is open or
  // `timeout` is over. Returns how many are left.
  size_t drain(Duration timeout);
  // Ends the threads. What is still open is reset (R31).
  void stop();

  // What the shards share: limits and ejections, and what was spent of quotas.
  proxy::NodeState& node();
  proxy::QuotaWindows& quota_windows();

  uint32_t workers() const;
  // Sums over the shards, by the names in shard_counters.h.
  ShardCounters counters() const;
  // What a captured pod uses of all shards.
  PodUse pod_use(uint32_t pod_id) const;
  // Client connections now open, over all shards.
  size_t open_connections() const;
  // False when a shard has made no progress for a second, or descriptors are used up (R43).
  bool is_live() const;
  // Near a limit: new captured connections follow their fail mode, others may wait.
  bool is_overloaded() const;
  // Shards whose loop runs late now.
  uint32_t late_shards() const;
  // What the kernel offers and what is used instead, for `nodectl doctor`.
  std::vector<std::string> probe_report() const;

 private:
  class Impl;
  explicit ShardPool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A listening TCP socket in the caller's netns with the options that the pool expects; for
// gateways without a supervisor, and for tests. Port 0: the kernel chooses.
Result<Fd> open_listener(const SocketAddress& bind);
// The address that `socket` is bound to.
Result<SocketAddress> local_address(int socket);

}  // namespace np::shard
