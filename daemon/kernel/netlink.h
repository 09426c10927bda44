// SPDX-License-Identifier: Apache-2.0
// A small writer for rtnetlink: links, addresses, routes, rules, neighbours. Netlink owns one
// socket, which belongs to the network namespace that the thread was in when it was opened.
// Supervisor only, single-threaded.
#pragma once

#include <linux/netlink.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace np::kernel {

using MacAddress = std::array<uint8_t, 6>;

// One request under construction.
class NetlinkMessage {
 public:
  NetlinkMessage(uint16_t type, uint16_t flags);
  template <typename Body>
  NetlinkMessage& body(const Body& value) {
    append(&value, sizeof(value));
    return *this;
  }
  NetlinkMessage& attribute(uint16_t type, const void* data, size_t size);
  NetlinkMessage& text(uint16_t type, std::string_view value);
  NetlinkMessage& number(uint16_t type, uint32_t value) {
    return attribute(type, &value, sizeof(value));
  }
  // The address in its family's own width.
  NetlinkMessage& address(uint16_t type, const IpAddress& ip);
  size_t begin_nest(uint16_t type);
  void end_nest(size_t nest);
  nlmsghdr* header();
  size_t size() const { return bytes_.size(); }

 private:
  friend class Netlink;
  void append(const void* data, size_t size);
  std::vector<char> bytes_;
};

struct LinkInfo {
  uint32_t ifindex = 0;
  std::string name;
  uint16_t hardware = 0;  // ARPHRD_*: 1 for Ethernet
  std::string kind;       // "veth", "bridge", "netkit", ...; "" for a physical device
  MacAddress mac{};
  uint32_t mtu = 0;
  uint32_t master = 0;                // ifindex of its bridge or bond; 0: none
  uint32_t peer = 0;                  // a veth's other end, numbered in that end's namespace
  std::optional<uint32_t> peer_nsid;  // that namespace, as ours numbers it; nothing: our own
  bool is_up = false;
};

struct NeighbourInfo {
  uint32_t ifindex = 0;
  IpAddress ip;
  MacAddress mac{};
};

// A tc filter, one of the kind "bpf" with its program.
struct FilterInfo {
  std::string kind;
  uint32_t priority = 0;
  uint32_t handle = 0;
  uint32_t chain = 0;
  uint32_t program_id = 0;
};

class Netlink {
 public:
  static Result<Netlink> open();

  // Sends and waits for the acknowledgement. `what` names the step in the error.
  Result<void> request(NetlinkMessage& message, const std::string& what);
  // The same, but an answer of one of `accepted` errno values is no error.
  Result<void> request_unless(NetlinkMessage& message, const std::string& what,
                              std::initializer_list<int> accepted);
  Result<void> dump(NetlinkMessage& message, const std::string& what,
                    const std::function<void(const nlmsghdr*)>& each);

  // Nothing when there is no such interface.
  Result<std::optional<LinkInfo>> link(const std::string& name);
  Result<std::optional<LinkInfo>> link(uint32_t ifindex);
  Result<std::vector<LinkInfo>> links();
  // Neighbour table (IPv4 and IPv6), entries with a MAC only.
  Result<std::vector<NeighbourInfo>> neighbours();
  // MACs that the bridge learned behind its port `ifindex`.
  Result<std::vector<MacAddress>> bridge_macs(uint32_t ifindex);
  // The clsact (or ingress) filters of one side, in the order in which they run. None without a
  // qdisc.
  Result<std::vector<FilterInfo>> filters(uint32_t ifindex, bool ingress);
  Result<void> set_up(uint32_t ifindex);
  Result<void> remove_link(uint32_t ifindex);

 private:
  explicit Netlink(Fd socket) : socket_(std::move(socket)) {}
  // The kernel's answer: 0 or a positive errno; Error when the socket itself failed.
  Result<int> exchange(NetlinkMessage& message, const std::string& what,
                       const std::function<void(const nlmsghdr*)>& each);
  Result<std::optional<LinkInfo>> get_link(NetlinkMessage& message, const std::string& what);

  Fd socket_;
  uint32_t sequence_ = 0;
};

}  // namespace np::kernel
