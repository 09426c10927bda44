// SPDX-License-Identifier: Apache-2.0
#include "kernel/netlink.h"

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace np::kernel {

namespace {

constexpr size_t kAnswerBytes = 64 * 1024;   // the kernel never sends more in one datagram
constexpr uint16_t kAttributeMask = 0x3fff;  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

// Calls each(type, payload, size) for the attributes in [data, data + size).
template <typename Each>
void each_attribute(const char* data, size_t size, const Each& each) {
  while (size >= sizeof(rtattr)) {
    rtattr attribute;
    std::memcpy(&attribute, data, sizeof(attribute));
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > size) return;
    each(static_cast<uint16_t>(attribute.rta_type & kAttributeMask), data + sizeof(rtattr),
         attribute.rta_len - sizeof(rtattr));
    const size_t step = RTA_ALIGN(attribute.rta_len);
    if (step > size) return;
    data += step;
    size -= step;
  }
}

template <typename T>
T read_as(const char* data, size_t size) {
  T value{};
  std::memcpy(&value, data, size < sizeof(T) ? size : sizeof(T));
  return value;
}

std::string read_text(const char* data, size_t size) {
  return std::string(data, ::strnlen(data, size));
}

LinkInfo parse_link(const nlmsghdr* header) {
  LinkInfo info;
  const char* payload = static_cast<const char*>(NLMSG_DATA(header));
  const auto body = read_as<ifinfomsg>(payload, sizeof(ifinfomsg));
  info.ifindex = static_cast<uint32_t>(body.ifi_index);
  info.hardware = body.ifi_type;
  info.is_up = (body.ifi_flags & IFF_UP) != 0;
  const size_t skip = NLMSG_ALIGN(sizeof(ifinfomsg));
  each_attribute(payload + skip, header->nlmsg_len - NLMSG_HDRLEN - skip,
                 [&info](uint16_t type, const char* data, size_t size) {
                   if (type == IFLA_IFNAME) info.name = read_text(data, size);
                   if (type == IFLA_ADDRESS) info.mac = read_as<MacAddress>(data, size);
                   if (type == IFLA_MTU) info.mtu = read_as<uint32_t>(data, size);
                   if (type == IFLA_LINK) info.peer = read_as<uint32_t>(data, size);
                   if (type == IFLA_LINK_NETNSID) info.peer_nsid = read_as<uint32_t>(data, size);
                   if (type == IFLA_MASTER) info.master = read_as<uint32_t>(data, size);
                   if (type != IFLA_LINKINFO) return;
                   each_attribute(data, size, [&info](uint16_t inner, const char* d, size_t n) {
                     if (inner == IFLA_INFO_KIND) info.kind = read_text(d, n);
                   });
                 });
  return info;
}

struct ParsedNeighbour {
  ndmsg body{};
  NeighbourInfo info;
  bool has_mac = false;
};

ParsedNeighbour parse_neighbour(const nlmsghdr* header) {
  ParsedNeighbour parsed;
  const char* payload = static_cast<const char*>(NLMSG_DATA(header));
  parsed.body = read_as<ndmsg>(payload, sizeof(ndmsg));
  parsed.info.ifindex = static_cast<uint32_t>(parsed.body.ndm_ifindex);
  const size_t skip = NLMSG_ALIGN(sizeof(ndmsg));
  each_attribute(payload + skip, header->nlmsg_len - NLMSG_HDRLEN - skip,
                 [&parsed](uint16_t type, const char* data, size_t size) {
                   if (type == NDA_LLADDR && size == 6) {
                     parsed.info.mac = read_as<MacAddress>(data, size);
                     parsed.has_mac = true;
                   }
                   if (type != NDA_DST) return;
                   const auto* b = reinterpret_cast<const uint8_t*>(data);
                   if (size == 4) parsed.info.ip = IpAddress::v4(b[0], b[1], b[2], b[3]);
                   if (size == 16) std::memcpy(parsed.info.ip.bytes.data(), b, 16);
                 });
  return parsed;
}

FilterInfo parse_filter(const nlmsghdr* header) {
  constexpr uint32_t kPriorityShift = 16;  // the low half of tcm_info is the protocol
  FilterInfo info;
  const char* payload = static_cast<const char*>(NLMSG_DATA(header));
  const auto body = read_as<tcmsg>(payload, sizeof(tcmsg));
  info.handle = body.tcm_handle;
  info.priority = body.tcm_info >> kPriorityShift;
  const size_t skip = NLMSG_ALIGN(sizeof(tcmsg));
  each_attribute(payload + skip, header->nlmsg_len - NLMSG_HDRLEN - skip,
                 [&info](uint16_t type, const char* data, size_t size) {
                   if (type == TCA_KIND) info.kind = read_text(data, size);
                   if (type == TCA_CHAIN) info.chain = read_as<uint32_t>(data, size);
                   if (type != TCA_OPTIONS || info.kind != "bpf") return;
                   each_attribute(data, size, [&info](uint16_t inner, const char* d, size_t n) {
                     if (inner == TCA_BPF_ID) info.program_id = read_as<uint32_t>(d, n);
                   });
                 });
  return info;
}

}  // namespace

