// SPDX-License-Identifier: Apache-2.0
#include "bpf/lying_pairs.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>

namespace np::kernel {
namespace {

constexpr Duration kLateness = 2 * kPairPatience;
constexpr int kIdleMs = 3000;  // then a relay ends, whatever its ends do

// Moves what is there; false when that direction is over.
bool relay(int from, int to, RelayedPairs::Lie lie) {
  std::array<char, 64 * 1024> bytes;
  const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
  if (got <= 0) {
    if (lie != RelayedPairs::Lie::kEndless) (void)::shutdown(to, SHUT_WR);
    return false;
  }
  if (lie == RelayedPairs::Lie::kLate) std::this_thread::sleep_for(kLateness);
  if (lie == RelayedPairs::Lie::kOther) bytes[0] = static_cast<char>(bytes[0] ^ 1);
  return ::send(to, bytes.data(), static_cast<size_t>(got), MSG_NOSIGNAL) == got;
}

void relay_both(const Fd& one, const Fd& other, RelayedPairs::Lie lie) {
  std::array<pollfd, 2> ends = {pollfd{one.get(), POLLIN, 0}, pollfd{other.get(), POLLIN, 0}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (::poll(ends.data(), ends.size(), kIdleMs) <= 0) return;
    if (ends[0].revents != 0 && !relay(one.get(), other.get(), lie)) ends[0].fd = -1;
    if (ends[1].revents != 0 && !relay(other.get(), one.get(), lie)) ends[1].fd = -1;
  }
}

}  // namespace

Result<ConnectedPair> LocalPairs::make(LoopbackFamily) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type_ | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_error(errno, "make local sockets");
  }
  ConnectedPair pair{Fd(ends[0]), Fd(ends[1])};
  timeval limit{};
  limit.tv_usec = kPairPatience / std::chrono::microseconds(1);
  for (const int end : ends) {
    (void)::setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  const int start = 0;
  if (peek_moves_) (void)::setsockopt(ends[1], SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start));
  return pair;
}

RelayedPairs::~RelayedPairs() {
  for (std::thread& thread : threads_) thread.join();
}

Result<ConnectedPair> RelayedPairs::make(LoopbackFamily family) {
  NP_TRY_ASSIGN(ConnectedPair left, connect_loopback(family));
  NP_TRY_ASSIGN(ConnectedPair right, connect_loopback(family));
  threads_.emplace_back([one = std::move(left.server), other = std::move(right.client),
                         lie = lie_] { relay_both(one, other, lie); });
  return ConnectedPair{std::move(left.client), std::move(right.server)};
}

}  // namespace np::kernel
