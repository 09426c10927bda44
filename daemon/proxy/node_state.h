// SPDX-License-Identifier: Apache-2.0
// NodeState: what all shards of a worker share: limits, ejections, and the mailboxes by which they
// tell each other whose turn it is. Owned by the driver (or by a lone Engine); outlives every
// Engine and every snapshot, so that a reload resets nothing. Any shard; the control thread reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/limit_slot.h"
#include "base/spin_lock.h"
#include "proxy/admission.h"
#include "proxy/ejection.h"
#include "proxy/idle_board.h"
#include "proxy/shadow.h"
#include "proxy/wait_node.h"

namespace np::proxy {

// Where ejections are kept so that they outlive the worker (np_eject). Called under a lock, by any
// shard, only when an endpoint's standing changes or a request goes out under probation.
class EjectionStore {
 public:
  virtual ~EjectionStore() = default;
  struct Record {
    bool ejected = false;
    Instant until;
    uint32_t count = 0, unanswered = 0, failures = 0;
  };
  virtual void put(uint32_t service_id, const SocketAddress& endpoint, const Record& record) = 0;
  virtual void erase(uint32_t service_id, const SocketAddress& endpoint) = 0;
};

struct EjectionEvent {
  enum class Kind : uint8_t { kEjected, kReturned, kUnejected, kWouldEject, kUnhealthy, kHealthy };
  Kind kind = Kind::kEjected;
  uint32_t service_id = 0;
  SocketAddress endpoint;
  EjectionReason why;
  uint32_t ejections = 0;
  Instant at, until;
  std::optional<TryResult> last;  // nothing: what the worker before saw
};

class NodeState {
 public:
  static constexpr size_t kEventsMax = 1024;  // not taken by the watcher yet; more are counted only

  struct Seams {
    WakeSink* wake = nullptr;        // null: one shard, nobody to wake
    EjectionStore* store = nullptr;  // null: nothing outlives the worker
    std::span<LimitSlot> slots;      // np_limit; may be empty
  };
  NodeState(uint32_t shards, const Seams& seams);
  ~NodeState();

  // Made at first use, never removed; names are bounded by policy and pods of the node.
  AdmissionGroup& admission(uint32_t cluster_id, uint32_t caller);
  // Null: nobody has asked for it yet.
  AdmissionGroup* find_admission(uint32_t cluster_id, uint32_t caller);
  // Every group there is, with its key: for people who look.
  struct AdmissionView {
    uint32_t cluster_id = 0, caller = 0;
    AdmissionGroup::Counts counts;
  };
  std::vector<AdmissionView> admissions();
  // Null: no limits of the cluster are in shadow mode.
  ShadowUse* shadow_use(const policy::Cluster& cluster, uint32_t caller);
  ServiceHealth& health(uint32_t service_id);
  // Null: nobody has asked for it yet.
  ServiceHealth* find_health(uint32_t service_id);
  // Every service that has a record.
  std::vector<ServiceHealth*> services();
  // Of all services: when to call again, kNever: nothing is ejected; and what was found.
  ServiceHealth::Swept sweep(Instant now, uint32_t shard);

  Mailbox& mailbox(uint32_t shard) { return mailboxes_[shard]; }
  // Puts the node into its shard's mailbox; wakes that shard, unless it is the caller's own.
  void deliver(WaitNode& node, uint32_t from_shard);
  // Makes `shard` look at its groups (Core::trim).
  void ring(uint32_t shard, uint32_t from_shard);

  IdleBoard& idle_board() { return idle_board_; }

  EjectionStore* store() { return seams_.store; }
  void add_event(const EjectionEvent& event);
  std::vector<EjectionEvent> take_events();
  // Something that a policy in shadow mode, `object`, would have done.
  void note_shadow(ShadowKind kind, std::string_view object, Instant now);
  ShadowLog& shadow_log() { return shadow_log_; }
  uint64_t lost_events() const { return lost_events_.load(std::memory_order_relaxed); }

 private:
  const uint32_t shards_;
  const Seams seams_;
  std::unique_ptr<Mailbox[]> mailboxes_;
  IdleBoard idle_board_;
  SpinLock lock_;
  std::unordered_map<uint64_t, std::unique_ptr<AdmissionGroup>> groups_;
  std::unordered_map<uint64_t, std::unique_ptr<ShadowUse>> shadow_uses_;
  std::unordered_map<uint32_t, std::unique_ptr<ServiceHealth>> services_;
  SpinLock event_lock_;
  std::vector<EjectionEvent> events_;
  std::atomic<uint64_t> lost_events_{0};
  ShadowLog shadow_log_;
};

}  // namespace np::proxy