NetlinkMessage::NetlinkMessage(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  append(&header, sizeof(header));
}

void NetlinkMessage::append(const void* data, size_t size) {
  const size_t at = bytes_.size();
  bytes_.resize(at + NLMSG_ALIGN(size));
  if (size > 0) std::memcpy(bytes_.data() + at, data, size);
  header()->nlmsg_len = static_cast<uint32_t>(bytes_.size());
}

nlmsghdr* NetlinkMessage::header() {
  return reinterpret_cast<nlmsghdr*>(bytes_.data());
}

NetlinkMessage& NetlinkMessage::attribute(uint16_t type, const void* data, size_t size) {
  rtattr attribute{};
  attribute.rta_len = static_cast<uint16_t>(sizeof(attribute) + size);
  attribute.rta_type = type;
  append(&attribute, sizeof(attribute));
  append(data, size);
  return *this;
}

NetlinkMessage& NetlinkMessage::text(uint16_t type, std::string_view value) {
  const std::string terminated(value);
  return attribute(type, terminated.c_str(), terminated.size() + 1);
}

NetlinkMessage& NetlinkMessage::address(uint16_t type, const IpAddress& ip) {
  if (ip.is_v4()) return attribute(type, ip.bytes.data() + 12, 4);
  return attribute(type, ip.bytes.data(), 16);
}

size_t NetlinkMessage::begin_nest(uint16_t type) {
  const size_t at = bytes_.size();
  attribute(type, nullptr, 0);
  return at;
}

void NetlinkMessage::end_nest(size_t nest) {
  auto* attribute = reinterpret_cast<rtattr*>(bytes_.data() + nest);
  attribute->rta_len = static_cast<uint16_t>(bytes_.size() - nest);
}

Result<Netlink> Netlink::open() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket.is_open()) return system_error(errno, "open a netlink socket");
  const int on = 1;
  // Errors then name the attribute; older kernels refuse the option, which costs nothing.
  ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
  return Netlink(std::move(socket));
}

Result<int> Netlink::exchange(NetlinkMessage& message, const std::string& what,
                              const std::function<void(const nlmsghdr*)>& each) {
  message.header()->nlmsg_seq = ++sequence_;
  if (::send(socket_.get(), message.bytes_.data(), message.size(), 0) < 0) {
    return system_error(errno, what);
  }
  const bool is_dump = (message.header()->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  std::vector<char> answer(kAnswerBytes);
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), answer.data(), answer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(errno, what);
    auto left = static_cast<uint32_t>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(answer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_seq != sequence_) continue;
      if (header->nlmsg_type == NLMSG_DONE) return 0;
      if (header->nlmsg_type == NLMSG_ERROR) {
        return -read_as<nlmsgerr>(static_cast<const char*>(NLMSG_DATA(header)), sizeof(nlmsgerr))
                    .error;
      }
      if (each) each(header);
      if (!is_dump && (message.header()->nlmsg_flags & NLM_F_ACK) == 0) return 0;
    }
  }
}

Result<void> Netlink::request(NetlinkMessage& message, const std::string& what) {
  return request_unless(message, what, {});
}

Result<void> Netlink::request_unless(NetlinkMessage& message, const std::string& what,
                                     std::initializer_list<int> accepted) {
  message.header()->nlmsg_flags |= NLM_F_ACK;
  NP_TRY_ASSIGN(const int code, exchange(message, what, nullptr));
  if (code == 0) return ok();
  for (const int fine : accepted) {
    if (code == fine) return ok();
  }
  return system_error(code, what);
}

