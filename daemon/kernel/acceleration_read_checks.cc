// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "bpf/abi/np_acceleration_abi.h"
#include "kernel/acceleration_checks.h"
#include "kernel/socket_steps.h"

namespace np::kernel {
namespace {

// Two of them are more than the window: the first is redirected, the second goes over the stack.
constexpr size_t kHalfBytes = size_t{NP_ACC_WINDOW_BYTES} * 5 / 8;

Result<void> expect_count(int socket, size_t wanted, const std::string& when) {
  int count = -1;
  if (::ioctl(socket, FIONREAD, &count) != 0) {
    return seen(when + ": FIONREAD fails: " + system_error(errno, "").detail);
  }
  if (static_cast<size_t>(count) == wanted) return ok();
  return seen(when + ": FIONREAD says " + std::to_string(count) + " where " +
              std::to_string(wanted) + " bytes wait");
}

// A message over the stack: nobody redirects to a server that left. Polls, because the stack
// delivers when it likes.
Result<void> count_over_stack(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY(pairs.leave(pair));
  NP_TRY(put(pair.client.get(), pattern(500, 7)));
  NP_TRY(expect_poll(pair.server.get(), POLLIN));
  NP_TRY(pairs.join(pair));
  return expect_count(pair.server.get(), 500, "over the stack before enrolment");
}

// One message of each way, both waiting.
Result<ConnectedPair> pair_with_both(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(ConnectedPair pair, pairs.make(family));
  NP_TRY(put(pair.client.get(), pattern(kHalfBytes, 8)));
  NP_TRY(put(pair.client.get(), pattern(kHalfBytes, 9)));
  // What SIOCOUTQ counts is neither acknowledged nor, on loopback, in the reader's queue.
  for (int tries = 0, unsent = 1; tries < 100 && unsent > 0; ++tries) {
    if (::ioctl(pair.client.get(), TIOCOUTQ, &unsent) != 0) break;
    if (unsent > 0) ::usleep(1000);
  }
  return pair;
}

}  // namespace

Result<std::string> check_fionread(ConnectedPairs& pairs, LoopbackFamily family) {
  {
    NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
    NP_TRY(put(pair.client.get(), pattern(1000, 7)));
    NP_TRY(expect_poll(pair.server.get(), POLLIN));
    NP_TRY(expect_count(pair.server.get(), 1000, "redirected"));
    NP_TRY(take(pair.server.get(), 400));
    NP_TRY(expect_count(pair.server.get(), 600, "redirected, part of it read"));
  }
  NP_TRY(count_over_stack(pairs, family));
  NP_TRY_ASSIGN(const ConnectedPair pair, pair_with_both(pairs, family));
  NP_TRY(expect_count(pair.server.get(), 2 * kHalfBytes, "one message redirected, one not"));
  return std::string("counts what waits, whichever way it came");
}

Result<std::string> check_peek(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY(put(pair.client.get(), "abc"));
  NP_TRY(put(pair.client.get(), "def"));
  NP_TRY(expect_poll(pair.server.get(), POLLIN));
  for (const size_t size : {size_t{2}, size_t{6}}) {
    std::array<char, 6> bytes{};
    const ssize_t got = ::recv(pair.server.get(), bytes.data(), size, MSG_PEEK);
    if (got <= 0 || std::string("abcdef").compare(0, static_cast<size_t>(got), bytes.data(),
                                                  static_cast<size_t>(got)) != 0) {
      return seen("MSG_PEEK shows other bytes than were sent");
    }
  }
  NP_TRY(expect_bytes(pair.server.get(), "abcdef"));
  NP_TRY(expect_nothing(pair.server.get()));
  return std::string("shows what is read afterwards");
}

Result<std::string> check_wait_all(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY(put(pair.client.get(), "1234"));
  const LatePut late(pair.client.get(), "5678");
  std::array<char, 8> bytes{};
  const ssize_t got =
      again([&] { return ::recv(pair.server.get(), bytes.data(), bytes.size(), MSG_WAITALL); });
  if (got == static_cast<ssize_t>(bytes.size())) return std::string("waits for all bytes");
  return seen("recv of 8 bytes with MSG_WAITALL came back with " +
              (got < 0 ? system_error(errno, "").detail : std::to_string(got)));
}

Result<std::string> check_splice(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const std::string sent = pattern(1000, 10);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return system_error(errno, "make a pipe");
  const Fd out(ends[0]), in(ends[1]);
  NP_TRY(put(pair.client.get(), sent));
  NP_TRY(expect_poll(pair.server.get(), POLLIN));
  const ssize_t moved = again([&] {
    return ::splice(pair.server.get(), nullptr, in.get(), nullptr, sent.size(),
                    SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  });
  if (moved < 0) {
    return seen("splice from a socket with 1000 readable bytes: " + system_error(errno, "").detail);
  }
  std::string got(sent.size(), '\0');
  const ssize_t read = ::read(out.get(), got.data(), got.size());
  if (moved == read && got == sent) return std::string("moves the bytes");
  return seen("splice moved " + std::to_string(moved) + " of 1000 bytes, or other ones");
}

}  // namespace np::kernel
