// SPDX-License-Identifier: Apache-2.0
#include "kernel/gateway_listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace np::kernel {

namespace {

constexpr int kBacklog = 4096;

bool has(const std::vector<SocketAddress>& binds, const SocketAddress& address) {
  return std::find(binds.begin(), binds.end(), address) != binds.end();
}

// "::" takes IPv4 as well, unless 0.0.0.0 of the same port is asked for, too.
bool is_v6_only(const SocketAddress& bind, const std::vector<SocketAddress>& binds) {
  if (!bind.ip.is_unspecified() || bind.ip.is_v4()) return true;
  return has(binds, SocketAddress{IpAddress::v4(0, 0, 0, 0), bind.port});
}

Result<Fd> open_listener(const SocketAddress& bind, bool v6_only) {
  const std::string what = "listen on " + bind.to_string();
  sockaddr_storage address{};
  const unsigned size = bind.to_sockaddr(&address);
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open() && errno == EAFNOSUPPORT && bind.ip.is_unspecified() && !bind.ip.is_v4()) {
    // A kernel without IPv6: "all addresses" are those of IPv4.
    return open_listener(SocketAddress{IpAddress::v4(0, 0, 0, 0), bind.port}, true);
  }
  if (!fd.is_open()) return system_error(errno, what);
  const int on = 1, only = v6_only ? 1 : 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.ss_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
  }
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    const char* hint = errno == EACCES ? "ports below 1024 need CAP_NET_BIND_SERVICE" : "";
    return system_error(errno, what, hint);
  }
  return fd;
}

}  // namespace

void GatewayListeners::listen_again() {
  for (const GatewayListenerSocket& socket : sockets_) (void)::listen(socket.fd.get(), kBacklog);
}

Result<void> GatewayListeners::set(const std::vector<SocketAddress>& binds) {
  const auto is_dropped = [&binds](const GatewayListenerSocket& s) { return !has(binds, s.bind); };
  sockets_.erase(std::remove_if(sockets_.begin(), sockets_.end(), is_dropped), sockets_.end());
  Error failures{ErrorCode::kSystem, "open Gateway listeners", "", ""};
  for (const SocketAddress& bind : binds) {
    const auto is_bind = [&bind](const GatewayListenerSocket& s) { return s.bind == bind; };
    if (std::any_of(sockets_.begin(), sockets_.end(), is_bind)) continue;
    Result<Fd> fd = open_listener(bind, is_v6_only(bind, binds));
    if (fd) {
      sockets_.push_back(GatewayListenerSocket{std::move(*fd), bind});
      continue;
    }
    if (!failures.detail.empty()) failures.detail += "; ";
    failures.detail += fd.error().what + ": " + fd.error().detail;
    if (!fd.error().hint.empty()) failures.hint = fd.error().hint;
  }
  if (!failures.detail.empty()) return failures;
  return ok();
}

}  // namespace np::kernel
