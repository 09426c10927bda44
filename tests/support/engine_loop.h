// SPDX-License-Identifier: Apache-2.0
// EngineLoop: one client and one origin around an engine, both kept alive, without sockets: what
// the engine sends is taken as sent at once, and forgotten. For counting and timing what the engine
// itself does.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "proxy/counters.h"
#include "proxy/engine.h"
#include "tests/support/policy_fixture.h"

namespace np::test {

inline constexpr char kLoopService[] = "10.96.0.10:80";

// Receive buffers as a shard has them: a fixed set that comes and goes.
class LoopBuffers : public BufferOwner {
 public:
  LoopBuffers() {
    for (size_t i = 0; i < all_.size(); ++i) {
      all_[i].owner = this;
      all_[i].data = bytes_[i].data();
      all_[i].size_bytes = static_cast<uint32_t>(bytes_[i].size());
      free_[free_count_++] = &all_[i];
    }
  }
  Slice fill(std::string_view text) {
    Buffer* buffer = free_[--free_count_];
    std::memcpy(buffer->data, text.data(), text.size());
    return {BufferRef(buffer), {buffer->data, text.size()}};
  }
  void recycle(Buffer* buffer) override { free_[free_count_++] = buffer; }
  size_t free_count() const { return free_count_; }

 private:
  std::array<std::array<char, 4096>, 32> bytes_;
  std::array<Buffer, 32> all_;
  std::array<Buffer*, 32> free_{};
  size_t free_count_ = 0;
};

// One client, one origin, both kept; everything the engine sends is counted and forgotten.
// `Watch` is made around each call of the engine.
struct NoWatch {};
template <typename Watch = NoWatch>
class EngineLoop {
 public:
  explicit EngineLoop(PolicyFixture& policy, proxy::EngineConfig config = {}) {
    config.counters = &counters;
    engine_ = std::make_unique<proxy::Engine>(config);
    actions_.reserve(64);
    engine_->set_snapshot(policy.snapshot, now_, actions_);
    accepted_.captured = true;
    accepted_.local = SocketAddress::parse(kLoopService).value();
    accepted_.peer = SocketAddress::parse("10.0.0.9:4000").value();
    client_ = engine_->accept(accepted_, now_, actions_);
    act();
  }

  // The client goes, and another comes.
  void reconnect() {
    proxy::TransportEvent event;
    event.kind = proxy::TransportEvent::Kind::kPeerFinished;
    step(client_, event);
    {
      [[maybe_unused]] const Watch watch;
      client_ = engine_->accept(accepted_, now_, actions_);
    }
    act();
  }

  void exchange(std::string_view request, std::string_view answer) {
    now_ += std::chrono::microseconds(100);
    receive(client_, request);
    if (!opened_) {
      proxy::TransportEvent event;
      event.kind = proxy::TransportEvent::Kind::kOpened;
      opened_ = true;
      step(origin_, event);
    }
    const uint64_t asked = counters.upstream_rq_total;
    if (std::exchange(asked_, asked) != asked) receive(origin_, answer);
    if (engine_->next_deadline() <= now_) {
      {
        [[maybe_unused]] const Watch watch;
        engine_->on_time(now_, actions_);
      }
      act();
    }
  }

  proxy::EngineCounters counters{};
  LoopBuffers buffers;

 private:
  void receive(proxy::ConnectionId id, std::string_view bytes) {
    proxy::TransportEvent event;
    event.kind = proxy::TransportEvent::Kind::kReceived;
    event.data = buffers.fill(bytes);
    step(id, event);
  }
  void step(proxy::ConnectionId id, const proxy::TransportEvent& event) {
    {
      [[maybe_unused]] const Watch watch;
      engine_->on_transport(id, event, now_, actions_);
    }
    act();
  }
  void act() {
    for (size_t i = 0; i < actions_.size(); ++i) {
      if (actions_[i].kind == proxy::Action::Kind::kConnect) origin_ = actions_[i].connection;
      if (actions_[i].kind != proxy::Action::Kind::kSend) continue;
      proxy::TransportEvent event;
      event.kind = proxy::TransportEvent::Kind::kSent;
      for (uint32_t n = 0; n < actions_[i].iov_count; ++n) {
        event.sent_bytes += actions_[i].iov[n].iov_len;
      }
      [[maybe_unused]] const Watch watch;
      engine_->on_transport(actions_[i].connection, event, now_, actions_);
    }
    actions_.clear();
  }

  std::unique_ptr<proxy::Engine> engine_;
  proxy::ActionList actions_;
  proxy::Accepted accepted_;
  proxy::ConnectionId client_, origin_;
  bool opened_ = false;
  uint64_t asked_ = 0;
  Instant now_{std::chrono::seconds(10)};
};

}  // namespace np::test
