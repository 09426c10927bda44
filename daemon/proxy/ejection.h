// SPDX-License-Identifier: Apache-2.0
// Ejection (outlier detection, traffic-semantics 3.4 with D6, D11 and D16): which endpoints of a
// service get no requests for a while. One ServiceHealth per service and port for the whole node;
// owned by the NodeState, used by every shard, guarded by its lock for few instructions. An
// endpoint that is known to be good and has no failures costs one relaxed load per request.
//
// Probation: an endpoint that has not answered well since it joined or came back is sent at most as
// many unanswered requests as the policy would forgive. Where its ejection would change nothing
// (too many are out already, or panic would use it all the same) there is no probation. Half-open:
// one that was out, for whatever reason, gets one request at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/spin_lock.h"
#include "base/time.h"
#include "policy/snapshot.h"
#include "proxy/endpoint_health.h"
#include "proxy/wait_node.h"

namespace np::proxy {

class NodeState;

class ServiceHealth {
 public:
  ServiceHealth(NodeState& node, uint32_t service_id);
  ~ServiceHealth();

  // The record of an endpoint, made when it is first named. Stays where it is.
  EndpointHealth& endpoint(const SocketAddress& address);
  // A cluster of this service is in force: its interval counts, who joined anew begins anew, and
  // failures that the last worker left are judged by its rules.
  void adopt(const policy::Cluster& cluster, Instant now, uint32_t shard);

  // Changes whenever an endpoint is ejected or comes back.
  uint64_t version() const { return version_.load(std::memory_order_acquire); }
  // Changes whenever a request that found no room may find some.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  using Standing = ServiceStanding;
  // Asks to send a request. kPlain: nothing to give back. kProbation: report() or forget() must
  // follow. kNoRoom: as many as are forgiven are unanswered already.
  enum class Permit : uint8_t { kPlain, kProbation, kNoRoom };
  Permit ask(EndpointHealth& endpoint, const policy::Outlier& outlier, const Standing& standing);

  struct Verdict {
    bool ejected = false;
    bool overflow = false;  // it should have been, but too many are
    bool shadow = false;    // it would have been
    bool sweep = false;     // the service now wants to be swept: see next_sweep()
    EjectionCause cause = EjectionCause::kNone;
    uint32_t cluster_id = 0;  // whose rules say so
  };
  Verdict report(EndpointHealth& endpoint, const policy::Cluster& cluster, const TryResult& result,
                 bool probation, Instant now, uint32_t shard);
  // It ended without a result (the client left).
  void forget(EndpointHealth& endpoint, uint32_t shard);

  // No endpoint had room at `epoch`: the node gets mail when that may have changed. False: it has
  // changed already, look again.
  bool wait(WaitNode& node, uint64_t epoch);
  void leave(WaitNode& node);
  void arrived(WaitNode& node);

  // An active health check says so. A success brings an ejected endpoint back.
  void set_checked(const SocketAddress& address, bool healthy, Instant now, uint32_t shard);

  struct Swept {
    Instant next = kNever;  // when to call again; kNever: no need
    std::vector<Verdict> verdicts;
  };
  // Endpoints whose time is over come back, and the rules of whole intervals are run.
  Swept sweep(Instant now, uint32_t shard);
  Instant next_sweep();

  // `nodectl uneject`. False: it was not ejected.
  bool uneject(const SocketAddress& address, Instant now);

  struct Restored {
    bool ejected = false;
    Instant until;
    uint32_t count = 0, failures = 0, unanswered = 0;
  };
  void restore(const SocketAddress& address, const Restored& record, Instant now);

  struct View {
    SocketAddress address;
    bool ejected = false, unhealthy = false;
    bool probation = false;  // requests are held back until it has answered well
    uint32_t unanswered = 0, consecutive = 0, ejections = 0;
    EjectionReason why;
    Instant ejected_at, until;
    EjectionReason would;  // by rules in shadow mode that are in force; kNone: nothing was found
    Instant would_at;
    std::vector<SeenFailure> failures;  // the latest last
  };
  std::vector<View> views();
  uint32_t service_id() const { return service_id_; }

 private:
  // Rules in shadow mode, beside those in force: a service of its own that ejects nobody, so that
  // neither disturbs the other's rows of failures and intervals.
  struct Rehearsal {};
  ServiceHealth(NodeState& node, uint32_t service_id, Rehearsal);
  bool is_rehearsal() const { return rehearsal_ == nullptr; }
  const std::optional<policy::Outlier>& rules_of(const policy::Cluster& cluster) const {
    return is_rehearsal() ? cluster.shadow_outlier : cluster.outlier;
  }
  void adopt_rules(const policy::Cluster& cluster, Instant now, uint32_t shard);
  Verdict report_own(EndpointHealth& endpoint, const policy::Cluster& cluster,
                     const TryResult& result, bool probation, Instant now, uint32_t shard);
  Swept sweep_own(Instant now, uint32_t shard);
  // A cluster's rules, kept for the sweeps.
  struct Rules {
    uint32_t cluster_id = 0;
    policy::Outlier outlier;
    std::vector<EndpointHealth*> endpoints;
  };
  static Standing standing(const Rules& rules);
  Verdict try_eject(EndpointHealth& endpoint, const Rules& rules, const EjectionReason& why,
                    Instant now, uint32_t shard);
  void judge_interval(const Rules& rules, Instant now, uint32_t shard, Swept& swept);
  std::vector<EndpointHealth*> judged_by(const Rules& rules, uint32_t hosts, uint32_t volume) const;
  void convict(EndpointHealth& endpoint, const Rules& rules, const EjectionReason& why, Instant now,
               uint32_t shard, Swept& swept);
  static bool has(const Rules& rules, const EndpointHealth& endpoint);
  void look_at_rehearsal(const EndpointHealth& rehearsed, View& view);
  bool is_on_probation(const EndpointHealth& endpoint) const;  // lock_ is held
  void bring_back(EndpointHealth& endpoint, Instant now, bool asked);
  EndpointHealth& record_of(const SocketAddress& address);  // lock_ is held
  void take_in(EndpointHealth& endpoint, const policy::Outlier& outlier, Instant joined,
               Instant now, uint32_t shard);
  void save(EndpointHealth& endpoint);
  void wake_all(uint32_t shard);
  Instant sweep_after(Instant at) const;
  Instant next_sweep_locked(Instant now) const;

  NodeState& node_;
  const uint32_t service_id_;
  const std::unique_ptr<ServiceHealth> rehearsal_;  // null: this is one
  SpinLock lock_;                                   // taken before the rehearsal's
  std::atomic<uint64_t> version_{1};
  std::atomic<uint64_t> epoch_{1};
  std::unordered_map<SocketAddress, std::unique_ptr<EndpointHealth>, SocketAddressHash> endpoints_;
  std::unordered_map<uint32_t, Rules> rules_;  // by cluster
  WaitList waiting_;
  bool windows_open_ = false;  // an endpoint's window has something in it
  Duration interval_ = std::chrono::seconds(10);
  Instant swept_;  // the latest sweep, or when the first policy came; next ones follow by interval
};

}  // namespace np::proxy
