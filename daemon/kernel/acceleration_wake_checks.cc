// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "kernel/acceleration_checks.h"
#include "kernel/socket_steps.h"
#include "uring/wake_probe.h"

namespace np::kernel {
namespace {

using uring::WakeProbe;

constexpr int kPatienceMs = static_cast<int>(kPairPatience / std::chrono::milliseconds(1));

class Epoll {
 public:
  static Result<Epoll> watch(int socket, uint32_t events) {
    Epoll epoll;
    epoll.fd_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = events;
    if (!epoll.fd_.is_open() || ::epoll_ctl(epoll.fd_.get(), EPOLL_CTL_ADD, socket, &event) != 0) {
      return system_error(errno, "make an epoll");
    }
    return epoll;
  }
  // The events reported within `patience_ms`; 0: none.
  uint32_t wait(int patience_ms) {
    epoll_event event{};
    const int count = again([&] { return ::epoll_wait(fd_.get(), &event, 1, patience_ms); });
    return count == 1 ? static_cast<uint32_t>(event.events) : 0U;
  }

 private:
  Fd fd_;
};

Result<void> check_level(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const int server = pair.server.get();
  NP_TRY_ASSIGN(Epoll epoll, Epoll::watch(server, EPOLLIN | EPOLLRDHUP));
  if (epoll.wait(0) != 0) return seen("level: an event before the first byte");
  {
    const LatePut late(pair.client.get(), "first");
    if ((epoll.wait(kPatienceMs) & EPOLLIN) == 0) return seen("level: no wake-up");
  }
  if ((epoll.wait(0) & EPOLLIN) == 0) return seen("level: unread bytes are reported once only");
  NP_TRY(expect_bytes(server, "first"));
  if (epoll.wait(0) != 0) return seen("level: an event after the last byte was read");
  (void)::shutdown(pair.client.get(), SHUT_WR);
  if ((epoll.wait(kPatienceMs) & EPOLLRDHUP) == 0) return seen("level: no wake-up by the end");
  return ok();
}

Result<void> check_edge(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY_ASSIGN(Epoll epoll, Epoll::watch(pair.server.get(), EPOLLIN | EPOLLET));
  for (const char* text : {"first", "second"}) {
    const LatePut late(pair.client.get(), text);
    if ((epoll.wait(kPatienceMs) & EPOLLIN) == 0) {
      return seen("edge: no wake-up by the " + std::string(text) + " message");
    }
    NP_TRY(expect_bytes(pair.server.get(), text));
  }
  // A reader that leaves bytes and waits is woken by the next ones.
  NP_TRY(put(pair.client.get(), "third"));
  if ((epoll.wait(kPatienceMs) & EPOLLIN) == 0) return seen("edge: no wake-up by the third");
  const LatePut late(pair.client.get(), "fourth");
  if ((epoll.wait(kPatienceMs) & EPOLLIN) == 0) {
    return seen("edge: no wake-up while older bytes are unread");
  }
  return ok();
}

// What the probe says to one message of `size` bytes that comes while it waits.
Result<void> expect_wake(WakeProbe& probe, int sender, const std::string& bytes, int wanted,
                         const std::string& what) {
  const LatePut late(sender, bytes);
  const std::optional<int> got = probe.wait(kPairPatience);
  if (!got) return seen(what + ": no completion within " + std::to_string(kPatienceMs) + " ms");
  if (*got == wanted || (wanted == POLLIN && *got > 0 && (*got & POLLIN) != 0)) return ok();
  return seen(what + ": completed with " + std::to_string(*got) + ", not " +
              std::to_string(wanted));
}

}  // namespace

Result<std::string> check_epoll(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY(check_level(pairs, family));
  NP_TRY(check_edge(pairs, family));
  return std::string("level and edge wake by bytes and by the end");
}

Result<std::string> check_io_uring(ConnectedPairs& pairs, LoopbackFamily family) {
  struct Case {
    WakeProbe::Kind kind;
    const char* name;
    bool is_repeated;
  };
  constexpr int kBytes = 5;
  for (const Case& one : {Case{WakeProbe::Kind::kReceive, "recv", false},
                          Case{WakeProbe::Kind::kReceiveMultishot, "multishot recv", true},
                          Case{WakeProbe::Kind::kPoll, "poll", false}}) {
    NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
    NP_TRY_ASSIGN(const auto probe, WakeProbe::arm(pair.server.get(), one.kind));
    const int wanted = one.kind == WakeProbe::Kind::kPoll ? POLLIN : kBytes;
    NP_TRY(expect_wake(*probe, pair.client.get(), "first", wanted, one.name));
    if (!one.is_repeated) continue;
    NP_TRY(expect_wake(*probe, pair.client.get(), "again", wanted, one.name));
  }
  return std::string("recv, multishot recv and poll complete");
}

Result<std::string> check_partial_read(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const int server = pair.server.get();
  NP_TRY_ASSIGN(Epoll epoll, Epoll::watch(server, EPOLLIN));
  NP_TRY(put(pair.client.get(), "abcdef"));
  NP_TRY(put(pair.client.get(), "ghi"));
  for (const char* part : {"abcd", "ef", "g"}) {
    NP_TRY(expect_bytes(server, part));
    NP_TRY(expect_poll(server, POLLIN));
    if ((epoll.wait(0) & EPOLLIN) == 0) return seen("epoll does not report the rest");
    NP_TRY_ASSIGN(const auto probe, WakeProbe::arm(server, WakeProbe::Kind::kPoll));
    const std::optional<int> flags = probe->wait(kPairPatience);
    if (!flags || (*flags & POLLIN) == 0) return seen("io_uring's poll does not report the rest");
  }
  NP_TRY(expect_bytes(server, "hi"));
  NP_TRY(expect_nothing(server));
  if (epoll.wait(0) != 0) return seen("epoll reports bytes where none are left");
  return std::string("the rest is reported until it is read");
}

}  // namespace np::kernel
