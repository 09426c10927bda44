// SPDX-License-Identifier: Apache-2.0
#include "shard/acceptor.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace np::shard {
namespace {

constexpr Duration kPauseAfterError = std::chrono::milliseconds(100);
// Accepting begins again at nine tenths of the limit, so that it does not flap.
constexpr uint32_t kResumeNumerator = 9;
constexpr uint32_t kResumeDenominator = 10;

uint64_t tag(uint32_t id, Op op) {
  return uring::UserData{id, 1, static_cast<uint8_t>(op)}.pack();
}

}  // namespace

Acceptor::Acceptor(const AcceptorOptions& options, uring::Ring& ring, Transport& transport,
                   Peers& peers, ShardCounters& counters)
    : options_(options), ring_(ring), transport_(transport), peers_(peers), counters_(counters) {}

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
    place(std::move(fd), listener.description, now);
  } else if (completion.result == -EMFILE || completion.result == -ENFILE ||
             completion.result == -ENOMEM || completion.result == -ENOBUFS) {
    count(counters_.accept_errors);
    pause(now + kPauseAfterError);
  }
  if (listener.armed) return;
  if (listener.removal != nullptr) {
    listener.removal->done();
    listeners_.erase(found);
  } else if (!paused_ && !stopped_) {
    arm(listener);
  }
}

void Acceptor::place(Fd fd, const AddListener& listener, Instant now) {
  count(counters_.accepted);
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
    return pause(now + kPauseAfterError);
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
      transport_.adopt(std::get<AdoptConnection>(std::move(message)));
    }
  }
  if (is_full()) pause(now + kPauseAfterError);
}

bool Acceptor::is_full() const {
  const uint32_t least = peers_.least_loaded(options_.shard);
  return peers_.status[least].load.load(std::memory_order_relaxed) >= options_.connections_max;
}

void Acceptor::pause(Instant until) {
  resume_at_ = until;
  if (paused_) return;
  paused_ = true;
  count(counters_.accept_paused);
  peers_.status[options_.shard].overloaded.store(true, std::memory_order_relaxed);
  for (auto& [id, listener] : listeners_) {
    if (listener.armed) cancel(listener);
  }
}

void Acceptor::check_pause(Instant now) {
  if (!paused_ || now < resume_at_) return;
  const uint32_t least = peers_.least_loaded(options_.shard);
  const uint32_t load = peers_.status[least].load.load(std::memory_order_relaxed);
  if (load >= options_.connections_max / kResumeDenominator * kResumeNumerator) return;
  paused_ = false;
  peers_.status[options_.shard].overloaded.store(false, std::memory_order_relaxed);
  if (stopped_) return;
  for (auto& [id, listener] : listeners_) {
    if (listener.removal == nullptr) arm(listener);
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
