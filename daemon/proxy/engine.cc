// SPDX-License-Identifier: Apache-2.0
// The facade, and what is not about a single message: ways in, snapshots, deadlines, drain.
#include "proxy/engine.h"

#include <algorithm>

#include "base/check.h"
#include "proxy/core.h"
#include "proxy/shard_moves.h"

namespace np::proxy {

class Engine::Impl : public Core {
 public:
  using Core::Core;
};

Engine::Engine(const EngineConfig& config) : impl_(std::make_unique<Impl>(config)) {}
Engine::~Engine() = default;

void Engine::set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot, Instant now,
                          ActionList& actions) {
  impl_->set_snapshot(std::move(snapshot), now, actions);
}
ConnectionId Engine::accept(const Accepted& accepted, Instant now, ActionList& actions) {
  return impl_->accept(accepted, now, actions);
}
void Engine::on_transport(ConnectionId connection, const TransportEvent& event, Instant now,
                          ActionList& actions) {
  impl_->on_transport(connection, event, now, actions);
}
ClientRest Engine::rest_of(ConnectionId connection) {
  return ShardMoves(*impl_).rest_of(connection);
}
bool Engine::forget(ConnectionId connection, Accepted* accepted, Instant now, ActionList& actions) {
  return ShardMoves(*impl_).forget(connection, accepted, now, actions);
}
std::optional<ConnectionId> Engine::lend(const ConnectTarget& wanted, Instant now,
                                         ActionList& actions) {
  return ShardMoves(*impl_).lend(wanted, now, actions);
}
bool Engine::give_up(ConnectionId connection, Lent* lent, Instant now, ActionList& actions) {
  return ShardMoves(*impl_).give_up(connection, lent, now, actions);
}
void Engine::closed_on_the_way(const Lent& lent) {
  ShardMoves(*impl_).closed_on_the_way(lent);
}
bool Engine::take_hurry() {
  return impl_->take_hurry();
}
Instant Engine::next_deadline() const {
  return impl_->next_deadline();
}
void Engine::on_time(Instant now, ActionList& actions) {
  impl_->on_time(now, actions);
}
void Engine::on_wake(Instant now, ActionList& actions) {
  impl_->on_wake(now, actions);
}
void Engine::make_room(Instant now, ActionList& actions) {
  impl_->make_room(now, actions);
}
void Engine::drain(Instant now, ActionList& actions) {
  impl_->drain(now, actions);
}
void Engine::relieve(MemoryStage stage, size_t excess_bytes, Instant now, ActionList& actions) {
  impl_->relieve(stage, excess_bytes, now, actions);
}
size_t Engine::open_downstream() const {
  return impl_->open_downstream();
}
size_t Engine::open_upstream() const {
  return impl_->open_upstream();
}

// ---- Core: life ------------------------------------------------------------------------------

Core::Core(const EngineConfig& config)
    : limits_(config.limits != nullptr ? *config.limits : EngineLimits()),
      counters_(config.counters),
      observer_(config.observer),
      tracing_(config.tracing),
      rng_(config.seed),
      loop_token_(config.loop_token != 0 ? config.loop_token : config.seed),
      own_node_(config.node != nullptr ? nullptr
                                       : std::make_unique<NodeState>(1, NodeState::Seams{})),
      node_(config.node != nullptr ? config.node : own_node_.get()),
      shard_(config.shard),
      can_borrow_(config.can_borrow),
      picker_(rng_, *node_, shard_),
      prober_(rng_, timers_, *node_, shard_),
      checker_(config.quota_windows, config.seed) {
  NP_CHECK(counters_ != nullptr);
}

Core::~Core() {
  // Queues give their buffers back to owners that may be the Core's own members.
  connections_.for_each([](Connection& connection) { connection.recycle(); });
  exchanges_.for_each([](Exchange& exchange) { exchange.recycle(); });
}

void Core::set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot, Instant now,
                        ActionList& actions) {
  begin_step(now, actions);
  ++counters_->snapshots;
  auto pin = std::make_unique<SnapshotPin>();
  pin->snapshot = std::move(snapshot);
  pin->number = ++snapshot_count_;
  if (!pins_.empty() && pins_.back()->references == 0) pins_.pop_back();
  pins_.push_back(std::move(pin));
  picker_.sweep(*pins_.back()->snapshot);
  refresh_stats();
  refresh_groups();
  // What is out comes back in time, as the new policy has it; one shard sees to it.
  if (shard_ == 0) {
    refresh_rules();
    sweep();
    prober_.use(*pins_.back()->snapshot, now_);
  }
  retire_removed_endpoints();
  end_step();
}

void Core::refresh_stats() {
  if (observer_ == nullptr) return;
  observer_->on_policy();
  for (const auto& cluster : pins_.back()->snapshot->clusters) {
    if (cluster->id >= stats_.size()) stats_.resize(cluster->id + 1, nullptr);
    ClusterCounters*& place = stats_[cluster->id];
    if (place == nullptr) place = &observer_->cluster_counters(cluster->name);
  }
}

void Core::drain(Instant now, ActionList& actions) {
  begin_step(now, actions);
  draining_ = true;
  connections_.for_each([&](Connection& connection) {
    const bool waits = connection.side == Connection::Side::kDownstream &&
                       connection.timer_purpose == ConnectionTimer::kIdle;
    if (waits) disarm(connection);  // a shorter time begins
    touch(connection);
  });
  end_step();
}

