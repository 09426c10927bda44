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

}  // namespace np::proxy
