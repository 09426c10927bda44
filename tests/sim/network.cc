// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/network.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace np::sim {

using proxy::Action;
using proxy::TransportEvent;

namespace {
constexpr uint32_t kBufferBytes = 4096;
constexpr uint32_t kManyIds = 100;
constexpr Duration kLatest = std::chrono::seconds(3);
}  // namespace

SimNetwork::SimNetwork(uint64_t seed, uint32_t shards, const Weather& weather,
                       const proxy::EngineLimits& limits)
    : rng_(seed), weather_(weather), slots_(kLimitSlots), engines_(shards) {
  node_ = std::make_unique<proxy::NodeState>(
      shards, proxy::NodeState::Seams{this, &store_, std::span<LimitSlot>(slots_)});
  for (uint32_t i = 0; i < shards; ++i) {
    Shard& shard = engines_[i];
    shard.counters = std::make_unique<proxy::EngineCounters>();
    *shard.counters = {};
    proxy::EngineConfig config;
    config.seed = (seed ^ 0x5eedU) + i;
    config.loop_token = seed | 1U;
    config.limits = &limits;
    config.counters = shard.counters.get();
    config.node = node_.get();
    config.shard = i;
    config.can_borrow = shards > 1;
    shard.engine = std::make_unique<proxy::Engine>(config);
  }
}

SimNetwork::~SimNetwork() {
  events_ = {};
  engines_.clear();
}

void SimNetwork::serve(const SocketAddress& address, std::function<Peer*()> factory) {
  services_[address] = std::move(factory);
}

void SimNetwork::connect(Peer& peer, const proxy::Accepted& accepted) {
  wires_.push_back(std::make_unique<Wire>());
  Wire& wire = *wires_.back();
  wire.peer = &peer;
  wire.open = true;
  wire.shard = rng_.below(shards());
  wire.slow = rng_.below(kManyIds) < weather_.slow_reader;
  peer.wire = &wire;
  Shard& shard = engines_[wire.shard];
  wire.id = shard.engine->accept(accepted, now_, actions_);
  shard.by_id[wire.id.packed()] = &wire;
  act(wire.shard);
}

void SimNetwork::set_snapshot(const std::shared_ptr<const policy::Snapshot>& snapshot) {
  for (uint32_t i = 0; i < shards(); ++i) {
    engines_[i].next_snapshot = snapshot;
    if (!has_snapshot_ || shards() == 1) {
      adopt(i);
    } else {
      later(random_delay(weather_.delay_max), [this, i] { adopt(i); });
    }
  }
  has_snapshot_ = true;
}

// Of several that are on their way only the newest counts, as in an inbox that keeps one.
void SimNetwork::adopt(uint32_t shard) {
  const auto snapshot = std::exchange(engines_[shard].next_snapshot, nullptr);
  if (snapshot == nullptr) return;
  engines_[shard].engine->set_snapshot(snapshot, now_, actions_);
  act(shard);
}

void SimNetwork::drain() {
  for (uint32_t i = 0; i < shards(); ++i) {
    engines_[i].engine->drain(now_, actions_);
    act(i);
  }
}

// Called from within a step of another shard.
void SimNetwork::wake(uint32_t shard) {
  later(random_delay(weather_.delay_max), [this, shard] {
    engines_[shard].engine->on_wake(now_, actions_);
    act(shard);
  });
}

// ---- all shards ------------------------------------------------------------------------------

proxy::EngineCounters SimNetwork::counters() const {
  constexpr size_t kWords = sizeof(proxy::EngineCounters) / sizeof(uint64_t);
  static_assert(sizeof(proxy::EngineCounters) % sizeof(uint64_t) == 0);
  uint64_t sum[kWords] = {};
  for (const Shard& shard : engines_) {
    uint64_t part[kWords];
    std::memcpy(part, shard.counters.get(), sizeof part);
    for (size_t i = 0; i < kWords; ++i) sum[i] += part[i];
  }
  proxy::EngineCounters total{};
  std::memcpy(&total, sum, sizeof sum);
  return total;
}

