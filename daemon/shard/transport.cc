// SPDX-License-Identifier: Apache-2.0
// Transport: the engine's Actions, and the end of a socket. Completions: transport_events.cc.
#include "shard/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace np::shard {
namespace {

constexpr linger kResetOnClose{1, 0};
constexpr linger kCloseInOrder{0, 0};
// Places that upstream connections leave to clients: the last 1/16, at most so many. A client that
// takes one of them ends an upstream connection that idles, so that they do not run out.
constexpr uint32_t kPlacesForClients = 256;
constexpr uint32_t kPlacesPart = 16;
constexpr uint32_t kSendPartsMax = 1024;  // UIO_MAXIOV

void set_int(int fd, int level, int name, uint32_t value) {
  // Refused only for values out of the kernel's range; the connection is usable all the same.
  const int number = static_cast<int>(value);
  (void)::setsockopt(fd, level, name, &number, sizeof number);
}

void set_upstream_options(int fd, const proxy::ConnectTarget& target) {
  set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (target.keepalive) {
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (target.keepalive_probes > 0) {
      set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, target.keepalive_probes);
    }
    if (target.keepalive_time_s > 0) {
      set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, target.keepalive_time_s);
    }
    if (target.keepalive_interval_s > 0) {
      set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, target.keepalive_interval_s);
    }
  }
  if (target.abort_on_crash) {
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &kResetOnClose, sizeof kResetOnClose);
  }
}

}  // namespace

Transport::Transport(const TransportOptions& options, const Environment& environment)
    : options_(options),
      env_(environment),
      sockets_(options.sockets_max),
      is_over_(FairQueue::kLines) {
  actions_.reserve(64);
}

// Sockets in the fixed table are closed with the ring; others here.
Transport::~Transport() {
  sockets_.for_each([](uint32_t, Socket& socket) {
    if (!socket.file.fixed && socket.file.number >= 0) ::close(socket.file.number);
  });
}

bool Transport::make_place() {
  if (sockets_.used() >= upstream_max() && closing_ == 0) {
    env_.engine.make_room(now_, actions_);
    perform();
  }
  return sockets_.used() < options_.sockets_max || closing_ == 0;
}

void Transport::adopt(AdoptConnection connection) {
  const uint32_t slot = sockets_.acquire();
  if (slot == kNoSlot && connection.is_continued) return arrivals_.push_back(std::move(connection));
  if (slot == kNoSlot) {
    count(env_.counters.refused_full);
    env_.peers.status[options_.shard].load.fetch_sub(1, std::memory_order_relaxed);
    return;  // the descriptor closes: the listener's linger makes it a reset
  }
  count(connection.is_continued ? env_.counters.taken_in : env_.counters.adopted);
  Socket& socket = sockets_.at(slot);
  socket.downstream = true;
  socket.opened = true;
  socket.resets_on_close = true;
  if (connection.is_continued) {
    socket.record = connection.record;
    socket.window = static_cast<uint16_t>(window_ + options_.balance.stays_windows);
  } else if (connection.captured) {
    socket.record = env_.records.acquire(connection.peer, connection.local, now_);
    if (socket.record == nullptr) count(env_.counters.records_exhausted);
  }
  install(slot, connection.fd.release());
  proxy::Accepted accepted;
  accepted.captured = connection.captured;
  accepted.peer = connection.peer;
  accepted.local = connection.local;
  accepted.record = socket.record;
  accepted.is_continued = connection.is_continued;
  attach(env_.engine.accept(accepted, now_, actions_), slot);
  if (socket.record != nullptr) socket.line = line_of(socket.record->pod_id);
  perform();
}

void Transport::set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot) {
  env_.engine.set_snapshot(std::move(snapshot), now_, actions_);
  perform();
}

void Transport::on_time() {
  env_.engine.on_time(now_, actions_);
  perform();
}

void Transport::on_wake() {
  is_unsettled_ = false;
  env_.engine.on_wake(now_, actions_);
  perform();
}

void Transport::drain() {
  env_.engine.drain(now_, actions_);
  perform();
}

void Transport::relieve(const MemoryPressure& pressure) {
  constexpr size_t kKibi = 1024;
  const size_t part = kKibi * pressure.excess_kib / env_.peers.status.size();
  env_.engine.relieve(pressure.stage, part, now_, actions_);
  perform();
}

uint32_t Transport::upstream_max() const {
  return options_.sockets_max - std::min(kPlacesForClients, options_.sockets_max / kPlacesPart);
}

