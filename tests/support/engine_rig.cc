// SPDX-License-Identifier: Apache-2.0
#include "tests/support/engine_rig.h"

#include <algorithm>

namespace np::test {

using proxy::Action;
using proxy::TransportEvent;

Slice EngineRig::HeapBuffers::fill(std::string_view bytes, size_t buffer_bytes) {
  buffer_bytes = std::max(buffer_bytes, bytes.size());
  auto* buffer = new Buffer;
  buffer->owner = this;
  buffer->data = new char[buffer_bytes];
  buffer->size_bytes = static_cast<uint32_t>(buffer_bytes);
  std::copy(bytes.begin(), bytes.end(), buffer->data);
  return {BufferRef(buffer), {buffer->data, bytes.size()}};
}

void EngineRig::HeapBuffers::recycle(Buffer* buffer) {
  delete[] buffer->data;  // sanitizers see any later use
  delete buffer;
}

EngineRig::EngineRig(proxy::NodeState* node, uint32_t shard, proxy::EngineLimits limits,
                     proxy::QuotaWindows* windows)
    : EngineRig(proxy::EngineConfig{.limits = &limits,
                                    .node = node,
                                    .shard = shard,
                                    .quota_windows = windows,
                                    .tracing = {}}) {}

EngineRig::EngineRig(Borrows, proxy::NodeState* node, uint32_t shard, proxy::EngineLimits limits)
    : EngineRig(proxy::EngineConfig{
          .limits = &limits, .node = node, .shard = shard, .can_borrow = true, .tracing = {}}) {}

EngineRig::EngineRig(RequestObserver& observer, const TraceOptions& tracing)
    : EngineRig(proxy::EngineConfig{.observer = &observer, .tracing = tracing}) {}

EngineRig::EngineRig(proxy::EngineConfig config)
    : counters_(std::make_unique<proxy::EngineCounters>()) {
  *counters_ = {};
  config.seed = 7;
  config.counters = counters_.get();
  engine_ = std::make_unique<proxy::Engine>(config);
}

void EngineRig::use(const PolicyFixture& policy) {
  engine_->set_snapshot(policy.snapshot, now_, actions_);
  act();
}

EngineRig::Socket& EngineRig::connect(const proxy::Accepted& accepted) {
  auto socket = std::make_unique<Socket>();
  socket->opened = true;
  Socket& result = *socket;
  sockets_.push_back(std::move(socket));
  result.id = engine_->accept(accepted, now_, actions_);
  by_id_[result.id.packed()] = &result;
  act();
  return result;
}

bool EngineRig::forget(Socket& socket, proxy::Accepted* accepted) {
  const bool done = engine_->forget(socket.id, accepted, now_, actions_);
  if (done) by_id_.erase(socket.id.packed());
  act();
  return done;
}

EngineRig::Socket& EngineRig::connect_captured(const std::string& dialled,
                                               const std::string& peer) {
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(dialled).value();
  accepted.peer = SocketAddress::parse(peer).value();
  accepted.record = &record;
  return connect(accepted);
}

EngineRig::Socket& EngineRig::connect_gateway(const std::string& bind, const std::string& peer) {
  proxy::Accepted accepted;
  accepted.local = SocketAddress::parse(bind).value();
  accepted.peer = SocketAddress::parse(peer).value();
  return connect(accepted);
}

void EngineRig::send(Socket& socket, std::string_view bytes) {
  // Bytes without an owner: valid during the step only, which the engine must respect.
  auto copy = std::make_unique<std::string>(bytes);
  TransportEvent event;
  event.kind = TransportEvent::Kind::kReceived;
  event.data.bytes = *copy;
  engine_->on_transport(socket.id, event, now_, actions_);
  std::fill(copy->begin(), copy->end(), '#');
  copy.reset();
  act();
}

void EngineRig::send_followed(Socket& socket, std::string_view bytes) {
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kReceived;
  event.data = buffers_.fill(bytes);
  event.is_followed = true;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

void EngineRig::send_owned(Socket& socket, std::string_view bytes, size_t buffer_bytes) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kReceived;
  event.data = buffers_.fill(bytes, buffer_bytes);
  engine_->on_transport(socket.id, event, now_, actions_);
  event.data = {};
  act();
}

void EngineRig::finish_followed(Socket& socket) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kPeerFinished;
  event.is_followed = true;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

void EngineRig::finish(Socket& socket) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kPeerFinished;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

void EngineRig::fail(Socket& socket, proxy::Failure failure) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kFailed;
  event.failure = failure;
  socket.iov = nullptr;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

void EngineRig::open(Socket& socket) {
  socket.opened = true;
  TransportEvent event;
  event.kind = TransportEvent::Kind::kOpened;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

void EngineRig::lend(Socket& socket, const proxy::Lent* lent) {
  TransportEvent event;
  event.kind = lent != nullptr ? TransportEvent::Kind::kOpened : TransportEvent::Kind::kNotLent;
  event.lent = lent;
  socket.opened = lent != nullptr;
  socket.target.lender = proxy::ConnectTarget::kNobody;
  engine_->on_transport(socket.id, event, now_, actions_);
  act();
}

EngineRig::Socket* EngineRig::to_lend(const proxy::ConnectTarget& wanted) {
  const auto id = engine_->lend(wanted, now_, actions_);
  act();
  return id ? by_id_.at(id->packed()) : nullptr;
}

bool EngineRig::give_up(Socket& socket, proxy::Lent* lent) {
  const bool is_given = engine_->give_up(socket.id, lent, now_, actions_);
  act();
  return is_given;
}

void EngineRig::release(Socket& socket) {
  socket.hold = false;
  if (socket.iov != nullptr) complete_send(socket);
  act();
}

void EngineRig::drain() {
  engine_->drain(now_, actions_);
  act();
}

void EngineRig::relieve(MemoryStage stage, size_t excess_bytes) {
  engine_->relieve(stage, excess_bytes, now_, actions_);
  act();
}

void EngineRig::advance(Duration by) {
  const Instant end = now_ + by;
  while (engine_->next_deadline() <= end) {
    now_ = std::max(now_, engine_->next_deadline());
    engine_->on_time(now_, actions_);
    act();
  }
  now_ = end;
  engine_->on_time(now_, actions_);
  act();
}

void EngineRig::wake() {
  engine_->on_wake(now_, actions_);
  act();
}

void EngineRig::move_to(Instant now) {
  advance(now - now_);
}

std::vector<EngineRig::Socket*> EngineRig::upstreams() {
  std::vector<Socket*> result;
  for (auto& socket : sockets_) {
    if (socket->upstream) result.push_back(socket.get());
  }
  return result;
}

std::string EngineRig::take(Socket& socket) {
  return std::exchange(socket.output, {});
}

bool EngineRig::is_balanced() const {
  const proxy::EngineCounters& c = *counters_;
  return c.downstream_rq_started ==
         c.downstream_rq_completed + c.downstream_rq_refused + c.downstream_rq_aborted;
}

void EngineRig::complete_send(Socket& socket) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kSent;
  for (uint32_t i = 0; i < socket.iov_count; ++i) {
    socket.output.append(static_cast<const char*>(socket.iov[i].iov_base), socket.iov[i].iov_len);
    event.sent_bytes += socket.iov[i].iov_len;
  }
  socket.iov = nullptr;
  engine_->on_transport(socket.id, event, now_, actions_);
}

void EngineRig::act() {
  while (!actions_.empty()) {
    proxy::ActionList batch;
    batch.swap(actions_);
    for (Action& action : batch) {
      Socket*& slot = by_id_[action.connection.packed()];
      if (slot == nullptr) {
        sockets_.push_back(std::make_unique<Socket>());
        slot = sockets_.back().get();
        slot->id = action.connection;
        slot->upstream = true;
      }
      Socket& socket = *slot;
      switch (action.kind) {
        case Action::Kind::kConnect:
          socket.target = action.target;
          break;
        case Action::Kind::kReceive:
          socket.receiving = true;
          break;
        case Action::Kind::kPauseReceive:
          socket.receiving = false;
          break;
        case Action::Kind::kSend:
          socket.iov = action.iov;
          socket.iov_count = action.iov_count;
          socket.told_late = action.may_be_told_late;
          if (!socket.hold) complete_send(socket);
          break;
        case Action::Kind::kShutdownWrite:
          socket.fin = true;
          break;
        case Action::Kind::kClose:
          socket.closed = true;
          socket.aborted = action.abortive;
          socket.kept = action.keep_alive;
          socket.iov = nullptr;
          break;
      }
    }
  }
}

}  // namespace np::test