// ---- ways in ---------------------------------------------------------------------------------

ConnectionId Core::accept(const Accepted& accepted, Instant now, ActionList& actions) {
  begin_step(now, actions);
  Connection& connection = connections_.take();
  const ConnectionId id = connection.id();
  connection.side = Connection::Side::kDownstream;
  connection.accepted = accepted;
  ++open_downstream_;
  if (!accepted.is_continued) ++counters_->downstream_cx_total;
  begin_record(connection);
  open_downstream(connection);
  touch(connection);
  end_step();
  return id;
}

void Core::begin_record(Connection& connection) {
  FlowRecord* given = connection.accepted.record;
  connection.record = given != nullptr ? given : &unread_record_;
  if (connection.accepted.is_continued) return;
  FlowUpdate flow(*connection.record, now_);
  flow->state = kFlowOpen;
  if (flow->start_ns == 0) flow->start_ns = to_ns(now_);
  if (!connection.accepted.captured || pins_.empty()) return;
  const policy::Snapshot& snapshot = *pins_.back()->snapshot;
  if (flow->pod_id == 0) flow->pod_id = snapshot.pod_id(connection.accepted.peer.ip);
  const policy::CapturedPort* port = snapshot.find_captured(connection.accepted.local);
  if (port != nullptr) flow->service_id = port->service_id;
}

void Core::open_downstream(Connection& connection) {
  const bool is_http = !connection.accepted.captured || connection.accepted.is_continued;
  if (is_http || pins_.empty()) {
    start_http(connection);
    return;
  }
  const policy::CapturedPort* port =
      pins_.back()->snapshot->find_captured(connection.accepted.local);
  const bool has_http =
      port != nullptr && (port->http_routes != nullptr || port->by_host != nullptr);
  if (port != nullptr) {
    switch (port->protocol) {
      case policy::Protocol::kHttp:
        start_http(connection);
        return;
      case policy::Protocol::kTcp:
      case policy::Protocol::kTls:
      case policy::Protocol::kHttps:
        start_opaque(connection);
        return;
      case policy::Protocol::kHttp2:
      case policy::Protocol::kGrpc:
      case policy::Protocol::kUdp:
      case policy::Protocol::kAuto:
        break;
    }
    if (has_http && port->tcp_routes == nullptr) {
      start_http(connection);
      return;
    }
    if (!has_http) {
      start_opaque(connection);
      return;
    }
  }
  connection.mode = Connection::Mode::kSniffing;
  if (limits_.sniff_wait > Duration::zero()) {
    arm(connection, ConnectionTimer::kSniff, limits_.sniff_wait);
  } else {
    arm(connection, ConnectionTimer::kIdle, limits_.connection_idle_timeout);
  }
}

void Core::start_http(Connection& connection) {
  connection.mode = Connection::Mode::kHttp;
  connection.codec = http::make_h1_codec(http::Role::kServer, limits_.h1);
  connection.advance_to(ConnectionState::kOpen);
}

void Core::start_opaque(Connection& connection) {
  connection.mode = Connection::Mode::kOpaque;
  connection.advance_to(ConnectionState::kOpen);
  Exchange& exchange = exchanges_.take();
  connection.exchange = exchange.id();
  exchange.begin_opaque(*this, connection);
}

// ---- deadlines -------------------------------------------------------------------------------

void Core::on_time(Instant now, ActionList& actions) {
  begin_step(now, actions);
  while (Timer* timer = timers_.pop_due(now)) {
    ++counters_->timers_fired;
    const auto late_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(now - timer->deadline).count();
    const size_t bucket = std::min(static_cast<size_t>(late_ms), kTimerLateBuckets);
    ++counters_->timer_late_ms[bucket];
    if (timer->owner == Timer::Owner::kCore) {
      sweep();
    } else if (timer->owner == Timer::Owner::kProbe) {
      begin_probe(timer->slot);
    } else if (timer->owner == Timer::Owner::kConnection) {
      on_connection_timer(connections_.at(timer->slot));
    } else {
      exchanges_.at(timer->slot)
          .on_event({.kind = ExchangeEvent::Kind::kDeadline,
                     .timer = static_cast<ExchangeTimer>(timer->which)});
    }
  }
  end_step();
}

void Core::on_connection_timer(Connection& connection) {
  const ConnectionTimer purpose = std::exchange(connection.timer_purpose, ConnectionTimer::kNone);
  touch(connection);
  switch (purpose) {
    case ConnectionTimer::kConnect:
      on_connect_failed(connection, EndReason::kConnectTimeout, connection.waits());
      return;
    case ConnectionTimer::kSniff:
      sniff(connection, true);
      return;
    case ConnectionTimer::kHead:
      refuse_unparsed(connection, connection.last_stream + 1, 408, "request timeout",
                      EndReason::kHeadTimeout);
      return;
    case ConnectionTimer::kIdle:
      if (connection.side == Connection::Side::kDownstream) {
        ++counters_->downstream_cx_idle_timeout;
      } else {
        ++counters_->upstream_cx_idle_timeout;
        ++connection.pool->stats->upstream_cx_idle_timeout;
      }
      close(connection, false);
      return;
    case ConnectionTimer::kFlush:
    case ConnectionTimer::kDiscard:
    case ConnectionTimer::kLinger:
      close(connection, purpose != ConnectionTimer::kLinger);
      return;
    case ConnectionTimer::kNone:
      return;
  }
}

}  // namespace np::proxy
