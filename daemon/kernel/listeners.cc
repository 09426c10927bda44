// SPDX-License-Identifier: Apache-2.0
#include "kernel/listeners.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "bpf/abi/np_abi.h"

namespace np::kernel {

namespace {

constexpr int kBacklog = 8192;  // cut to somaxconn of the namespace, which proxy_netns raises

Result<void> set_option(int fd, int level, int option, const void* value, socklen_t size,
                        const char* name) {
  if (::setsockopt(fd, level, option, value, size) == 0) return ok();
  return system_error(errno, std::string("set ") + name + " on a listener");
}

// Bound to loopback and a port of the kernel's choice: np_pick assigns by socket, whatever address
// was dialled, and nothing can reach this address from outside.
Result<Fd> open_listener(bool v6) {
  Fd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return system_error(errno, "make a listener in the proxy namespace");
  const int on = 1;
  // Inherited by accepted sockets: a killed daemon then resets its clients, where a plain close
  // would look like the end of the answer (R31).
  const linger reset_on_close{1, 0};
  NP_TRY(set_option(fd.get(), SOL_SOCKET, SO_LINGER, &reset_on_close, sizeof(reset_on_close),
                    "SO_LINGER"));
  sockaddr_storage address{};
  socklen_t size = 0;
  if (v6) {
    NP_TRY(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on), "IPV6_V6ONLY"));
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address);
    in6->sin6_family = AF_INET6;
    in6->sin6_addr = in6addr_loopback;
    size = sizeof(*in6);
  } else {
    auto* in4 = reinterpret_cast<sockaddr_in*>(&address);
    in4->sin_family = AF_INET;
    in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof(*in4);
  }
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return system_error(errno, "bind a listener in the proxy namespace");
  }
  if (::listen(fd.get(), kBacklog) != 0) return system_error(errno, "listen");
  return fd;
}

uint32_t map_index(const OwnListener& socket) {
  return socket.is_v6 ? NP_LISTENERS_PER_FAMILY + socket.slot : socket.slot;
}

}  // namespace

Result<ListenerSet> ListenerSet::open(const ProxyNetns& proxy) {
  ListenerSet set;
  const auto open_all = [&set, &proxy]() -> Result<void> {
    for (uint32_t slot = 0; slot < NP_LISTENERS_PER_FAMILY; ++slot) {
      for (const bool v6 : {false, true}) {
        if (v6 && !proxy.has_v6()) continue;
        NP_TRY_ASSIGN(Fd fd, open_listener(v6));
        set.sockets_.push_back(OwnListener{std::move(fd), slot, v6});
      }
    }
    return ok();
  };
  NP_TRY(proxy.inside(open_all));
  return set;
}

Result<void> ListenerSet::fill(int listeners_map) const {
  for (const OwnListener& socket : sockets_) {
    const uint32_t index = map_index(socket);
    const auto value = static_cast<uint64_t>(socket.fd.get());
    if (::bpf_map_update_elem(listeners_map, &index, &value, BPF_ANY) != 0) {
      return system_error(errno, "put a listener into np_listeners");
    }
  }
  return ok();
}

void ListenerSet::clear(int listeners_map) const {
  for (const OwnListener& socket : sockets_) {
    const uint32_t index = map_index(socket);
    uint64_t cookie = 0, own = 0;
    socklen_t size = sizeof(own);
    if (::getsockopt(socket.fd.get(), SOL_SOCKET, SO_COOKIE, &own, &size) != 0) continue;
    if (::bpf_map_lookup_elem(listeners_map, &index, &cookie) != 0 || cookie != own) continue;
    ::bpf_map_delete_elem(listeners_map, &index);
  }
}

}  // namespace np::kernel
