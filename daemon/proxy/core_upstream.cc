// SPDX-License-Identifier: Apache-2.0
// Core, upstream: connections to endpoints, and the Exchanges that wait for them.
#include <algorithm>
#include <unordered_set>

#include "proxy/core.h"

namespace np::proxy {

namespace {

// Idle connections, from the one that was kept longest on, among which one is chosen to give way.
constexpr size_t kVictimsLookedAt = 64;

// Who waited longest among those whom `connection` may serve.
Exchange* longest_waiting(const Pool& pool, const Connection& connection) {
  Exchange* exchange = pool.pending.front();
  while (exchange != nullptr && exchange->wants_new_connection() && connection.requests > 0) {
    exchange = exchange->pending_link.next;
  }
  return exchange;
}

// Who wants a new connection would not take one that another shard has kept.
bool may_be_a_kept_one(const Pool& pool) {
  const Exchange* first = pool.pending.front();
  return !pool.key.opaque && first != nullptr && !first->wants_new_connection();
}

struct Match {
  Connection* connection = nullptr;
  Exchange* exchange = nullptr;
};

Match next_match(const Pool& pool) {
  if (pool.pending.empty()) return {};
  Connection* connection = pool.idle.back();
  for (; connection != nullptr; connection = connection->pool_link.previous) {
    if (Exchange* exchange = longest_waiting(pool, *connection)) return {connection, exchange};
  }
  return {};
}

}  // namespace

Connection* Core::acquire(Exchange& exchange, const PoolKey& key,
                          const policy::ConnectionPool& config, ShardGroup* group, bool fresh) {
  Pool& pool = pools_.get(key);
  pool.configure(config);
  pool.group = group;
  pool.stats = &stats(key.cluster_id);
  // Those who wait for a new connection are not overtaken: they would not take this one.
  Connection* idle = fresh ? nullptr : pool.idle.back();
  if (idle != nullptr && longest_waiting(pool, *idle) == nullptr) {
    Connection& connection = *idle;
    take_idle(pool, connection);
    connection.exchange = exchange.id();
    return &connection;
  }
  ++counters_->upstream_rq_pending_total;
  ++pool.stats->upstream_rq_pending_total;
  pool.pending.push_back(exchange);
  // An idle one goes to who has waited for longer, when this step ends.
  const size_t coming = pool.connecting.size() + (idle != nullptr ? 1 : 0);
  if (coming < pool.pending.size()) open_connection(pool);
  return nullptr;
}

void Core::cancel_acquire(Exchange& exchange, Pool& pool) {
  pool.pending.remove(exchange);
  // A connect that nobody waits for is given up, so that a leaving client frees what it caused.
  drop_waiting(pool);
  while (pool.connecting.size() > pool.pending.size()) close(*pool.connecting.back(), true);
  touch(pool);
}

// In state kOpening, with the time that connecting may take since `begun`; the driver is not told
// yet.
Connection& Core::begin_connection(Pool& pool, Instant begun) {
  Connection& connection = connections_.take();
  connection.side = Connection::Side::kUpstream;
  connection.pool = &pool;
  connection.connecting = true;
  if (pool.key.opaque) {
    connection.mode = Connection::Mode::kOpaque;
  } else {
    connection.codec = http::make_h1_codec(http::Role::kClient, limits_.h1);
  }
  pool.connecting.push_back(connection);
  ++pool.connections;
  connection.group = pool.group;
  connection.opened = begun;
  const Duration timeout = pool.config.connect_timeout;
  const Duration left = std::max(begun + timeout - now_, Duration(1));
  arm(connection, ConnectionTimer::kConnect, timeout > Duration::zero() ? left : timeout);
  return connection;
}

void Core::open_connection(Pool& pool) {
  Connection& connection = begin_connection(pool, now_);
  ConnectTarget target = pool.target();
  if (can_borrow_ && may_be_a_kept_one(pool)) {
    target.lender = node_->idle_board().lender(shard_, pool.place, pool.asking);
  }
  connection.asks = target.lender != ConnectTarget::kNobody;
  if (connection.asks) {
    ++pool.asking;
  } else {
    count_begun(connection);
  }
  act(Action::Kind::kConnect, connection).target = target;
}

// Of this shard's own making, so there is one more. Until then it takes no place of a limit: the
// one that another shard may lend has one.
void Core::count_begun(Connection& connection) {
  ++counters_->upstream_cx_total;
  ++connection.pool->stats->upstream_cx_total;
  if (connection.group != nullptr && connection.group->shared->connection_opened()) {
    trim(*connection.group);
  }
}

void Core::on_not_lent(Connection& connection) {
  if (!connection.asks) return;
  connection.asks = false;
  --connection.pool->asking;
  count_begun(connection);
}

void Core::on_opened(Connection& connection, const Lent* lent) {
  if (connection.state() != ConnectionState::kOpening ||
      connection.side != Connection::Side::kUpstream) {
    return;
  }
  connection.opened = now_;
  if (lent == nullptr) {
    on_not_lent(connection);
    ++counters_->upstream_cx_open;
  } else {
    connection.asks = false;
    --connection.pool->asking;
    connection.opened = lent->opened;
    connection.requests = lent->requests;
    // Its place came along: it is one less on the other shard.
    if (connection.group != nullptr && connection.group->shared->connection_opened()) {
      trim(*connection.group);
    }
  }
  connection.pool->connecting.remove(connection);
  connection.connecting = false;
  connection.advance_to(ConnectionState::kOpen);
  make_idle(connection);
}

void Core::on_connect_failed(Connection& connection, EndReason reason, bool is_ours) {
  Pool& pool = *connection.pool;
  on_not_lent(connection);
  if (reason == EndReason::kConnectTimeout) {
    ++counters_->upstream_cx_connect_timeout;
    ++pool.stats->upstream_cx_connect_timeout;
  }
  ++counters_->upstream_cx_connect_fail;
  ++pool.stats->upstream_cx_connect_fail;
  close(connection, true);
  // Those for whom no connect is left fail; a repeat may join the queue again behind them.
  const size_t left = pool.connecting.size();
  size_t victims = pool.pending.size() > left ? pool.pending.size() - left : 0;
  for (; victims > 0; --victims) {
    Exchange& exchange = *pool.pending.front();
    pool.pending.remove(exchange);
    exchange.on_event(
        {.kind = ExchangeEvent::Kind::kAcquireFailed, .reason = reason, .is_ours = is_ours});
  }
}

// Of the endpoint that has most connections: who calls another one now and then keeps the few that
// are kept for it, however many a busy caller opens. Among equals the one that was kept longest.
bool Core::close_an_idle() {
  Connection* victim = pools_.idle.front();
  if (victim == nullptr) return false;
  const Connection* looked_at = victim;
  for (size_t i = 1; i < kVictimsLookedAt && looked_at != nullptr; ++i) {
    Connection* next = pools_.idle.next(*looked_at);
    if (next != nullptr && next->pool->connections > victim->pool->connections) victim = next;
    looked_at = next;
  }
  ++counters_->upstream_cx_trimmed;
  close(*victim, false);
  return true;
}

void Core::make_room(Instant now, ActionList& actions) {
  begin_step(now, actions);
  (void)close_an_idle();
  end_step();
}

// No descriptor was left for a connect. Where one is about to come free, by an idle connection that
// gives way or by one of the same pool that is at work, another connect waits for it, within the
// time that the first one had: requests would rather wait than fail, as they do at a limit.
bool Core::wait_for_place(Connection& refused) {
  Pool& pool = *refused.pool;
  const bool is_made = close_an_idle();
  if (!is_made && (pool.key.opaque || pool.connections == pool.connecting.size())) return false;
  const Instant begun = refused.opened;
  on_not_lent(refused);
  close(refused, true);
  --freed_places_;  // it had none
  if (pool.connecting.size() >= pool.pending.size()) return true;
  Connection& next = begin_connection(pool, begun);
  count_begun(next);
  waiting_.push_back(next);
  ++pool.waiting;
  if (!is_made) ++counters_->upstream_cx_waited;
  return true;
}

// `places`: so many connections that had a descriptor have been closed.
void Core::connect_waiting(size_t places) {
  for (; places > 0 && !waiting_.empty(); --places) {
    Connection& next = *waiting_.front();
    waiting_.remove(next);
    --next.pool->waiting;
    act(Action::Kind::kConnect, next).target = next.pool->target();
  }
}

// Waiting connects for which no Exchange is left.
void Core::drop_waiting(Pool& pool) {
  while (pool.waiting > 0 && pool.connecting.size() > pool.pending.size()) {
    Connection* surplus = pool.connecting.back();
    while (!surplus->waits()) surplus = surplus->pool_link.previous;
    close(*surplus, true);
  }
}

// The connection may serve the next Exchange, if it is fit to.
void Core::make_idle(Connection& connection) {
  Pool& pool = *connection.pool;
  const policy::ConnectionPool& config = pool.config;
  const bool worn_out = config.max_requests_per_connection != 0 &&
                        connection.requests >= config.max_requests_per_connection;
  const bool too_old = config.max_connection_duration > Duration::zero() &&
                       now_ - connection.opened >= config.max_connection_duration;
  const bool unwanted = pool.retired && pool.pending.empty();
  if (worn_out) {
    ++counters_->upstream_cx_max_requests;
    ++pool.stats->upstream_cx_max_requests;
  }
  const bool fit = connection.codec == nullptr
                       ? connection.requests == 0
                       : connection.codec->can_open_stream() && !connection.codec->wants_close();
  if (!fit || worn_out || too_old || unwanted || connection.failed || connection.peer_finished ||
      !connection.input.empty()) {
    close(connection, false);
    return;
  }
  end_admission(connection);
  ShardGroup* group = connection.group;
  if (group != nullptr && pool.pending.empty() && group->shared->is_above_limit()) {
    ++counters_->upstream_cx_trimmed;
    close(connection, false);
    return;
  }
  connection.discarded_bytes = 0;
  connection.idle_since = now_;
  pool.idle.push_back(connection);
  node_->idle_board().change(shard_, pool.place, 1);
  pools_.idle.push_back(connection);
  if (group != nullptr) {
    group->idle.push_back(connection);
    group->shared->change_idle(shard_, 1);
  }
  arm(connection, ConnectionTimer::kIdle, config.idle_timeout);
  touch(connection);
  touch(pool);
}

void Core::take_idle(Pool& pool, Connection& connection) {
  pool.idle.remove(connection);
  node_->idle_board().change(shard_, pool.place, -1);
  pools_.idle.remove(connection);
  if (connection.group != nullptr) {
    connection.group->idle.remove(connection);
    connection.group->shared->change_idle(shard_, -1);
  }
  disarm(connection);
}

void Core::serve(Pool& pool) {
  for (Match match = next_match(pool); match.exchange != nullptr; match = next_match(pool)) {
    take_idle(pool, *match.connection);
    pool.pending.remove(*match.exchange);
    match.connection->exchange = match.exchange->id();
    match.exchange->on_event(
        {.kind = ExchangeEvent::Kind::kAcquired, .connection = match.connection});
  }
  while (pool.connecting.size() < pool.pending.size()) open_connection(pool);
  drop_waiting(pool);
  // Connections of this pool that closed in this step still point to it: end_step() drops it then.
  pools_.drop_if_empty(pool);
}

void Core::release_upstream(Connection& connection, bool reusable) {
  connection.exchange = {};
  if (connection.is_closed()) return;
  const bool flushed = connection.output.empty() && connection.sending == nullptr;
  if (reusable && flushed) {
    make_idle(connection);
    return;
  }
  ++counters_->upstream_cx_destroy_with_active_rq;
  ++connection.pool->stats->upstream_cx_destroy_with_active_rq;
  const bool is_cut_by_us =
      connection.codec != nullptr && connection.codec->is_busy() && !connection.failed;
  if (is_cut_by_us) {
    ++counters_->upstream_rq_tx_reset;
    ++connection.pool->stats->upstream_rq_tx_reset;
  }
  close(connection, !reusable);
}

void Core::discard_upstream(Connection& connection) {
  connection.exchange = {};
  if (connection.is_closed()) return;
  if (limits_.discard_timeout <= Duration::zero()) {
    close(connection, true);
    return;
  }
  connection.discarding = true;
  arm(connection, ConnectionTimer::kDiscard, limits_.discard_timeout);
  touch(connection);
}

void Core::distrust_idle(Pool& pool) {
  while (!pool.idle.empty()) close(*pool.idle.back(), false);
}

size_t Core::open_upstream() const {
  size_t open = 0;
  const_cast<Pools&>(pools_).for_each(
      [&](const Pool& pool) { open += pool.connections - pool.idle.size(); });
  return open;
}

// Connections to endpoints that the new policy does not name would wait for nothing: idle ones end,
// busy ones when they would become idle.
void Core::retire_removed_endpoints() {
  std::unordered_set<PoolKey, PoolKeyHash> named;
  std::unordered_set<uint32_t> any_address;
  for (const auto& cluster : pins_.back()->snapshot->clusters) {
    if (cluster->original_destination) any_address.insert(cluster->id);
    for (const policy::Endpoint& endpoint : cluster->endpoints) {
      named.insert({endpoint.address, IpAddress(), cluster->id, 0, false});
    }
  }
  std::vector<Connection*> closing;
  pools_.for_each([&](Pool& pool) {
    const PoolKey plain{pool.key.remote, IpAddress(), pool.key.cluster_id, 0, false};
    pool.retired = !named.contains(plain) && !any_address.contains(pool.key.cluster_id);
    if (!pool.retired) return;
    for (Connection* idle = pool.idle.front(); idle != nullptr; idle = idle->pool_link.next) {
      closing.push_back(idle);
    }
  });
  for (Connection* connection : closing) close(*connection, false);
}

}  // namespace np::proxy
