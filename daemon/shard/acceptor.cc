// SPDX-License-Identifier: Apache-2.0
#include "shard/acceptor.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace np::shard {
namespace {

AcceptGate::Failure accept_failure_of(int32_t result) {
  switch (-result) {
    case EMFILE:
    case ENFILE:
      return AcceptGate::Failure::kDescriptors;
    case ENOMEM:
    case ENOBUFS:
      return AcceptGate::Failure::kMemory;
    default:
      return AcceptGate::Failure::kNone;
  }
}

// Needs what accept() needs. With nothing in the queues accept() itself would not tell.
bool can_make_socket() {
  return Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)).is_open();
}

uint64_t tag(uint32_t id, Op op) {
  return uring::UserData{id, 1, static_cast<uint8_t>(op)}.pack();
}

}  // namespace

Acceptor::Acceptor(const AcceptorOptions& options, uring::Ring& ring, Transport& transport,
                   Peers& peers, ShardCounters& counters)
    : options_(options),
      ring_(ring),
      transport_(transport),
      peers_(peers),
      counters_(counters),
      gate_(options.connections_max) {}

void Acceptor::add(const AddListener& description) {
  Listener& listener = listeners_[description.id];
  listener.description = description;
  if (!paused_ && !stopped_) arm(listener);
}

void Acceptor::remove(const RemoveListener& removal) {
  const auto found = listeners_.find(removal.id);
  if (found == listeners_.end() || !found->second.armed) {
    if (found != listeners_.end()) listeners_.erase(found);
    removal.ack->done();
    return;
  }
  found->second.removal = removal.ack;
  cancel(found->second);
}

void Acceptor::arm(Listener& listener) {
  if (listener.armed) return;
  ring_.accept_multishot(listener.description.fd, tag(listener.description.id, Op::kAccept));
  listener.armed = true;
}

void Acceptor::cancel(Listener& listener) {
  const uint32_t id = listener.description.id;
  ring_.cancel(tag(id, Op::kAccept), tag(id, Op::kAcceptCancel));
}

void Acceptor::on_completion(const uring::Completion& completion, Instant now) {
  const uring::UserData data = uring::UserData::unpack(completion.user_data);
  if (static_cast<Op>(data.kind) != Op::kAccept) return;  // a cancel's own completion
  Fd fd(completion.result >= 0 ? completion.result : -1);
  const auto found = listeners_.find(data.slot);
  if (found == listeners_.end()) {
    count(counters_.stale_completions);
    return;
  }
  Listener& listener = found->second;
  if (!completion.has_more()) listener.armed = false;
  if (fd.is_open()) {
    place(std::move(fd), listener.description);
  } else if (const auto failure = accept_failure_of(completion.result);
             failure != AcceptGate::Failure::kNone) {
    count(counters_.accept_errors);
    gate_.on_failure(failure, now);
    follow_gate();
  }
  if (listener.armed) return;
  if (listener.removal != nullptr) {
    listener.removal->done();
    listeners_.erase(found);
  } else if (!paused_ && !stopped_) {
    arm(listener);
  }
}

void Acceptor::place(Fd fd, const AddListener& listener) {
  count(counters_.accepted);
  if (is_late_) return count(counters_.shed_late);  // SO_LINGER is 0: this is a reset
  AdoptConnection connection;
  connection.captured = listener.captured;
  connection.local = listener.bind;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  // Fails when the client has reset it already.
  if (::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
  connection.peer = SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
  if (listener.captured) {
    length = sizeof address;
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
    connection.local = SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
  }
  connection.fd = std::move(fd);

  const uint32_t target = peers_.least_loaded(options_.shard);
  std::atomic<uint32_t>& load = peers_.status[target].load;
  if (load.load(std::memory_order_relaxed) >= options_.connections_max) {
    count(counters_.refused_full);
    gate_.on_load(load.load(std::memory_order_relaxed));
    return follow_gate();
  }
  load.fetch_add(1, std::memory_order_relaxed);
  if (target == options_.shard) {
    transport_.adopt(std::move(connection));
  } else {
    ShardMessage message(std::move(connection));
    if (peers_.inboxes[target]->try_push(std::move(message))) {
      count(counters_.handed_over);
    } else {
      load.fetch_sub(1, std::memory_order_relaxed);
      peers_.status[options_.shard].load.fetch_add(1, std::memory_order_relaxed);
      // NOLINTNEXTLINE(bugprone-use-after-move): it is moved from only when the push succeeds
      transport_.adopt(std::get<AdoptConnection>(std::move(message)));
    }
  }
  gate_.on_load(least_load());
  follow_gate();
}

uint32_t Acceptor::least_load() const {
  const uint32_t least = peers_.least_loaded(options_.shard);
  return peers_.status[least].load.load(std::memory_order_relaxed);
}

void Acceptor::check_gate(MemoryStage stage, Instant now) {
  const bool did_shed = gate_.sheds() || is_late_;
  gate_.on_memory(stage >= MemoryStage::kRefuse);
  is_late_ = peers_.are_all_late();
  if (!did_shed && !gate_.sheds() && !is_late_) return;
  gate_.on_load(least_load());
  if (gate_.wants_retry(now)) gate_.on_retry(can_make_socket(), now);
  follow_gate();
}

void Acceptor::follow_gate() {
  ShardStatus& own = peers_.status[options_.shard];
  own.out_of_descriptors.store(gate_.lacks_descriptors(), std::memory_order_relaxed);
  const bool sheds = gate_.sheds() || is_late_;
  own.sheds.store(sheds, std::memory_order_relaxed);
  // At once, because each connection until then waits in a queue; the first shard takes it back.
  if (sheds) peers_.overload.raise();
  if (paused_ == !gate_.accepts()) return;
  paused_ = !gate_.accepts();
  if (paused_) count(counters_.accept_paused);
  if (stopped_) return;
  for (auto& [id, listener] : listeners_) {
    if (paused_ && listener.armed) cancel(listener);
    if (!paused_ && listener.removal == nullptr) arm(listener);
  }
}

void Acceptor::stop() {
  if (stopped_) return;
  stopped_ = true;
  for (auto& [id, listener] : listeners_) {
    if (listener.armed) cancel(listener);
  }
}

}  // namespace np::shard
