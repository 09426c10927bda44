// SPDX-License-Identifier: Apache-2.0
// What takes a Transport several steps, one record for each. Plain values, owned by the Transport.
#pragma once

#include <cstdint>

#include "base/time.h"
#include "proxy/engine.h"

namespace np::shard {

// A socket's slot for as long as that socket has it.
struct SlotLife {
  uint32_t slot = 0, generation = 0;
  bool operator==(const SlotLife&) const = default;
};
// The engine is to be told that the connection failed.
struct Deferred {
  proxy::ConnectionId connection;
  int errno_value;
};
// A connect that waits for the place of a socket that is being closed.
struct WaitingConnect {
  proxy::ConnectionId connection;
  proxy::ConnectTarget target;
};
// A client that goes to shard `target` when it is at rest.
struct ClientMove {
  SlotLife life;
  uint32_t target;
  uint32_t tries;  // left
  Instant give_up;
};
// A socket for which another shard was asked for one of its own.
struct AskedLoan {
  SlotLife life;
  Instant give_up;  // then it dials
};
// A connection that goes to shard `target`, for the socket `theirs` of that, when it is at rest.
struct Lending {
  SlotLife life;
  uint32_t target;
  SlotLife theirs;
};

}  // namespace np::shard
