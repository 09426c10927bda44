// SPDX-License-Identifier: Apache-2.0
// Transport: completions of operations, turned into the engine's events.
#include <poll.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "shard/transport.h"

namespace np::shard {
namespace {

proxy::Failure failure_of(int errno_value) {
  switch (errno_value) {
    case ECONNREFUSED:
      return proxy::Failure::kRefused;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
      return proxy::Failure::kUnreachable;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
      return proxy::Failure::kReset;
    case ETIMEDOUT:
      return proxy::Failure::kTimedOut;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
      return proxy::Failure::kAddressInUse;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return proxy::Failure::kExhausted;
    default:
      return proxy::Failure::kOther;
  }
}

// Completes once, so it is counted while it is under way; the others complete only on failure.
bool is_counted(Op op) {
  return op == Op::kReceive || op == Op::kSend || op == Op::kConnect || op == Op::kPodWritable ||
         op == Op::kWatch || op == Op::kShutdown || op == Op::kCloseFile || op == Op::kCancel ||
         op == Op::kExport;
}

}  // namespace

void Transport::on_completion(const uring::Completion& completion) {
  const auto data = uring::UserData::unpack(completion.user_data);
  Socket* socket = sockets_.find(data.slot, data.generation);
  if (socket == nullptr) {
    count(env_.counters.stale_completions);
    if (completion.has_buffer()) (void)env_.buffers.take(completion, 0);
    return;
  }
  const Op op = static_cast<Op>(data.kind);
  if (op == Op::kSend) socket->send_quiet = false;
  if (op == Op::kReceive || op == Op::kSend) return enqueue(data.slot, completion);
  act_on(completion, {});
}

// Nothing about the socket has changed since the kernel's completion was only put into a line: as
// far as it is concerned, the completion comes now.
void Transport::act_on(const uring::Completion& completion, BufferRef buffer) {
  const auto data = uring::UserData::unpack(completion.user_data);
  Socket* socket = sockets_.find(data.slot, data.generation);
  if (socket == nullptr) return count(env_.counters.stale_completions);
  if (buffer) --socket->waiting_pieces;
  const Op op = static_cast<Op>(data.kind);
  if (op == Op::kReceive || op == Op::kSend) {
    note_work(data.slot, FairQueue::cost_of(completion));
  }
  if (is_counted(op) && !completion.has_more()) --socket->in_flight;
  switch (op) {
    case Op::kReceive:
      on_receive(data.slot, completion, std::move(buffer));
      break;
    case Op::kSend:
      on_send(data.slot, completion.result);
      break;
    case Op::kConnect:
      on_connect(data.slot, completion.result);
      break;
    case Op::kPodWritable:
      on_pod_writable(data.slot, completion.result);
      break;
    case Op::kWatch:
      on_watch(data.slot, completion.result);
      break;
    case Op::kExport:
      on_exported(data.slot, completion.result);
      break;
    case Op::kInstall:
      if (socket->stage == Stage::kAttached) fail(data.slot, -completion.result);
      break;
    // A shutdown or an option fails when the peer has gone already: the receive or send says so.
    case Op::kShutdown:
    case Op::kCloseFile:
    case Op::kCancel:
    case Op::kCloseFd:
    case Op::kSetOption:
      break;
    default:
      count(env_.counters.unexpected_completions);
      break;
  }
  if (sockets_.find(data.slot, data.generation) != nullptr) release_if_done(data.slot);
}

void Transport::on_receive(uint32_t slot, const uring::Completion& completion, BufferRef buffer) {
  Socket& socket = sockets_.at(slot);
  const uint32_t generation = sockets_.generation(slot);
  if (!completion.has_more()) socket.receive = Receive::kIdle;
  if (socket.stage != Stage::kAttached || socket.failed) return;
  if (completion.result > 0) {
    if (socket.leaving) count(env_.counters.moves_off);
    socket.leaving = false;  // it goes on here; follow_moves() may try again
    proxy::TransportEvent event;
    event.kind = proxy::TransportEvent::Kind::kReceived;
    const std::string_view bytes(buffer.get()->data, static_cast<size_t>(completion.result));
    event.data = Slice{std::move(buffer), bytes};
    deliver(slot, event);
  } else if (completion.result == 0) {
    socket.read_ended = true;
    proxy::TransportEvent event;
    event.kind = proxy::TransportEvent::Kind::kPeerFinished;
    deliver(slot, event);
  } else {
    return on_receive_error(slot, completion.result);
  }
  if (is_attached(slot, generation) && socket.receive_wanted) receive_on(slot);
}

// A receive has ended that is still wanted, as far as the engine has said: while more is being
// served it has not looked at what came, and may want a pause.
void Transport::receive_on(uint32_t slot) {
  if (!is_followed_) return start_receive(slot);
  ended_receives_.push_back({slot, sockets_.generation(slot)});
}

void Transport::on_receive_error(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  switch (-result) {
    case ENOBUFS:
      // Armed again when buffers have come back or more were added, not at once: that would spin.
      count(env_.counters.receive_starved);
      socket.receive = Receive::kStarved;
      starved_.push_back({slot, sockets_.generation(slot)});
      break;
    case ECANCELED:  // paused; wanted again meanwhile?
    case EAGAIN:
    case EINTR:
      if (socket.receive_wanted) receive_on(slot);
      break;
    default:
      fail(slot, -result);
      break;
  }
}

void Transport::rearm_starved() {
  if (starved_.empty() || env_.buffers.free() == 0) return;
  for (const SlotLife& life : starved_) {
    Socket* socket = sockets_.find(life.slot, life.generation);
    if (socket == nullptr || socket->receive != Receive::kStarved) continue;
    socket->receive = Receive::kIdle;
    if (socket->stage == Stage::kAttached && socket->receive_wanted) start_receive(life.slot);
  }
  starved_.clear();
}

void Transport::on_send(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  if (result == -EAGAIN) return on_nothing_taken(slot);
  if (result >= 0 && static_cast<size_t>(result) < socket.send_total) {
    count(env_.counters.short_sends);
  }
  if (socket.stage == Stage::kFlushing) return on_flush_progress(slot, result);
  socket.send_busy = false;
  if (socket.stage != Stage::kAttached) return;
  if (socket.failed) return report_failure(slot, socket.failure_errno);
  if (result < 0) return fail(slot, -result);
  const bool complete = static_cast<size_t>(result) == socket.send_total;
  if (socket.shutdown_wanted && complete) start_shutdown(slot);
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kSent;
  event.sent_bytes = static_cast<size_t>(result);
  if (socket.downstream && socket.read_ended) watch_for_reset(slot);
  deliver(slot, event);
}

// A quiet send found no room in the socket: once more, and the ring waits for it.
void Transport::on_nothing_taken(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  if (socket.stage == Stage::kFlushing) return on_flush_progress(slot, 0);
  socket.send_busy = false;
  if (socket.stage != Stage::kAttached) return;
  if (socket.failed) return report_failure(slot, socket.failure_errno);
  start_send(slot, socket.parts, socket.part_count, false);
}

// After an orderly kClose: the rest of what was sent is still owed to the peer.
void Transport::on_flush_progress(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  socket.send_busy = false;
  if (result < 0) {
    socket.abort = true;
    return close_now(slot);
  }
  auto sent = static_cast<size_t>(result);
  std::vector<iovec>& parts = rare(socket).parts;
  size_t first = 0;
  while (first < parts.size() && sent >= parts[first].iov_len) sent -= parts[first++].iov_len;
  if (first == parts.size()) return close_now(slot);
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(first));
  parts[0].iov_base = static_cast<char*>(parts[0].iov_base) + sent;
  parts[0].iov_len -= sent;
  start_send(slot, parts.data(), static_cast<uint32_t>(parts.size()), false);
}

