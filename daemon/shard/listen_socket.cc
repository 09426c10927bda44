// SPDX-License-Identifier: Apache-2.0
// Listening sockets without a supervisor.
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "shard/shard_pool.h"

namespace np::shard {
namespace {

constexpr int kBacklog = 4096;  // the kernel cuts it to net.core.somaxconn

}  // namespace

Result<Fd> open_listener(const SocketAddress& bind) {
  const std::string what = "listen on " + bind.to_string();
  sockaddr_storage address{};
  const unsigned length = bind.to_sockaddr(&address);
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return system_error(errno, what);
  const int on = 1;
  bool set = ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
  if (address.ss_family == AF_INET6) {
    // So that [::]:80 and 0.0.0.0:80 can both be opened.
    set = set && ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0;
  }
  if (!set || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    const int errno_value = errno;
    return system_error(errno_value, what,
                        errno_value == EACCES ? "ports below 1024 need CAP_NET_BIND_SERVICE" : "");
  }
  return fd;
}

Result<SocketAddress> local_address(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return system_error(errno, "read a socket's address");
  }
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
}

}  // namespace np::shard
