// SPDX-License-Identifier: Apache-2.0
// Core, when memory is nearly used up: what it gives back, a bounded part per call (reliability
// 12).
#include <algorithm>
#include <array>
#include <utility>

#include "proxy/core.h"

namespace np::proxy {
namespace {

// Per call, which comes with each look at the memory, 25 to 250 ms apart: few enough that nobody
// else waits for long.
constexpr size_t kIdleClosesMax = 2048;
constexpr size_t kEndsMax = 256;
// What a request holds beside its bytes, about: Exchange, connections, texts, timers.
constexpr size_t kRequestBytes = 4096;

struct Holder {
  Connection* client = nullptr;
  size_t bytes = 0;
};

bool holds_more(const Holder& a, const Holder& b) {
  return a.bytes > b.bytes;
}

}  // namespace

void Core::relieve(MemoryStage stage, size_t excess_bytes, Instant now, ActionList& actions) {
  begin_step(now, actions);
  if (pressure_.stage == MemoryStage::kNormal && stage > MemoryStage::kNormal) {
    pressure_.has_idle_clients = true;  // from now on none becomes idle: settle_downstream_end()
  }
  const bool did_refuse = refuses_requests();
  pressure_.stage = stage;
  if (refuses_requests() != did_refuse) {
    pressure_.refusing_since = did_refuse ? kNever : now;
    std::swap(limits_.buffer_bytes, limits_.scarce_buffer_bytes);
    // Those that hold more are paused at once, and go on when it is over.
    connections_.for_each([this](Connection& connection) { touch(connection); });
  }
  if (stage >= MemoryStage::kDrain) {
    if (pressure_.has_idle_clients) close_idle_clients();
    for (size_t i = 0; i < kIdleClosesMax && !pools_.idle.empty(); ++i) {
      ++counters_->overload_upstream_cx_closed;
      close(*pools_.idle.front(), false);
    }
  }
  if (stage == MemoryStage::kReset) {
    end_largest(excess_bytes);
  } else if (stage == MemoryStage::kRefuse && limits_.refusing_max > Duration::zero() &&
             now - pressure_.refusing_since >= limits_.refusing_max) {
    end_largest(0);
  }
  end_step();
}

// Those that have asked nothing yet get the time for it that a drain would give them.
void Core::close_idle_clients() {
  size_t left = kIdleClosesMax;
  pressure_.has_idle_clients = false;
  connections_.for_each([&](Connection& connection) {
    const bool waits = connection.side == Connection::Side::kDownstream &&
                       connection.timer_purpose == ConnectionTimer::kIdle;
    if (!waits) return;
    if (left == 0) {
      pressure_.has_idle_clients = true;
      return;
    }
    const bool may_ask = !connection.has_asked();
    if (may_ask && connection.timer.deadline <= now_ + limits_.drain_wait) return;
    --left;
    disarm(connection);  // a shorter time begins
    touch(connection);
    if (!may_ask) ++counters_->overload_cx_idle_closed;
  });
}

// Of a client's connection, its Exchange and the endpoint's connection.
size_t Core::held_bytes(const Connection& client) {
  size_t bytes = client.input.charged_bytes() + client.output.charged_bytes();
  Exchange* exchange = find(client.exchange);
  if (exchange == nullptr) return bytes;
  bytes += kRequestBytes + exchange->held_bytes();
  if (const Connection* upstream = find(exchange->upstream())) {
    bytes += upstream->input.charged_bytes() + upstream->output.charged_bytes();
  }
  return bytes;
}

// The largest first, until they held `bytes`, but one at least and kEndsMax at most.
void Core::end_largest(size_t bytes) {
  std::array<Holder, kEndsMax> largest;  // a heap: the smallest of them in front
  size_t count = 0;
  connections_.for_each([&](Connection& connection) {
    if (connection.side != Connection::Side::kDownstream || connection.is_closed()) return;
    const Holder one{&connection, held_bytes(connection)};
    if (one.bytes == 0) return;  // what is idle is closed elsewhere
    if (count == largest.size()) {
      if (one.bytes <= largest.front().bytes) return;
      std::pop_heap(largest.begin(), largest.end(), holds_more);
      --count;
    }
    largest[count++] = one;
    std::push_heap(largest.begin(), largest.begin() + count, holds_more);
  });
  std::sort_heap(largest.begin(), largest.begin() + count, holds_more);
  size_t ended_bytes = 0;
  for (size_t i = 0; i < count && (i == 0 || ended_bytes < bytes); ++i) {
    Connection& client = *largest[i].client;
    ended_bytes += largest[i].bytes;
    if (Exchange* exchange = find(client.exchange)) {
      exchange->on_event({.kind = ExchangeEvent::Kind::kOverload});
      continue;
    }
    // An answer that is not taken.
    ++counters_->overload_rq_ended;
    close(client, true);
  }
}

}  // namespace np::proxy
