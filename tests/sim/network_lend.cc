// SPDX-License-Identifier: Apache-2.0
// SimNetwork: idle connections that one shard lends to another, with everything that may come
// between the steps: bytes, ends, closes, and answers that come too late.
#include "base/check.h"
#include "tests/sim/network.h"

namespace np::sim {

using proxy::TransportEvent;

namespace {
constexpr uint32_t kOneIsLate = 8;  // of so many answers
}  // namespace

void SimNetwork::ask_lender(Wire& wire, const proxy::ConnectTarget& target) {
  later(random_delay(weather_.delay_max), [this, &wire, target] {
    Shard& lender = engines_[target.lender];
    const auto id = lender.engine->lend(target, now_, actions_);
    Wire* kept = id ? lender.by_id.at(id->packed()) : nullptr;
    act(target.lender);
    Wire* taker = rng_.below(kOneIsLate) == 0 ? nullptr : &wire;
    if (kept == nullptr || taker == nullptr) {
      later(random_delay(weather_.delay_max),
            [this, &wire, target] { dial_instead(wire, target); });
    }
    if (kept == nullptr) return;
    later(random_delay(weather_.delay_max),
          [this, kept, taker, target] { hand_over(*kept, taker, target); });
  });
}

void SimNetwork::dial_instead(Wire& wire, proxy::ConnectTarget target) {
  if (wire.engine_closed) return;
  TransportEvent event;
  event.kind = TransportEvent::Kind::kNotLent;
  tell(wire, event);
  target.lender = proxy::ConnectTarget::kNobody;
  if (!wire.engine_closed) connect_upstream(wire, target);
}

// `taker`: null when nobody waits for it any more.
void SimNetwork::hand_over(Wire& kept, Wire* taker, const proxy::ConnectTarget& target) {
  Shard& lender = engines_[kept.shard];
  proxy::Lent lent;
  if (kept.engine_closed || kept.cut || !lender.engine->give_up(kept.id, &lent, now_, actions_)) {
    NP_CHECK(kept.engine_closed || kept.cut);  // only an end is a reason not to give it up
    if (taker != nullptr) dial_instead(*taker, target);
    return;
  }
  lender.by_id.erase(kept.id.packed());
  kept.engine_closed = true;
  act(kept.shard);
  if (taker == nullptr || taker->engine_closed) {
    const uint32_t shard = taker != nullptr ? taker->shard : kept.shard;
    engines_[shard].engine->closed_on_the_way(lent);
    tell_end(kept, !kept.to_engine.empty());
    return;
  }
  ++loans_;
  taker->peer = std::exchange(kept.peer, nullptr);
  taker->peer->wire = taker;
  taker->slow = kept.slow;
  taker->open = true;
  taker->to_engine = std::move(kept.to_engine);
  taker->finish_queued = kept.finish_queued;
  TransportEvent event;
  event.kind = TransportEvent::Kind::kOpened;
  event.lent = &lent;
  tell(*taker, event);
}

}  // namespace np::sim
