// SPDX-License-Identifier: Apache-2.0
// Core: what stands behind the Engine facade. Owns Connections, Exchanges, pools, timers and live
// state of one shard; turns transport events into stream events for Exchanges and their wishes into
// Actions. One thread.
//
// A step: one event is dispatched; objects that changed are put on work lists; end_step() settles
// these (parse what may be parsed, send, pause, close) until nothing is left. Closed Connections
// and finished Exchanges are freed only then, so a pointer taken within a step stays good. No
// service called by an Exchange calls an Exchange.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/random.h"
#include "proxy/connection.h"
#include "proxy/counters.h"
#include "proxy/engine.h"
#include "proxy/exchange.h"
#include "proxy/flow.h"
#include "proxy/limits.h"
#include "proxy/node_state.h"
#include "proxy/pick.h"
#include "proxy/pinned_text.h"
#include "proxy/pipe.h"
#include "proxy/pool.h"
#include "proxy/pressure.h"
#include "proxy/request_checker.h"
#include "proxy/slab.h"
#include "proxy/snapshot_pin.h"
#include "proxy/timer_wheel.h"

namespace np::proxy {

class Core {
  friend class ShardMoves;  // shard_moves.h

 public:
  explicit Core(const EngineConfig& config);
  ~Core();

  // ---- events, as in engine.h -----------------------------------------------------------------
  void set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot, Instant now,
                    ActionList& actions);
  ConnectionId accept(const Accepted& accepted, Instant now, ActionList& actions);
  void on_transport(ConnectionId id, const TransportEvent& event, Instant now, ActionList& actions);
  Instant next_deadline() const { return timers_.next_deadline(); }
  void on_time(Instant now, ActionList&actions), on_wake(Instant now, ActionList&actions);
  void make_room(Instant now, ActionList&actions), drain(Instant now, ActionList&actions);
  void relieve(MemoryStage stage, size_t excess_bytes, Instant now, ActionList& actions);
  size_t open_downstream() const { return open_downstream_; }
  size_t open_upstream() const;

  // ---- services for Exchanges -----------------------------------------------------------------
  Instant now() const { return now_; }
  Rng& rng() { return rng_; }
  EngineCounters& counters() { return *counters_; }
  const EngineLimits& limits() const { return limits_; }
  TimerWheel& timers() { return timers_; }
  BlockPool& blocks() { return blocks_; }
  PinnedTexts& texts() { return texts_; }
  Picker& picker() { return picker_; }
  RequestChecker& checker() { return checker_; }
  bool refuses_requests() const { return pressure_.stage >= MemoryStage::kRefuse; }
  bool take_hurry() { return std::exchange(hurries_, false); }
  bool keeps_nothing_alive() const { return draining_ || pressure_.stage >= MemoryStage::kDrain; }
  uint64_t loop_token() const { return loop_token_; }
  uint32_t shard() const { return shard_; }
  NodeState& node() { return *node_; }
  RequestObserver* observer() { return observer_; }
  const TraceOptions& tracing() const { return tracing_; }
  // Where what concerns a cluster is counted, beside the totals; a scratch place when nobody asks.
  ClusterCounters& stats(uint32_t cluster_id) {
    return cluster_id < stats_.size() && stats_[cluster_id] != nullptr ? *stats_[cluster_id]
                                                                       : unread_stats_;
  }

  Connection* find(ConnectionId id) { return connections_.find(id.slot, id.generation); }
  Exchange* find(ExchangeId id) { return exchanges_.find(id.slot, id.generation); }
  SnapshotPin* pin_snapshot();
  SnapshotPin* pin_again(SnapshotPin* pin);
  void unpin(SnapshotPin* pin);
  bool is_latest(const SnapshotPin* pin) const;

  // Gives a command to the connection's codec; opaque connections take kData only.
  void send(Connection& connection, http::StreamCommand&& command);
  void touch(Connection& connection);
  // Bytes may be appended for this connection without passing its limit.
  bool has_room(const Connection& connection);

  // An idle connection, or null: then kAcquired or kAcquireFailed follows in a later step.
  Connection* acquire(Exchange& exchange, const PoolKey& key, const policy::ConnectionPool& config,
                      ShardGroup* group, bool fresh);
  Pool* pool_of(const PoolKey& key) { return pools_.find(key); }
  // Only while the Exchange waits.
  void cancel_acquire(Exchange& exchange, Pool& pool);
  // The Exchange lets go of its connection. Not reusable: it is closed, abortively when a message
  // is unfinished on it.
  void release_upstream(Connection& connection, bool reusable);
  // The rest of an unwanted answer is read, then the connection is kept if it can be.
  void discard_upstream(Connection& connection);
  // A kept connection turned out to be closed: those that have been idle for longer may be, too.
  void distrust_idle(Pool& pool);
  // Closes once everything is flushed.
  void close_after_flush(Connection& connection);
  void close(Connection& connection, bool abortive);

  size_t active_mirrors() const { return active_mirrors_; }
  void mirror_ended() { --active_mirrors_; }
  void start_mirror(const Exchange& original, const policy::Cluster& cluster);
  // The Exchange's last call.
  void retire(Exchange& exchange);

  // Share of the retry budget (reliability 29), and of the policy's max_retries.
  // `has_own_budget`: the policy's stands in place of the first.
  bool take_retry_share(ShardGroup* group, bool has_own_budget);
  void give_back(RetryShare& share);
  void probe_ended(uint32_t slot, ProbeResult result);

