// SPDX-License-Identifier: Apache-2.0
#include "proxy/connection.h"

#include "base/check.h"

namespace np::proxy {

void Connection::advance_to(ConnectionState next) {
  NP_CHECK(kConnectionTransitions[static_cast<size_t>(state_)][static_cast<size_t>(next)]);
  state_ = next;
}

void Connection::recycle() {
  mode = Mode::kHttp;
  timer_purpose = ConnectionTimer::kNone;
  receiving = touched = peer_finished = finish_delivered = failed = false;
  shutdown_wanted = shutdown_sent = linger = in_head = discarding = connecting = false;
  asks = lent = false;
  codec.reset();
  output.clear();
  input.clear();
  sending = nullptr;
  exchange = {};
  last_stream = 0;
  quiet_bytes = 0;
  offered_bytes = 0;
  received_bytes = 0;
  discarded_bytes = 0;
  accepted = {};
  record = nullptr;
  pool = nullptr;
  group = nullptr;
  admission = nullptr;
  requests = 0;
  state_ = ConnectionState::kOpening;
}

}  // namespace np::proxy