size_t SimNetwork::open_downstream() const {
  size_t open = 0;
  for (const Shard& shard : engines_) open += shard.engine->open_downstream();
  return open;
}

size_t SimNetwork::open_upstream() const {
  size_t open = 0;
  for (const Shard& shard : engines_) open += shard.engine->open_upstream();
  return open;
}

Instant SimNetwork::next_deadline() const {
  Instant next = kNever;
  for (const Shard& shard : engines_) next = std::min(next, shard.engine->next_deadline());
  return next;
}

size_t SimNetwork::wires_open() const {
  size_t open = 0;
  for (const Shard& shard : engines_) open += shard.by_id.size();
  return open;
}

// ---- peers -----------------------------------------------------------------------------------

void SimNetwork::send(Peer& peer, std::string_view bytes) {
  Wire& wire = *peer.wire;
  if (wire.cut || wire.engine_closed) return;
  wire.to_engine.append(bytes);
  deliver_soon(wire);
}

void SimNetwork::finish(Peer& peer) {
  Wire& wire = *peer.wire;
  if (wire.cut || wire.engine_closed) return;
  wire.finish_queued = true;
  deliver_soon(wire);
}

void SimNetwork::reset(Peer& peer) {
  cut(*peer.wire);
}

void SimNetwork::later(Duration after, std::function<void()> what) {
  events_.push({now_ + after, (rng_.next() << 1U) ^ ++order_, std::move(what)});
}

// ---- wires -----------------------------------------------------------------------------------

Duration SimNetwork::random_delay(Duration most) {
  return Duration(static_cast<int64_t>(rng_.next() % static_cast<uint64_t>(most.count() + 1)));
}

Duration SimNetwork::some_delay(const Wire& wire) {
  return random_delay(weather_.delay_max * (wire.slow ? 20 : 1));
}

size_t SimNetwork::some_size(size_t available) {
  if (rng_.below(kManyIds) < weather_.small_chunks) {
    return std::min<size_t>(available, 1 + rng_.below(7));
  }
  if (rng_.below(4) == 0) {
    return 1 + rng_.below(static_cast<uint32_t>(std::min<size_t>(available, UINT32_MAX - 1)));
  }
  return available;
}

void SimNetwork::deliver_soon(Wire& wire) {
  if (wire.delivering || !wire.receiving || !wire.open || wire.cut || wire.engine_closed) return;
  if (wire.to_engine.empty() && (!wire.finish_queued || wire.finish_told)) return;
  wire.delivering = true;
  later(some_delay(wire), [this, &wire] { deliver(wire); });
}

void SimNetwork::deliver(Wire& wire) {
  wire.delivering = false;
  if (wire.cut || wire.engine_closed) return;
  if (rng_.below(1000) < weather_.reset_per_mille) {
    cut(wire);
    return;
  }
  // Now and then two pieces at once.
  const bool has_more = wire.to_engine.size() > 1 && rng_.below(4) == 0;
  if (has_more) deliver_piece(wire, true);
  if (!wire.cut && !wire.engine_closed) deliver_piece(wire, false);
  deliver_soon(wire);
}

void SimNetwork::deliver_piece(Wire& wire, bool has_more) {
  TransportEvent event;
  event.is_followed = has_more;
  if (!wire.to_engine.empty()) {
    const size_t most = wire.to_engine.size() - (has_more ? 1 : 0);
    const size_t n = std::min<size_t>(some_size(most), kBufferBytes);
    event.kind = TransportEvent::Kind::kReceived;
    event.data.owner = fill({wire.to_engine.data(), n});
    event.data.bytes = {event.data.owner.get()->data, n};
    wire.to_engine.erase(0, n);
  } else {
    event.kind = TransportEvent::Kind::kPeerFinished;
    wire.finish_told = true;
  }
  tell(wire, std::move(event));
}

BufferRef SimNetwork::fill(std::string_view bytes) {
  auto* buffer = new Buffer;
  buffer->owner = this;
  buffer->data = new char[kBufferBytes];
  buffer->size_bytes = kBufferBytes;
  std::memcpy(buffer->data, bytes.data(), bytes.size());
  ++buffers_out_;
  return BufferRef(buffer);
}

