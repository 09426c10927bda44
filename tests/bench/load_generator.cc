// SPDX-License-Identifier: Apache-2.0
#include "load_generator.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <ctime>

#include "base/check.h"

namespace np::bench {
namespace {

constexpr Duration kOpenAllLimit = std::chrono::seconds(30);
constexpr Duration kExpiryCheckEvery = std::chrono::milliseconds(100);
constexpr Duration kLongestWait = std::chrono::milliseconds(10);
constexpr size_t kReadBytes = 256 * 1024;

std::string request_text(const LoadOptions& options) {
  std::string text =
      options.method + " " + options.path + " HTTP/1.1\r\nHost: " + options.host + "\r\n";
  for (const std::string& header : options.headers) text += header + "\r\n";
  if (options.body_bytes > 0)
    text += "Content-Length: " + std::to_string(options.body_bytes) + "\r\n";
  if (options.new_connection_each) text += "Connection: close\r\n";
  return text + "\r\n" + std::string(options.body_bytes, 'x');
}

}  // namespace

LoadGenerator::LoadGenerator(const LoadOptions& options)
    : options_(options),
      request_(request_text(options)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      rng_(options.seed) {
  for (uint32_t i = 0; i < options_.connections; ++i) {
    peers_.push_back(std::make_unique<Peer>());
    peers_.back()->index = i;
    idle_.push_back(i);
  }
}

bool LoadGenerator::open(Peer& peer) {
  sockaddr_storage address{};
  const unsigned length = options_.target.to_sockaddr(&address);
  peer.fd.reset(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  peer.connected = false;
  if (!peer.fd.is_open()) return false;
  const int on = 1;
  ::setsockopt(peer.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const int status = ::connect(peer.fd.get(), reinterpret_cast<sockaddr*>(&address), length);
  if (status != 0 && errno != EINPROGRESS) {
    peer.fd.reset();
    return false;
  }
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.u32 = peer.index}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, peer.fd.get(), &event);
  ++report_.connections_opened;
  return true;
}

// Opens every connection before the clock starts, so that a run measures requests, not handshakes.
void LoadGenerator::open_all() {
  const Instant limit = monotonic_now() + kOpenAllLimit;
  size_t waiting = 0;
  for (auto& peer : peers_) {
    if (open(*peer)) ++waiting;
  }
  std::array<epoll_event, 512> events{};
  while (waiting > 0 && monotonic_now() < limit) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 100);
    for (int i = 0; i < count; ++i) {
      Peer& peer = *peers_[events[static_cast<size_t>(i)].data.u32];
      if (peer.connected || !peer.fd.is_open()) continue;
      --waiting;
      if ((events[static_cast<size_t>(i)].events & (EPOLLERR | EPOLLHUP)) != 0) {
        peer.fd.reset();
        ++report_.connect_errors;
      } else {
        peer.connected = true;
      }
    }
  }
}

void LoadGenerator::begin(Peer& peer, Instant due) {
  ++busy_;
  peer.busy = true;
  peer.due = due;
  peer.sent_bytes = 0;
  peer.was_reset = false;
  peer.reader.start(options_.method == "HEAD");
  if (!peer.fd.is_open() && !open(peer)) {
    fail(peer, report_.connect_errors);
    return;
  }
  if (is_counted(due)) ++report_.sent;
  if (peer.connected) flush(peer);
}

void LoadGenerator::flush(Peer& peer) {
  while (peer.busy && peer.sent_bytes < request_.size()) {
    const ssize_t sent = ::send(peer.fd.get(), request_.data() + peer.sent_bytes,
                                request_.size() - peer.sent_bytes, MSG_NOSIGNAL);
    if (sent < 0) {
      // An answer may have come before a reset, so reading goes on; but the kernel tells of the
      // reset once only, and what reads afterwards finds an end.
      peer.was_reset |= errno == ECONNRESET;
      return;
    }
    peer.sent_bytes += static_cast<size_t>(sent);
  }
}

void LoadGenerator::on_event(Peer& peer, uint32_t events) {
  if (!peer.fd.is_open()) return;
  if (!peer.connected) {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      fail(peer, report_.connect_errors);
      return;
    }
    peer.connected = true;
  }
  if (peer.busy) flush(peer);
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) on_readable(peer);
}

void LoadGenerator::on_readable(Peer& peer) {
  static std::array<char, kReadBytes> buffer;
  while (peer.fd.is_open()) {
    const ssize_t got = ::recv(peer.fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      if (!peer.busy) {
        peer.fd.reset();  // the server closed an idle connection: the next request opens a new one
        peer.connected = false;
      } else if (got < 0 || peer.was_reset) {
        fail(peer, report_.reset_errors);
      } else if (peer.reader.on_close() == ResponseReader::State::kComplete &&
                 peer.reader.began()) {
        finish(peer, false);
      } else {
        fail(peer, peer.reader.began() ? report_.truncated_errors : report_.unanswered_closes);
      }
      return;
    }
    size_t used = 0;
    const std::string_view bytes(buffer.data(), static_cast<size_t>(got));
    const auto state = peer.reader.on_bytes(bytes, used);
    if (state == ResponseReader::State::kBroken || !peer.busy) {
      fail(peer, report_.truncated_errors);
      return;
    }
    if (state == ResponseReader::State::kComplete) {
      finish(peer, !peer.reader.closes() && !options_.new_connection_each);
      return;
    }
  }
}