void Transport::check_deadlines() {
  std::erase_if(flushing_, [this](const SlotLife& life) {
    Socket* socket = sockets_.find(life.slot, life.generation);
    if (socket == nullptr || socket->stage != Stage::kFlushing) return true;
    if (now_ < rare(*socket).flush_deadline) return false;
    socket->abort = true;
    close_now(life.slot);
    return true;
  });
}

void Transport::on_connect(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  if (socket.stage != Stage::kAttached) return;
  const uint32_t generation = sockets_.generation(slot);
  if (result < 0) {
    count(env_.counters.upstream_failed);
    return fail(slot, -result);
  }
  count(env_.counters.upstream_opened);
  socket.opened = true;
  socket.rare.reset();
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kOpened;
  deliver(slot, event);
  if (is_attached(slot, generation) && socket.receive_wanted) start_receive(slot);
}

void Transport::on_pod_writable(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  if (socket.stage != Stage::kAttached) return;
  if (result < 0) {
    count(env_.counters.upstream_failed);
    return fail(slot, -result);
  }
  // connect() on a socket whose connect has ended says how it ended.
  submit_connect(slot, rare(socket).target->remote);
}

// A FIN is told in its order, behind what was sent before it; a reset leaves nothing to be read.
void Transport::on_watch(uint32_t slot, int32_t result) {
  Socket& socket = sockets_.at(slot);
  socket.watched = false;
  const bool is_reset = result > 0 && (result & POLLERR) != 0;
  if (is_reset && socket.stage == Stage::kAttached) fail(slot, ECONNRESET);
}

void Transport::deliver(uint32_t slot, proxy::TransportEvent& event) {
  event.is_followed = is_followed_;
  is_unsettled_ = is_followed_;
  env_.engine.on_transport(sockets_.at(slot).connection, event, now_, actions_);
  perform();
}

// The connection is dead. The engine answers kClose, at once or when it has read what came before;
// until then the slot is kept and nothing more is reported.
void Transport::fail(uint32_t slot, int errno_value) {
  Socket& socket = sockets_.at(slot);
  if (socket.failed) return;
  socket.failed = true;
  socket.read_ended = true;
  if (!socket.send_busy) return report_failure(slot, errno_value);
  // The engine may reuse the bytes of its send as soon as it hears of the failure: first the send
  // has to end.
  socket.failure_errno = static_cast<int16_t>(errno_value);
  env_.ring.cancel(tag(slot, Op::kSend), tag(slot, Op::kCancel));
  ++socket.in_flight;
}

void Transport::report_failure(uint32_t slot, int errno_value) {
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kFailed;
  event.failure = failure_of(errno_value);
  deliver(slot, event);
}

void Transport::fail_later(proxy::ConnectionId connection, int errno_value) {
  deferred_.push_back({connection, errno_value});
}

void Transport::report_deferred() {
  // What the engine's answers make fail in turn waits for the next iteration, so that an engine
  // that tries again at once cannot keep the shard in here.
  const std::vector<Deferred> found = std::exchange(deferred_, {});
  for (const Deferred& next : found) {
    const uint32_t slot = slot_of(next.connection);
    if (slot != kNoSlot) {
      fail(slot, next.errno_value);
      continue;
    }
    proxy::TransportEvent event;
    event.kind = proxy::TransportEvent::Kind::kFailed;
    event.failure = failure_of(next.errno_value);
    env_.engine.on_transport(next.connection, event, now_, actions_);
    perform();
  }
}

}  // namespace np::shard