uint32_t Transport::slot_of(proxy::ConnectionId connection) {
  if (connection.slot >= by_connection_.size()) return kNoSlot;
  const uint32_t slot = by_connection_[connection.slot];
  if (slot == kNoSlot || sockets_.at(slot).connection != connection) return kNoSlot;
  return slot;
}

bool Transport::is_attached(uint32_t slot, uint32_t generation) {
  const Socket* socket = sockets_.find(slot, generation);
  return socket != nullptr && socket->stage == Stage::kAttached;
}

Transport::Rare& Transport::rare(Socket& socket) {
  if (socket.rare == nullptr) socket.rare = std::make_unique<Rare>();
  return *socket.rare;
}

void Transport::attach(proxy::ConnectionId connection, uint32_t slot) {
  if (connection.slot >= by_connection_.size()) {
    by_connection_.resize(std::max<size_t>(connection.slot + 1, by_connection_.size() * 2),
                          kNoSlot);
  }
  by_connection_[connection.slot] = slot;
  sockets_.at(slot).connection = connection;
}

void Transport::install(uint32_t slot, int fd) {
  Socket& socket = sockets_.at(slot);
  if (!env_.ring.features().fixed_files) {
    socket.file = {fd, false};
    return;
  }
  // Both run in order at submit, before anything that uses the slot.
  env_.ring.install_file(scratch_.make<int32_t>(fd), slot, tag(slot, Op::kInstall));
  env_.ring.close_fd(fd, tag(slot, Op::kCloseFd));
  socket.file = {static_cast<int32_t>(slot), true};
}

void Transport::perform() {
  for (proxy::Action& action : actions_) perform(action);
  actions_.clear();
}

void Transport::perform(proxy::Action& action) {
  using Kind = proxy::Action::Kind;
  if (action.kind == Kind::kConnect) return connect(action);
  const uint32_t slot = slot_of(action.connection);
  if (slot == kNoSlot) {  // failed in this very step, or waits for a place
    if (action.kind == Kind::kClose) forget_waiting(action.connection);
    return;
  }
  switch (action.kind) {
    case Kind::kConnect:
      break;
    case Kind::kReceive:
      start_receive(slot);
      break;
    case Kind::kPauseReceive:
      pause_receive(slot);
      break;
    case Kind::kSend:
      if (Socket& socket = sockets_.at(slot); !socket.downstream) {
        socket.line = line_of(action.pod_id);
      }
      start_send(slot, action.iov, action.iov_count, action.may_be_told_late);
      break;
    case Kind::kShutdownWrite:
      start_shutdown(slot);
      break;
    case Kind::kClose:
      start_close(slot, action);
      break;
  }
}

void Transport::connect(const proxy::Action& action) {
  // A socket that is being closed leaves its place in a moment; without one the engine has to close
  // something first.
  if (sockets_.used() < upstream_max()) return connect(action.connection, action.target);
  if (waiting_.size() >= detached_) return fail_later(action.connection, EMFILE);
  count(env_.counters.connects_delayed);
  waiting_.push_back({action.connection, action.target});
}

void Transport::connect_waiting() {
  if (waiting_.empty()) return;
  const WaitingConnect next = waiting_.front();
  waiting_.pop_front();
  connect(next.connection, next.target);
}

void Transport::forget_waiting(proxy::ConnectionId connection) {
  std::erase_if(waiting_, [&](const WaitingConnect& one) { return one.connection == connection; });
}

void Transport::connect(proxy::ConnectionId connection, const proxy::ConnectTarget& target) {
  const uint32_t slot = sockets_.acquire();
  if (slot == kNoSlot) return fail_later(connection, EMFILE);
  attach(connection, slot);
  if (target.lender != proxy::ConnectTarget::kNobody) return ask_lender(slot, target);
  dial(slot, target);
}

void Transport::dial(uint32_t slot, const proxy::ConnectTarget& target) {
  // A pod that dials itself through its own address would wait for ever (R28).
  const bool from_pod = target.source_pod && target.source_ip != target.remote.ip;
  if (from_pod && ask_for_pod_socket(slot, target)) return;
  if (from_pod) count(env_.counters.pod_source_fallbacks);
  connect_from_node(slot, target);
}

