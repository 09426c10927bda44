// SPDX-License-Identifier: Apache-2.0
#include "proxy/shard_moves.h"

namespace np::proxy {

// A new codec begins on the other shard, so not even a part of a head may have been read here.
ClientRest ShardMoves::rest_of(ConnectionId id) const {
  const Connection* client = core_.find(id);
  if (client == nullptr || client->side != Connection::Side::kDownstream ||
      client->state() != ConnectionState::kOpen || client->mode != Connection::Mode::kHttp ||
      client->codec == nullptr || client->codec->wants_close() || core_.keeps_nothing_alive()) {
    return ClientRest::kNever;
  }
  // Touched: the step is not over, what was received may not have been looked at.
  if (client->touched || client->failed || client->peer_finished || client->shutdown_wanted ||
      !client->input.empty() || !client->has_asked()) {
    return ClientRest::kNo;
  }
  if (client->exchange) {
    const Exchange* exchange = core_.find(client->exchange);
    const bool ends = exchange != nullptr && exchange->is_only_answering();
    return ends ? ClientRest::kSoon : ClientRest::kNo;
  }
  if (client->codec->is_busy()) return ClientRest::kNo;
  return client->has_output() ? ClientRest::kSoon : ClientRest::kNow;
}

bool ShardMoves::forget(ConnectionId id, Accepted* accepted, Instant now, ActionList& actions) {
  if (rest_of(id) != ClientRest::kNow) return false;
  core_.begin_step(now, actions);
  Connection& client = *core_.find(id);
  *accepted = client.accepted;
  accepted->is_continued = true;
  client.advance_to(ConnectionState::kClosed);
  core_.disarm(client);
  --core_.open_downstream_;
  core_.closed_.push_back(&client);
  core_.end_step();
  return true;
}

// The one that has been idle for longest: kept ones are used last in, first out, so it is the one
// that this shard has needed least. What it needs all the time stays, or the two shards would take
// it from each other in turn.
std::optional<ConnectionId> ShardMoves::lend(const ConnectTarget& wanted, Instant now,
                                             ActionList& actions) {
  PoolKey key{wanted.remote, IpAddress(), wanted.cluster_id, wanted.caller, false};
  if (wanted.source_pod) key.source = wanted.source_ip;
  Pool* pool = core_.pools_.find(key);
  Connection* oldest = pool == nullptr ? nullptr : pool->idle.front();
  if (oldest == nullptr || pool->retired || oldest->touched || oldest->has_output()) {
    return std::nullopt;
  }
  if (now - oldest->idle_since < core_.limits_.lend_idle_after) return std::nullopt;
  core_.begin_step(now, actions);
  core_.take_idle(*pool, *oldest);
  oldest->lent = true;
  core_.end_step();
  return oldest->id();
}

bool ShardMoves::give_up(ConnectionId id, Lent* lent, Instant now, ActionList& actions) {
  Connection* connection = core_.find(id);
  if (connection == nullptr || !connection->lent || connection->is_closed()) return false;
  if (connection->touched || connection->failed || connection->peer_finished ||
      connection->has_output() || !connection->input.empty()) {
    return false;
  }
  *lent = {connection->requests, connection->pool->key.cluster_id, connection->opened};
  core_.begin_step(now, actions);
  Pool& pool = *connection->pool;
  connection->advance_to(ConnectionState::kClosed);
  if (connection->group != nullptr) connection->group->shared->connection_closed();
  --pool.connections;
  ++pool.leaving;
  core_.touch(pool);
  core_.closed_.push_back(connection);
  core_.end_step();
  return true;
}

void ShardMoves::closed_on_the_way(const Lent& lent) {
  ++core_.counters_->upstream_cx_destroy;
  ++core_.stats(lent.cluster_id).upstream_cx_destroy;
}

}  // namespace np::proxy