  // ---- shared with other shards (core_limits.cc) ----
  // The limits of the cluster for this caller's workload; null: it has none.
  ShardGroup* group_of(const policy::Cluster& cluster, uint32_t caller);
  // The Exchange's place passes to its connection, as long as that is neither idle nor closed: the
  // endpoint may still be at work for it.
  void hand_over_admission(ShardGroup& group, Connection* connection);
  void report_try(ServiceHealth& service, EndpointHealth& endpoint, const policy::Cluster& cluster,
                  const TryResult& result, bool probation);
  void change_active_requests(int by) { active_requests_ += static_cast<size_t>(by); }

  // Answers what never became a head: a bad one (400 ...), or none in time (408).
  void refuse_unparsed(Connection& connection, http::StreamId stream, uint16_t status,
                       std::string_view body, EndReason reason);

 private:
  // core.cc: steps and settling
  void begin_step(Instant now, ActionList& actions);
  void end_step();
  void settle(Connection& connection);
  bool is_idle(const Connection& connection) const;
  void settle_downstream_end(Connection&connection), settle_draining(Connection&connection);
  void note_hurry(const Connection&connection), update_downstream_timer(Connection&connection);
  void flush(Connection&connection), update_receive(Connection&connection);
  Action& act(Action::Kind kind, const Connection& connection);
  uint32_t pod_served_by(const Connection& connection);
  void arm(Connection& connection, ConnectionTimer purpose, Duration after);
  void arm_flush(Connection&connection), disarm(Connection&connection);
  void touch(Pool&pool), serve(Pool&pool);

  // core_input.cc: bytes to stream events to Exchanges
  void receive(Connection&connection, const Slice&data), sent(Connection&connection, size_t bytes);
  void peer_finished(Connection& connection);
  void failed(Connection& connection, Failure failure);
  void lose(Connection& connection);
  bool may_parse(const Connection& connection);
  bool is_paced(const Connection& connection);
  // `is_queued`: the slice is the front of the connection's input.
  size_t parse(Connection& connection, const Slice& slice, bool is_queued);
  void parse_input(Connection& connection);
  void act_on(Connection& connection, const TransportEvent& event);
  void deliver_finish(Connection& connection);
  void dispatch(Connection& connection, const BufferRef& owner);
  void dispatch_downstream(Connection& connection, const http::StreamEvent& event,
                           const BufferRef& owner);
  void dispatch_upstream(Connection& connection, const http::StreamEvent& event,
                         const BufferRef& owner);
  void note_head_bytes(Connection& connection, std::string_view used);
  void sniff(Connection& connection, bool time_is_up);
  // core_upstream.cc: pools
  Connection& begin_connection(Pool& pool, Instant begun);
  void open_connection(Pool& pool);
  void count_begun(Connection&connection), on_not_lent(Connection&connection);
  void on_opened(Connection& connection, const Lent* lent);
  // `is_ours`: the endpoint has no part in it.
  void on_connect_failed(Connection& connection, EndReason reason, bool is_ours);
  bool close_an_idle(), wait_for_place(Connection&connection);
  void connect_waiting(size_t places), drop_waiting(Pool&pool);
  void make_idle(Connection&connection), take_idle(Pool&pool, Connection&connection);
  void retire_removed_endpoints();

  void refresh_stats();  // engine.cc
  void report_unparsed(const Connection& connection, uint16_t status, size_t body_bytes,
                       EndReason reason);

  // core_limits.cc
  void refresh_groups();
  void refresh_rules();
  void trim(ShardGroup& group);
  void end_admission(Connection& connection);
  void count(const ServiceHealth::Verdict& verdict);
  void sweep();
  void arm_sweep(Instant at);
  void begin_probe(uint32_t slot);
  void read_mail();

  size_t held_bytes(const Connection& client);  // core_overload.cc
  void close_idle_clients(), end_largest(size_t bytes);
  void on_connection_timer(Connection& connection);
  void open_downstream(Connection& connection);
  void start_http(Connection& connection);
  void start_opaque(Connection& connection);
  void begin_record(Connection& connection);

  EngineLimits limits_;
  EngineCounters own_counters_{};  // only when the driver gave none
  EngineCounters* counters_;
  RequestObserver* observer_;  // null: nobody wants to know
  TraceOptions tracing_;
  std::vector<ClusterCounters*> stats_;  // by cluster id
  ClusterCounters unread_stats_{};
  FlowRecord unread_record_{};  // written for connections that were given none; read by nobody
  Rng rng_;
  uint64_t loop_token_;
  std::unique_ptr<NodeState> own_node_;  // only when the driver gave none
  NodeState* node_;
  uint32_t shard_;
  const bool can_borrow_;
  std::unordered_map<uint64_t, std::unique_ptr<ShardGroup>> groups_;  // by cluster and caller
  TimerWheel timers_;
  Timer sweep_timer_;
  BlockPool blocks_;
  PinnedTexts texts_{*this};
  Picker picker_;
  Prober prober_;
  RequestChecker checker_;
  Pools pools_;
  Slab<Connection> connections_;
  Slab<Exchange> exchanges_;
  std::vector<std::unique_ptr<SnapshotPin>> pins_;  // the last one is current
  std::vector<std::unique_ptr<SendVector>> send_vectors_;
  std::vector<SendVector*> free_send_vectors_;
  Instant now_;
  ActionList* actions_ = nullptr;
  http::StreamEventList events_;
  std::vector<Connection*> touched_;
  std::vector<Pool*> touched_pools_;
  std::vector<Connection*> closed_;
  IntrusiveList<Connection, &Connection::age_link> waiting_;  // for a descriptor, first come first
  std::vector<Exchange*> finished_;
  size_t open_downstream_ = 0,
         freed_places_ = 0;  // freed: in this step, by connections that closed
  size_t active_requests_ = 0, active_mirrors_ = 0, active_retries_ = 0;
  uint64_t snapshot_count_ = 0;
  bool draining_ = false, hurries_ = false;
  Pressure pressure_;
};

}  // namespace np::proxy