bool Transport::ask_for_pod_socket(uint32_t slot, const proxy::ConnectTarget& target) {
  if (env_.pod_sockets == nullptr) return false;
  PodSocketRequest request;
  request.shard = options_.shard;
  request.slot = slot;
  request.generation = sockets_.generation(slot);
  request.remote = target.remote;
  request.source = target.source_ip;
  if (!env_.pod_sockets->ask(request)) return false;
  Socket& socket = sockets_.at(slot);
  rare(socket).target = std::make_unique<proxy::ConnectTarget>(target);
  ++socket.in_flight;
  return true;
}

void Transport::connect_from_node(uint32_t slot, const proxy::ConnectTarget& target) {
  Socket& socket = sockets_.at(slot);
  // Not SOCK_NONBLOCK: the ring would answer EAGAIN instead of waiting.
  const int fd =
      ::socket(target.remote.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_later(socket.connection, errno);
  set_upstream_options(fd, target);
  socket.resets_on_close = target.abort_on_crash;
  install(slot, fd);
  submit_connect(slot, target.remote);
}

void Transport::submit_connect(uint32_t slot, const SocketAddress& remote) {
  Socket& socket = sockets_.at(slot);
  sockaddr_storage whole{};
  const unsigned length = remote.to_sockaddr(&whole);
  sockaddr_in6* address = scratch_.make<sockaddr_in6>({});  // large enough for both families
  std::memcpy(address, &whole, length);
  env_.ring.connect(socket.file, reinterpret_cast<const sockaddr*>(address), length,
                    tag(slot, Op::kConnect));
  ++socket.in_flight;
}

void Transport::on_pod_socket(PodSocketReady ready) {
  Socket* socket = sockets_.find(ready.slot, ready.generation);
  if (socket == nullptr) {
    count(env_.counters.stale_completions);
    return;
  }
  --socket->in_flight;
  if (socket->stage != Stage::kAttached) return release_if_done(ready.slot);
  const proxy::ConnectTarget* target = rare(*socket).target.get();
  if (!ready.fd.is_open()) {
    // No free port for this remote, or the address cannot be bound: never the client's problem.
    count(env_.counters.pod_source_fallbacks);
    return connect_from_node(ready.slot, *target);
  }
  set_upstream_options(ready.fd.get(), *target);
  socket->resets_on_close = target->abort_on_crash;
  install(ready.slot, ready.fd.release());
  env_.ring.poll_writable(socket->file, tag(ready.slot, Op::kPodWritable));
  ++socket->in_flight;
}

void Transport::start_receive(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.receive_wanted = true;
  if (!socket.opened || socket.read_ended || socket.receive != Receive::kIdle) return;
  if (socket.leaving) return;
  if (holds_too_much(socket)) {
    socket.receive = Receive::kHeld;
    held_.push_back({slot, sockets_.generation(slot)});
    count(env_.pod_use[socket.line].receives_held);
    watch(slot);
    return;
  }
  env_.ring.receive_multishot(socket.file, env_.buffers.group(), tag(slot, Op::kReceive));
  socket.receive = Receive::kArmed;
  ++socket.in_flight;
}

void Transport::pause_receive(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.receive_wanted = false;
  if (socket.receive == Receive::kArmed) cancel_receive(slot);
  watch(slot);
}

// No receive would say that the client has reset the connection, and its request might go on for
// nobody. Stays when the receive is armed again, until something happens or the file is closed.
void Transport::watch(uint32_t slot) {
  const Socket& socket = sockets_.at(slot);
  if (socket.downstream && !socket.read_ended) watch_for_reset(slot);
}

// Also behind its FIN: who has closed the socket answers what is sent to it with a reset.
void Transport::watch_for_reset(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  if (socket.watched) return;
  socket.watched = true;
  env_.ring.poll_end(socket.file, tag(slot, Op::kWatch));
  ++socket.in_flight;
}

void Transport::cancel_receive(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  env_.ring.cancel(tag(slot, Op::kReceive), tag(slot, Op::kCancel));
  socket.receive = Receive::kCancelling;
  ++socket.in_flight;
}

void Transport::start_send(uint32_t slot, const iovec* parts, uint32_t part_count, bool is_quiet) {
  Socket& socket = sockets_.at(slot);
  if (socket.failed) return;
  NP_CHECK(!socket.send_busy && part_count > 0);
  part_count = std::min(part_count, kSendPartsMax);
  socket.send_busy = true;
  socket.parts = parts;
  socket.part_count = static_cast<uint16_t>(part_count);
  size_t total = 0;
  for (uint32_t i = 0; i < part_count; ++i) total += parts[i].iov_len;
  NP_CHECK(total <= INT32_MAX);  // what a completion can say was sent
  socket.send_total = static_cast<uint32_t>(total);
  socket.send_quiet = is_quiet;
  if (is_quiet) quiet_.push_back({slot, sockets_.generation(slot)});
  const uint64_t own = tag(slot, Op::kSend);
  if (part_count == 1) {
    const auto send = is_quiet ? &uring::Ring::send_quietly : &uring::Ring::send;
    (env_.ring.*send)(socket.file, parts->iov_base, parts->iov_len, own);
  } else {
    msghdr* message = scratch_.make<msghdr>({});
    message->msg_iov = const_cast<iovec*>(parts);
    message->msg_iovlen = part_count;
    const auto send = is_quiet ? &uring::Ring::send_message_quietly : &uring::Ring::send_message;
    (env_.ring.*send)(socket.file, message, own);
  }
  ++socket.in_flight;
}

void Transport::start_shutdown(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.shutdown_wanted = socket.send_busy;
  if (socket.send_busy || socket.failed) return;
  env_.ring.shutdown_write(socket.file, tag(slot, Op::kShutdown));
  ++socket.in_flight;
}

void Transport::start_close(uint32_t slot, proxy::Action& action) {
  Socket& socket = sockets_.at(slot);
  socket.abort = action.abortive || socket.failed;
  if (action.keep_alive != nullptr) rare(socket).keep_alive = std::move(action.keep_alive);
  detach(slot);
  if (!socket.send_busy || socket.abort) return close_now(slot);
  // A copy of our own, because a short send moves its beginning.
  rare(socket).parts.assign(socket.parts, socket.parts + socket.part_count);
  rare(socket).flush_deadline = now_ + options_.close_flush_max;
  socket.stage = Stage::kFlushing;
  flushing_.push_back({slot, sockets_.generation(slot)});
}

void Transport::detach(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  by_connection_[socket.connection.slot] = kNoSlot;
  ++detached_;
  if (socket.record != nullptr) give_back_record(socket.record);
  socket.record = nullptr;
  if (socket.downstream) {
    env_.peers.status[options_.shard].load.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Transport::set_linger(uint32_t slot, bool reset_on_close) {
  Socket& socket = sockets_.at(slot);
  const linger& value = reset_on_close ? kResetOnClose : kCloseInOrder;
  socket.resets_on_close = reset_on_close;
  if (socket.file.fixed) {
    env_.ring.set_socket_option(socket.file, SOL_SOCKET, SO_LINGER, &value, sizeof value,
                                tag(slot, Op::kSetOption));
  } else {
    (void)::setsockopt(socket.file.number, SOL_SOCKET, SO_LINGER, &value, sizeof value);
  }
}

void Transport::close_now(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.stage = Stage::kClosing;
  ++closing_;
  count(env_.counters.closed);
  if (socket.file.number >= 0) {
    // These run in this order at submit; a receive that is waiting holds the file until its
    // cancellation has completed, so the peer sees FIN or RST only after that.
    if (socket.in_flight > 0) cancel_all(slot);
    if (socket.abort != socket.resets_on_close) set_linger(slot, socket.abort);
    if (socket.file.fixed) {
      env_.ring.close_file(slot, tag(slot, Op::kCloseFile));
      ++socket.in_flight;
    } else {
      env_.ring.close_fd(socket.file.number, tag(slot, Op::kCloseFd));
    }
    socket.file = {};
  }
  release_if_done(slot);
}

// Whatever may wait for the socket; the others of its operations end without waiting.
void Transport::cancel_all(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  const auto cancel = [&](bool may_wait, Op op) {
    if (!may_wait) return;
    env_.ring.cancel(tag(slot, op), tag(slot, Op::kCancel));
    ++socket.in_flight;
  };
  cancel(socket.receive == Receive::kArmed || socket.receive == Receive::kCancelling, Op::kReceive);
  cancel(socket.send_busy, Op::kSend);
  cancel(socket.watched, Op::kWatch);
  cancel(!socket.opened, Op::kConnect);
  cancel(!socket.opened, Op::kPodWritable);
}

void Transport::release_if_done(uint32_t slot) {
  const Socket& socket = sockets_.at(slot);
  if (socket.stage != Stage::kClosing || socket.in_flight > 0) return;
  --detached_;
  --closing_;
  sockets_.release(slot);
  connect_waiting();
}

}  // namespace np::shard