void SimNetwork::recycle(Buffer* buffer) {
  --buffers_out_;
  delete[] buffer->data;  // sanitizers see any later use
  delete buffer;
}

void SimNetwork::send_soon(Wire& wire) {
  later(some_delay(wire), [this, &wire] { complete_send(wire); });
}

void SimNetwork::complete_send(Wire& wire) {
  if (wire.cut || wire.engine_closed || wire.iov == nullptr) return;
  if (rng_.below(1000) < weather_.reset_per_mille) {
    cut(wire);
    return;
  }
  size_t available = 0;
  for (uint32_t i = 0; i < wire.iov_count; ++i) available += wire.iov[i].iov_len;
  NP_CHECK(available > 0);
  TransportEvent event;
  event.kind = TransportEvent::Kind::kSent;
  event.sent_bytes = some_size(available);
  std::string bytes;
  for (uint32_t i = 0; i < wire.iov_count && bytes.size() < event.sent_bytes; ++i) {
    const size_t n = std::min(wire.iov[i].iov_len, event.sent_bytes - bytes.size());
    bytes.append(static_cast<const char*>(wire.iov[i].iov_base), n);
  }
  wire.iov = nullptr;
  // The peer first: what the engine does next (close) must not overtake these bytes.
  wire.peer->on_bytes(bytes);
  if (wire.cut) return;
  tell(wire, event);
}

// Both sides learn of a reset; bytes under way are lost.
void SimNetwork::cut(Wire& wire) {
  if (wire.cut) return;
  wire.cut = true;
  tell_end(wire, true);
  if (wire.engine_closed) return;
  later(some_delay(wire), [this, &wire] {
    if (wire.engine_closed) return;
    TransportEvent event;
    event.kind = TransportEvent::Kind::kFailed;
    event.failure = proxy::Failure::kReset;
    wire.iov = nullptr;
    tell(wire, event);
  });
}

void SimNetwork::tell_end(Wire& wire, bool reset) {
  if (wire.peer == nullptr || wire.peer_told_end) return;
  wire.peer_told_end = true;
  if (reset) {
    wire.peer->on_reset();
  } else {
    wire.peer->on_finished();
  }
}

void SimNetwork::close(Wire& wire, Action& action) {
  NP_CHECK(!wire.engine_closed);
  wire.engine_closed = true;
  engines_[wire.shard].by_id.erase(wire.id.packed());
  if (wire.iov != nullptr && action.keep_alive != nullptr) {
    // The kernel may go on reading the bytes of a send under way for a while.
    const iovec* iov = wire.iov;
    const uint32_t count = wire.iov_count;
    later(some_delay(wire), [iov, count, keep = action.keep_alive] {
      volatile char sum = 0;
      for (uint32_t i = 0; i < count; ++i) {
        sum = static_cast<char>(sum + *static_cast<const char*>(iov[i].iov_base));
      }
    });
  }
  const bool lost = action.abortive || wire.iov != nullptr;
  wire.iov = nullptr;
  if (!wire.open) return;
  // Closing with unread bytes resets, as the kernel does.
  const bool reset = lost || !wire.to_engine.empty();
  if (reset) wire.cut = true;
  tell_end(wire, reset);
}

// ---- actions ---------------------------------------------------------------------------------

// Now and then more is at hand, on any connection of the shard, as for a driver that was busy.
void SimNetwork::tell(const Wire& wire, TransportEvent event) {
  event.is_followed |= rng_.below(4) == 0;
  Shard& shard = engines_[wire.shard];
  shard.engine->on_transport(wire.id, event, now_, actions_);
  shard.is_unsettled = event.is_followed;
  event.data.owner = BufferRef();
  act(wire.shard);
}

void SimNetwork::settle() {
  for (uint32_t i = 0; i < shards(); ++i) {
    if (!std::exchange(engines_[i].is_unsettled, false)) continue;
    engines_[i].engine->on_wake(now_, actions_);
    act(i);
  }
}

