// SPDX-License-Identifier: Apache-2.0
// Shard: one thread, one ring, one engine. Owns them with the receive buffers, the sockets and the
// inbox. Made by the pool on its thread; run() is the shard's thread, and from then on everything
// here but inbox() belongs to it.
//
// One iteration: submit what was prepared and wait (at most until the engine's next deadline), read
// the clock once, turn every completion into events, read the inbox, let due timers fire.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "base/memory_stage.h"
#include "base/result.h"
#include "base/time.h"
#include "overload/lag_gate.h"
#include "proxy/engine.h"
#include "shard/acceptor.h"
#include "shard/balance.h"
#include "shard/busy_meter.h"
#include "shard/flow_slots.h"
#include "shard/message.h"
#include "shard/peers.h"
#include "shard/pod_sockets.h"
#include "shard/shard_counters.h"
#include "shard/small_buffers.h"
#include "shard/transport.h"
#include "uring/buffer_ring.h"
#include "uring/ring.h"

namespace np::shard {

struct ShardOptions {
  uint32_t index = 0;
  uint64_t seed = 0;
  uint64_t loop_token = 0;  // the same for all shards
  uint32_t sockets_max = 0;
  uint32_t sockets_max_as_descriptors = 0;  // where fixed files cannot be used
  uring::RingOptions ring;
  uring::BufferRingOptions buffers;
  Duration close_flush_max{};
  BalanceLimits balance;
  std::span<FlowRecord> records;
  const proxy::EngineLimits* engine_limits = nullptr;
  proxy::NodeState* node = nullptr;
  proxy::EngineCounters* engine_counters = nullptr;
  proxy::QuotaWindows* quota_windows = nullptr;  // of all shards
  ShardCounters* counters = nullptr;
  RequestObserver* observer = nullptr;
  TraceOptions tracing;
  PodSocketThread* pod_sockets = nullptr;
  uint64_t* heartbeat_ns = nullptr;  // of the one shard that writes it
  uint64_t* progress_ns = nullptr;   // of this shard, in the LifePage; null: nobody watches
  const MemorySignal* memory = nullptr;
  Duration overload_lag{};
};

class Shard {
 public:
  static Result<std::unique_ptr<Shard>> create(ShardOptions options, Peers& peers);
  ~Shard();

  // The thread's body. `enabled` is set when the ring can be used, or says why not.
  void run(std::promise<Result<void>> enabled);

  ShardInbox& inbox() { return inbox_; }
  const uring::RingFeatures& features() const { return ring_->features(); }

 private:
  Shard(const ShardOptions& options, Peers& peers, std::unique_ptr<uring::BufferRing> buffers,
        std::unique_ptr<uring::Ring> ring, uring::Waker waker);

  void iterate();
  void gather();
  void serve_accepts(size_t most);
  size_t reap();
  void dispatch(const uring::Completion& completion);
  void arm_wake();
  void arm_ticks();
  void on_tick(const uring::Completion& completion);
  void read_inbox();
  void handle(ShardMessage& message);
  void tick();
  void show_life();
  void watch(Instant end);
  void watch_lag(Duration took, Instant end);
  void follow_memory();
  void balance();
  Duration time_to_wait(Instant now);
  void wait_for_work();

  const ShardOptions options_;
  const Duration tick_;
  Peers& peers_;
  ShardInbox inbox_;
  FlowSlots records_;
  // Above the engine, so that there are buffers until it has given them back.
  std::unique_ptr<uring::BufferRing> buffers_;
  SmallBuffers small_buffers_{FairQueue::kLines};
  proxy::Engine engine_;
  std::unique_ptr<uring::Ring> ring_;
  Transport transport_;
  Acceptor acceptor_;
  uint64_t wake_value_ = 0;
  bool woken_ = false;
  // Of listeners, in order, until there is time for them; from accepts_begin_ on.
  std::vector<uring::Completion> accepts_;
  size_t accepts_begin_ = 0;
  bool stopping_ = false;
  Balance balance_;
  BusyMeter busy_meter_;
  std::vector<Balance::Standing> standings_;  // of all shards
  Instant next_window_ = kNever;              // never: nothing is balanced
  overload::LagGate lag_gate_;
  Duration woken_late_{};  // by how much the latest wait was too long
  bool is_calm_ = false;   // the latest wait was a long one
  bool ring_ticks_ = false, is_tick_due_ = false;
  MemoryPressure memory_;
  Instant next_give_back_{};
  Instant now_{};
  Instant next_tick_{};
  Instant next_warning_{};
};

}  // namespace np::shard
