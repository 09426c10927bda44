// SPDX-License-Identifier: Apache-2.0
#include "kernel/connected_pairs.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

namespace np::kernel {
namespace {

void set_option(int fd, int level, int name, int value) {
  (void)::setsockopt(fd, level, name, &value, sizeof(value));
}

// Buffers are set before the connection exists: afterwards the window is what it is.
Result<Fd> make_socket(int family) {
  Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return system_error(errno, "make a socket");
  set_option(fd.get(), SOL_SOCKET, SO_SNDBUF, kPairBufferBytes);
  set_option(fd.get(), SOL_SOCKET, SO_RCVBUF, kPairBufferBytes);
  return fd;
}

void settle(int fd) {
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(kPairPatience);
  timeval limit{};
  limit.tv_usec = static_cast<suseconds_t>(microseconds.count());
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

}  // namespace

Result<ConnectedPair> connect_loopback(LoopbackFamily family) {
  const bool is_v4 = family == LoopbackFamily::kV4;
  sockaddr_storage storage{};
  socklen_t size = is_v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  storage.ss_family = is_v4 ? AF_INET : AF_INET6;
  if (is_v4) {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_addr = in6addr_loopback;
  }
  NP_TRY_ASSIGN(const Fd listener, make_socket(storage.ss_family));
  if (::bind(listener.get(), address, size) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), address, &size) != 0) {
    return system_error(errno, "listen on loopback");
  }
  ConnectedPair pair;
  NP_TRY_ASSIGN(pair.client, make_socket(storage.ss_family));
  settle(listener.get());
  settle(pair.client.get());
  if (::connect(pair.client.get(), address, size) != 0) {
    return system_error(errno, "connect over loopback");
  }
  pair.server = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!pair.server.is_open()) return system_error(errno, "accept over loopback");
  settle(pair.server.get());
  return pair;
}

}  // namespace np::kernel