Result<void> Netlink::dump(NetlinkMessage& message, const std::string& what,
                           const std::function<void(const nlmsghdr*)>& each) {
  message.header()->nlmsg_flags |= NLM_F_DUMP;
  NP_TRY_ASSIGN(const int code, exchange(message, what, each));
  if (code != 0) return system_error(code, what);
  return ok();
}

Result<std::optional<LinkInfo>> Netlink::get_link(NetlinkMessage& message,
                                                  const std::string& what) {
  std::optional<LinkInfo> found;
  NP_TRY_ASSIGN(const int code, exchange(message, what, [&found](const nlmsghdr* header) {
                  if (header->nlmsg_type == RTM_NEWLINK) found = parse_link(header);
                }));
  if (code == ENODEV) return std::optional<LinkInfo>();
  if (code != 0) return system_error(code, what);
  return found;
}

Result<std::optional<LinkInfo>> Netlink::link(const std::string& name) {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.body(ifinfomsg{}).text(IFLA_IFNAME, name);
  return get_link(message, "look up interface " + name);
}

Result<std::optional<LinkInfo>> Netlink::link(uint32_t ifindex) {
  NetlinkMessage message(RTM_GETLINK, 0);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(ifindex);
  message.body(body);
  return get_link(message, "look up interface number " + std::to_string(ifindex));
}

Result<std::vector<LinkInfo>> Netlink::links() {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.body(ifinfomsg{});
  std::vector<LinkInfo> found;
  NP_TRY(dump(message, "list interfaces", [&found](const nlmsghdr* header) {
    if (header->nlmsg_type == RTM_NEWLINK) found.push_back(parse_link(header));
  }));
  return found;
}

Result<std::vector<NeighbourInfo>> Netlink::neighbours() {
  std::vector<NeighbourInfo> found;
  for (const int family : {AF_INET, AF_INET6}) {
    NetlinkMessage message(RTM_GETNEIGH, 0);
    ndmsg body{};
    body.ndm_family = static_cast<uint8_t>(family);
    message.body(body);
    NP_TRY(dump(message, "read the neighbour table", [&found](const nlmsghdr* header) {
      const ParsedNeighbour parsed = parse_neighbour(header);
      if (header->nlmsg_type == RTM_NEWNEIGH && parsed.has_mac) found.push_back(parsed.info);
    }));
  }
  return found;
}

Result<std::vector<MacAddress>> Netlink::bridge_macs(uint32_t ifindex) {
  std::vector<MacAddress> found;
  NetlinkMessage message(RTM_GETNEIGH, 0);
  ndmsg body{};
  body.ndm_family = AF_BRIDGE;
  message.body(body);
  NP_TRY(dump(message, "read the bridge's table", [&found, ifindex](const nlmsghdr* header) {
    const ParsedNeighbour parsed = parse_neighbour(header);
    // Permanent entries are the port's own addresses, not what was learned behind it.
    if (header->nlmsg_type == RTM_NEWNEIGH && parsed.has_mac && parsed.info.ifindex == ifindex &&
        (parsed.body.ndm_state & NUD_PERMANENT) == 0) {
      found.push_back(parsed.info.mac);
    }
  }));
  return found;
}

Result<std::vector<FilterInfo>> Netlink::filters(uint32_t ifindex, bool ingress) {
  NetlinkMessage message(RTM_GETTFILTER, 0);
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(ifindex);
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  message.body(body);
  std::vector<FilterInfo> found;
  NP_TRY(dump(message, "list tc filters", [&found](const nlmsghdr* header) {
    if (header->nlmsg_type != RTM_NEWTFILTER) return;
    // A priority is told once without a handle, then each of its filters.
    if (FilterInfo info = parse_filter(header); info.handle != 0) found.push_back(std::move(info));
  }));
  return found;
}

Result<void> Netlink::set_up(uint32_t ifindex) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(ifindex);
  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  message.body(body);
  return request(message, "bring up interface number " + std::to_string(ifindex));
}

Result<void> Netlink::remove_link(uint32_t ifindex) {
  NetlinkMessage message(RTM_DELLINK, 0);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(ifindex);
  message.body(body);
  return request_unless(message, "remove interface number " + std::to_string(ifindex), {ENODEV});
}

}  // namespace np::kernel
