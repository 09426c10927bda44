// SPDX-License-Identifier: Apache-2.0
// ShardMoves: the ends of a Core at which a connection leaves for another shard or comes from one.
// Owns nothing; made for a call by the Engine, on the shard's thread. What moves carries no state
// of this shard: an Accepted, or a Lent.
#pragma once

#include <optional>

#include "proxy/core.h"
#include "proxy/engine.h"

namespace np::proxy {

class ShardMoves {
 public:
  explicit ShardMoves(Core& core) : core_(core) {}

  ClientRest rest_of(ConnectionId id) const;
  bool forget(ConnectionId id, Accepted* accepted, Instant now, ActionList& actions);
  std::optional<ConnectionId> lend(const ConnectTarget& wanted, Instant now, ActionList& actions);
  bool give_up(ConnectionId id, Lent* lent, Instant now, ActionList& actions);
  void closed_on_the_way(const Lent& lent);

 private:
  Core& core_;
};

}  // namespace np::proxy