void SimNetwork::act(uint32_t shard) {
  // Actions never make an engine run at once, so one pass is enough.
  proxy::ActionList batch;
  batch.swap(actions_);
  for (Action& action : batch) carry_out(shard, action);
  if (watcher_) watcher_();
}

void SimNetwork::carry_out(uint32_t shard, Action& action) {
  auto& by_id = engines_[shard].by_id;
  if (action.kind == Action::Kind::kConnect) {
    wires_.push_back(std::make_unique<Wire>());
    Wire& wire = *wires_.back();
    wire.id = action.connection;
    wire.shard = shard;
    wire.upstream = true;
    wire.slow = rng_.below(kManyIds) < weather_.slow_reader;
    NP_CHECK(by_id.emplace(wire.id.packed(), &wire).second);
    connect_upstream(wire, action.target);
    return;
  }
  const auto found = by_id.find(action.connection.packed());
  NP_CHECK(found != by_id.end());  // nothing may be said about a connection after its kClose
  Wire* wire = found->second;
  switch (action.kind) {
    case Action::Kind::kReceive:
      wire->receiving = true;
      deliver_soon(*wire);
      return;
    case Action::Kind::kPauseReceive:
      wire->receiving = false;
      return;
    case Action::Kind::kSend:
      NP_CHECK(wire->iov == nullptr && action.iov_count > 0);
      wire->iov = action.iov;
      wire->iov_count = action.iov_count;
      send_soon(*wire);
      return;
    case Action::Kind::kShutdownWrite:
      NP_CHECK(wire->iov == nullptr);
      if (!wire->cut) tell_end(*wire, false);
      return;
    case Action::Kind::kClose:
      close(*wire, action);
      return;
    case Action::Kind::kConnect:
      return;
  }
}

void SimNetwork::connect_upstream(Wire& wire, const proxy::ConnectTarget& target) {
  if (target.lender != proxy::ConnectTarget::kNobody) return ask_lender(wire, target);
  const uint32_t luck = rng_.below(kManyIds);
  if (luck < weather_.swallow_percent) return;
  const auto service = services_.find(target.remote);
  const bool refused =
      luck < weather_.swallow_percent + weather_.refuse_percent || service == services_.end();
  later(some_delay(wire), [this, &wire, refused, service] {
    if (wire.engine_closed) return;
    TransportEvent event;
    if (refused) {
      event.kind = TransportEvent::Kind::kFailed;
      const bool ours = service != services_.end() && rng_.below(3) == 0;
      event.failure = ours ? proxy::Failure::kExhausted : proxy::Failure::kRefused;
    } else {
      event.kind = TransportEvent::Kind::kOpened;
      wire.open = true;
      wire.peer = service->second();
      wire.peer->wire = &wire;
    }
    tell(wire, event);
    if (!refused && wire.peer != nullptr && !wire.engine_closed) wire.peer->on_open();
  });
}

// A busy or suspended machine serves deadlines late, never early.
void SimNetwork::serve_deadline(Instant deadline) {
  now_ = std::max(now_, deadline);
  if (rng_.below(kManyIds) < weather_.late_timer_percent) {
    now_ += random_delay(kLatest);
  }
  for (uint32_t i = 0; i < shards(); ++i) {
    if (engines_[i].engine->next_deadline() > now_) continue;
    engines_[i].engine->on_time(now_, actions_);
    act(i);
  }
}

bool SimNetwork::run(Duration limit) {
  const Instant end = now_ + limit;
  while (true) {
    if (events_.empty() || events_.top().at > end || rng_.below(2) == 0) settle();
    const Instant deadline = next_deadline();
    const bool has_event = !events_.empty();
    if (!has_event && deadline == kNever) return true;
    if (!has_event || deadline < events_.top().at) {
      settle();
      if (deadline > end) return false;
      serve_deadline(deadline);
      continue;
    }
    if (events_.top().at > end) return false;
    Event event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.at);
    event.what();
  }
}

}  // namespace np::sim