void LoadGenerator::finish(Peer& peer, bool keep) {
  const Instant now = monotonic_now();
  if (is_counted(peer.due)) {
    report_.latency.record(static_cast<uint64_t>((now - peer.due).count()));
    ++report_.by_status[peer.reader.status()];
    report_.body_bytes += peer.reader.body_bytes();
  }
  peer.busy = false;
  --busy_;
  if (!keep) {
    peer.fd.reset();
    peer.connected = false;
  }
  idle_.push_back(peer.index);
}

void LoadGenerator::fail(Peer& peer, uint64_t& counter) {
  ++counter;
  if (peer.busy) {
    peer.busy = false;
    --busy_;
    idle_.push_back(peer.index);
  }
  peer.fd.reset();
  peer.connected = false;
}

bool LoadGenerator::exhausted(Instant now) const {
  if (options_.requests > 0) return issued_ >= options_.requests;
  return now >= measuring_from_ + options_.duration;
}

Duration LoadGenerator::next_gap() {
  const double mean_ns = 1e9 / options_.rate;
  if (!options_.poisson) return Duration(static_cast<int64_t>(mean_ns));
  // 53 bits make a number in (0, 1]: its logarithm is finite.
  const double uniform = static_cast<double>((rng_.next() >> 11U) + 1) * 0x1p-53;
  return Duration(static_cast<int64_t>(-std::log(uniform) * mean_ns));
}

void LoadGenerator::release_by_schedule(Instant now) {
  while (next_due_ <= now && !exhausted(next_due_)) {
    backlog_.push_back(next_due_);
    if (is_counted(next_due_)) ++issued_;
    next_due_ += next_gap();
  }
  while (!backlog_.empty() && !idle_.empty()) {
    Peer& peer = *peers_[idle_.back()];
    idle_.pop_back();
    const Instant due = backlog_.front();
    backlog_.pop_front();
    begin(peer, due);
  }
}

void LoadGenerator::release_due(Instant now) {
  if (options_.rate > 0) {
    release_by_schedule(now);
    return;
  }
  // One pass over those idle now: a connection that fails at once must not spin here.
  for (size_t i = idle_.size(); i > 0 && !exhausted(now); --i) {
    Peer& peer = *peers_[idle_.front()];
    idle_.pop_front();
    const Instant due = monotonic_now();
    if (is_counted(due)) ++issued_;
    begin(peer, due);
  }
}

void LoadGenerator::note_measuring(Instant now) {
  if (measuring_ || now < measuring_from_) return;
  measuring_ = true;
  if (options_.on_measuring) options_.on_measuring();
}

void LoadGenerator::expire(Instant now) {
  if (now - last_expiry_check_ < kExpiryCheckEvery) return;
  last_expiry_check_ = now;
  for (auto& peer : peers_) {
    if (peer->busy && now - peer->due > options_.timeout) fail(*peer, report_.timeout_errors);
  }
}

Duration LoadGenerator::wait_time(Instant now) const {
  if (options_.rate <= 0) return idle_.empty() ? kLongestWait : Duration::zero();
  if (!backlog_.empty() && !idle_.empty()) return Duration::zero();
  if (exhausted(next_due_)) return kLongestWait;
  const Duration until = next_due_ - now - options_.spin;
  return std::clamp(until, Duration::zero(), kLongestWait);
}

LoadReport LoadGenerator::run() {
  // Without it a sleep ends up to 50 us late, which is as much as what is measured.
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  if (!options_.new_connection_each) open_all();
  next_due_ = last_expiry_check_ = monotonic_now();
  measuring_from_ = next_due_ + options_.warm_up;
  std::array<epoll_event, 512> events{};
  for (;;) {
    const Instant now = monotonic_now();
    note_measuring(now);
    release_due(now);
    expire(now);
    const bool issued_all = exhausted(options_.rate > 0 ? next_due_ : now);
    if (issued_all && busy_ == 0 && backlog_.empty()) break;
    const int64_t wait_ns = wait_time(now).count();  // below a second
    const timespec wait{.tv_sec = 0, .tv_nsec = wait_ns};
    const int count = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                     &wait, nullptr);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      on_event(*peers_[event.data.u32], event.events);
    }
  }
  report_.elapsed = monotonic_now() - measuring_from_;
  return report_;
}

}  // namespace np::bench
