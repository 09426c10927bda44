// SPDX-License-Identifier: Apache-2.0
// Transport: quiet sends. A completion of each send would wake the loop once more just to say that
// everything went well; where nothing waits for that, it is concluded from silence instead.
#include "shard/transport.h"

namespace np::shard {

void Transport::on_submitted() {
  scratch_.clear();
  quiet_submitted_ = quiet_.size();
}

void Transport::settle_quiet() {
  if (quiet_submitted_ == 0 || env_.ring.has_overflow()) return;
  for (size_t i = 0; i < quiet_submitted_; ++i) {
    const SlotLife life = quiet_[i];
    Socket* socket = sockets_.find(life.slot, life.generation);
    // Else it has completed, and so was not all taken.
    if (socket == nullptr || !socket->send_quiet) continue;
    socket->send_quiet = false;
    --socket->in_flight;
    const uint32_t cost = FairQueue::cost_of({0, static_cast<int32_t>(socket->send_total), 0});
    charge(socket->line, cost);
    note_work(life.slot, cost);
    is_followed_ = true;  // one step of the engine for all of them: serve() ends it
    on_send(life.slot, static_cast<int32_t>(socket->send_total));
    if (sockets_.find(life.slot, life.generation) != nullptr) release_if_done(life.slot);
  }
  is_followed_ = false;
  quiet_.erase(quiet_.begin(), quiet_.begin() + static_cast<std::ptrdiff_t>(quiet_submitted_));
  quiet_submitted_ = 0;
}

}  // namespace np::shard
