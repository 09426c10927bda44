// SPDX-License-Identifier: Apache-2.0
// AdmissionGroup: the limits of one cluster for one caller (decision D9), exact over all shards.
// Owned by the NodeState, used by every shard; its lock is held for a few instructions. Who calls:
// Core, for Exchanges (admit, leave, end) and connections (the rest).
//
// What is limited (traffic-semantics 3.3, design.md 8.8):
//   running   requests that hold a connection or are about to: at most max_connections (HTTP/1
//             carries one request per connection) and at most max_requests
//   waiting   in order of arrival, whatever their shard: at most max_pending_requests. Those whose
//             client may have left make room for others when there is none
//   retries   repeats under way: at most max_retries, or what the retry budget allows
// Idle connections are no part of `running`: they are room. When a new connection takes the number
// of open ones above max_connections, an idle one is closed, on whichever shard it is.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/limit_slot.h"
#include "base/spin_lock.h"
#include "policy/model.h"
#include "proxy/wait_node.h"

namespace np::proxy {

class NodeState;

enum class Admission : uint8_t {
  kGranted,         // the caller must end() it
  kWaiting,         // the node gets mail when it is granted, unless leave() comes first
  kTooManyPending,  // no connection free and no place to wait
  kTooManyRequests  // max_requests
};

class AdmissionGroup {
 public:
  AdmissionGroup(NodeState& node, uint32_t shards, LimitSlot* slot);

  // Takes over what the policy says today; a higher limit lets waiting requests in.
  void configure(const policy::ConnectionPool& limits, uint32_t shard);

  Admission admit(WaitNode& waiting, bool may_wait);
  // One that was granted has ended: the next in line follows. `shard`: who says so.
  void end(uint32_t shard);
  // The Exchange waits no longer. True: it had been granted meanwhile, and that is given back.
  void leave(WaitNode& waiting);
  // The owner has taken the node from its mailbox. False: it is refused, its place was needed.
  bool arrived(WaitNode& waiting);
  // Its client may have left: whoever finds the line full gets its place.
  void offer_place(WaitNode& waiting);

  bool begin_retry();
  void end_retry();

  // ---- connections ----
  // A shard has begun one. True: more are open than allowed, an idle one should go.
  bool connection_opened();
  void connection_closed() { open_.fetch_sub(1, std::memory_order_relaxed); }
  bool is_above_limit() const;
  // How many idle ones `shard` keeps; only that shard changes it.
  void change_idle(uint32_t shard, int by);
  // Asks another shard to close an idle connection; false when none has any.
  bool ask_to_trim(uint32_t asking);
  // The asked shard: how many it should close.
  uint32_t take_trims(uint32_t shard);

  struct Counts {
    uint32_t running = 0, waiting = 0, retries = 0, open = 0;
    uint32_t max_connections = 0, max_pending = 0, max_requests = 0, max_retries = 0;
    uint64_t rejected = 0;
  };
  Counts counts();

 private:
  struct alignas(64) ShardPart {
    std::atomic<uint32_t> idle{0};
    std::atomic<uint32_t> trims{0};
  };
  uint32_t retries_allowed() const;
  void serve(uint32_t shard);
  void take_out(WaitNode& waiting);
  bool take_offered_place(uint32_t shard);
  void show();

  NodeState& node_;
  SpinLock lock_;
  WaitList waiting_;
  uint32_t offered_ = 0;  // of those that wait
  uint32_t running_ = 0;
  uint32_t retries_ = 0;
  uint64_t rejected_ = 0;
  uint32_t max_connections_ = policy::kUnlimited;
  uint32_t max_pending_ = policy::kUnlimited;
  uint32_t max_requests_ = policy::kUnlimited;
  uint32_t max_retries_ = policy::kUnlimited;
  std::optional<policy::RetryBudget> retry_budget_;
  LimitSlot* slot_;  // may be null
  std::atomic<uint32_t> open_{0};
  std::atomic<uint32_t> open_max_{policy::kUnlimited};
  std::vector<ShardPart> parts_;
};

}  // namespace np::proxy
