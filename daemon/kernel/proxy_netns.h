// SPDX-License-Identifier: Apache-2.0
// ProxyNetns: the private network namespace that holds the captured sockets, and the veth pair
// np0/npx that joins it to the host (capture.md 3.1). The namespace has a name under /run/netns,
// so it outlives the daemon and `ip netns exec` works. All settings are ours and are written at
// every start (R18); the host gets one interface with a link-local address and settings of its
// own, and no rule, route or sysctl that concerns another.
// Supervisor only, single-threaded: inside() moves the calling thread.
#pragma once

#include <cstdint>
#include <functional>

#include "base/fd.h"
#include "base/result.h"
#include "bpf/abi/np_abi.h"
#include "kernel/instance.h"
#include "kernel/netlink.h"

namespace np::kernel {

// Runs `work` in that namespace and comes back, whatever it returns. Moves the calling thread.
Result<void> inside_netns(int netns_fd, const std::function<Result<void>()>& work);

class ProxyNetns {
 public:
  // Takes over what is there, makes what is missing.
  static Result<ProxyNetns> open_or_create(const InstanceNames& names);
  // Removes np0 and the namespace's name; sockets that live in it keep it alive.
  static Result<void> remove(const InstanceNames& names);

  int fd() const { return netns_.get(); }
  uint32_t np0_ifindex() const { return np0_ifindex_; }
  // np0, npx and the namespace, as the programs know them.
  void describe(np_config* config) const;
  bool has_v6() const { return has_v6_; }
  // Runs `work` in the namespace and comes back, whatever it returns.
  Result<void> inside(const std::function<Result<void>()>& work) const;

 private:
  Result<void> connect(const InstanceNames& names);
  Result<void> configure_host(Netlink& host, const InstanceNames& names);
  Result<void> configure(uint32_t uplink_mtu, const MacAddress& np0_mac);
  Result<void> add_routes(Netlink& netlink, bool v6, uint32_t npx, uint32_t uplink_mtu,
                          const MacAddress& np0_mac);
  Result<void> add_rules(Netlink& netlink, bool v6);

  Fd netns_;
  uint32_t np0_ifindex_ = 0;
  uint32_t nsid_ = 0;
  MacAddress npx_mac_{};
  bool has_v6_ = true;
};

}  // namespace np::kernel
