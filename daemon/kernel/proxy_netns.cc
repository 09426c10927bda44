// SPDX-License-Identifier: Apache-2.0
#include "kernel/proxy_netns.h"

#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "kernel/sysctl.h"

namespace np::kernel {

namespace {

constexpr const char* kNetnsDirectory = "/run/netns";
constexpr uint32_t kVethMtu = 65535;  // never below a pod's MTU (R21)
constexpr uint32_t kDefaultUplinkMtu = 1500;
constexpr uint32_t kMinMtu = 1280;
constexpr uint32_t kTcpHeadersV4 = 40;
constexpr uint32_t kTcpHeadersV6 = 60;

const IpAddress kGatewayV4 = IpAddress::v4(169, 254, 78, 1);  // np0
const IpAddress kNpxV4 = IpAddress::v4(169, 254, 78, 2);

IpAddress gateway_v6() {
  return *IpAddress::parse("fe80::1");
}

Fd open_netns(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.is_open() && ::ioctl(file.get(), NS_GET_NSTYPE) != CLONE_NEWNET) file.reset();
  return file;
}

// As `ip netns` leaves it: a shared mount of its own. Where it is not one yet, the first `ip netns
// add` would lay one above the namespace that we bound there, and nobody could remove that again.
Result<void> prepare_netns_directory() {
  const std::string what = std::string("prepare ") + kNetnsDirectory;
  if (::mkdir(kNetnsDirectory, 0755) != 0 && errno != EEXIST) return system_error(errno, what);
  const auto share = [] {
    return ::mount("", kNetnsDirectory, "none", MS_SHARED | MS_REC, nullptr) == 0;
  };
  if (share()) return ok();
  const bool is_bound =
      errno == EINVAL &&  // no mount point
      ::mount(kNetnsDirectory, kNetnsDirectory, "none", MS_BIND | MS_REC, nullptr) == 0;
  if (is_bound && share()) return ok();
  return system_error(errno, what, "needs CAP_SYS_ADMIN; without it run with --no-capture");
}

// Makes a new namespace and binds it to `path`. A child does it, so that this process never leaves
// its own.
Result<void> make_netns(const std::string& path) {
  NP_TRY(prepare_netns_directory());
  const Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file.is_open()) return system_error(errno, "make " + path);
  const pid_t child = ::fork();
  if (child < 0) return system_error(errno, "fork to make the proxy namespace");
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(errno);
    if (::mount("/proc/self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0) ::_exit(errno);
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ok();
  ::unlink(path.c_str());
  return system_error(WIFEXITED(status) ? WEXITSTATUS(status) : EIO, "make the proxy namespace",
                      "needs CAP_SYS_ADMIN; without it run with --no-capture");
}

uint32_t choose_uplink_mtu(const std::vector<LinkInfo>& links) {
  uint32_t mtu = 0;
  for (const LinkInfo& link : links) {
    const bool is_uplink = link.kind.empty() && link.name != "lo" && link.is_up;
    if (is_uplink && link.mtu >= kMinMtu) mtu = mtu == 0 ? link.mtu : std::min(mtu, link.mtu);
  }
  return mtu == 0 ? kDefaultUplinkMtu : mtu;
}

}  // namespace

Result<ProxyNetns> ProxyNetns::open_or_create(const InstanceNames& names) {
  ProxyNetns proxy;
  proxy.netns_ = open_netns(names.netns_path);
  if (!proxy.netns_.is_open()) {
    NP_TRY(make_netns(names.netns_path));
    proxy.netns_ = open_netns(names.netns_path);
    if (!proxy.netns_.is_open()) return system_error(errno, "open " + names.netns_path);
  }
  NP_TRY(proxy.connect(names));
  return proxy;
}

Result<void> ProxyNetns::inside(const std::function<Result<void>()>& work) const {
  return inside_netns(netns_.get(), work);
}

Result<void> inside_netns(int netns_fd, const std::function<Result<void>()>& work) {
  const Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.is_open()) return system_error(errno, "open this thread's network namespace");
  if (::setns(netns_fd, CLONE_NEWNET) != 0) {
    return system_error(errno, "enter the proxy namespace", "needs CAP_SYS_ADMIN");
  }
  Result<void> result = work();
  NP_CHECK(::setns(home.get(), CLONE_NEWNET) == 0);
  return result;
}

// The veth pair: both ends must be there and be each other's peer, else both are made anew.
Result<void> ProxyNetns::connect(const InstanceNames& names) {
  NP_TRY_ASSIGN(Netlink host, Netlink::open());
  NP_TRY_ASSIGN(std::optional<LinkInfo> np0, host.link(names.np0));
  std::optional<LinkInfo> npx;
  const auto keep_pair_only = [&npx, &np0]() -> Result<void> {
    NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
    NP_TRY_ASSIGN(npx, netlink.link(kNpxName));
    const bool is_pair = npx && np0 && npx->peer == np0->ifindex && np0->peer == npx->ifindex;
    if (npx && !is_pair) NP_TRY(netlink.remove_link(npx->ifindex));
    if (!is_pair) npx.reset();
    return ok();
  };
  NP_TRY(inside(keep_pair_only));
  if (!npx) {
    if (np0) NP_TRY(host.remove_link(np0->ifindex));
    NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.body(ifinfomsg{}).text(IFLA_IFNAME, names.np0).number(IFLA_MTU, kVethMtu);
    const size_t info = message.begin_nest(IFLA_LINKINFO);
    message.text(IFLA_INFO_KIND, "veth");
    const size_t data = message.begin_nest(IFLA_INFO_DATA);
    const size_t peer = message.begin_nest(VETH_INFO_PEER);
    message.body(ifinfomsg{}).text(IFLA_IFNAME, kNpxName).number(IFLA_MTU, kVethMtu);
    message.number(IFLA_NET_NS_FD, static_cast<uint32_t>(netns_.get()));
    message.end_nest(peer);
    message.end_nest(data);
    message.end_nest(info);
    NP_TRY(host.request(message, "make the veth pair " + names.np0 + "/" + kNpxName));
    NP_TRY_ASSIGN(np0, host.link(names.np0));
    if (!np0) return system_error(ENODEV, "find " + names.np0 + " after making it");
  }
  np0_ifindex_ = np0->ifindex;
  if (!np0->peer_nsid) {
    return Error{ErrorCode::kSystem, "look at " + names.np0,
                 "the kernel does not number the namespace of its other end", ""};
  }
  nsid_ = *np0->peer_nsid;
  NP_TRY(configure_host(host, names));
  NP_TRY_ASSIGN(const std::vector<LinkInfo> links, host.links());
  const uint32_t mtu = choose_uplink_mtu(links);
  return inside([this, mtu, &np0] { return configure(mtu, np0->mac); });
}

// What leaves the node with a pod's address as its source (`source: pod`) comes out of np0 and not
// out of the pod's veth. Loose reverse-path checking lets it pass, whatever the host's setting for
// all interfaces is (the higher of the two counts), but only on an interface with an address.
Result<void> ProxyNetns::configure_host(Netlink& host, const InstanceNames& names) {
  NP_TRY(host.set_up(np0_ifindex_));
  NetlinkMessage address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  ifaddrmsg body{};
  body.ifa_family = AF_INET;
  body.ifa_prefixlen = 32;
  body.ifa_scope = RT_SCOPE_LINK;
  body.ifa_index = np0_ifindex_;
  address.body(body).address(IFA_LOCAL, kGatewayV4).address(IFA_ADDRESS, kGatewayV4);
  NP_TRY(host.request_unless(address, "give " + names.np0 + " its address", {EEXIST}));
  const std::string path = "net/ipv4/conf/" + names.np0 + "/rp_filter";
  return write_sysctl({path.c_str(), "2", false});
}

void ProxyNetns::describe(np_config* config) const {
  config->np0_ifindex = np0_ifindex_;
  config->proxy_nsid = nsid_;
  std::memcpy(config->npx_mac, npx_mac_.data(), npx_mac_.size());
}

Result<void> ProxyNetns::configure(uint32_t uplink_mtu, const MacAddress& np0_mac) {
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  for (const Sysctl& sysctl : proxy_sysctls()) NP_TRY(write_sysctl(sysctl));
  NP_TRY_ASSIGN(const std::optional<LinkInfo> lo, netlink.link("lo"));
  NP_TRY_ASSIGN(const std::optional<LinkInfo> npx, netlink.link(kNpxName));
  if (!lo || !npx) return system_error(ENODEV, "find lo and npx in the proxy namespace");
  npx_mac_ = npx->mac;
  NP_TRY(netlink.set_up(lo->ifindex));
  NP_TRY(netlink.set_up(npx->ifindex));
  NetlinkMessage address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  ifaddrmsg body{};
  body.ifa_family = AF_INET;
  body.ifa_prefixlen = 30;
  body.ifa_index = npx->ifindex;
  address.body(body).address(IFA_LOCAL, kNpxV4).address(IFA_ADDRESS, kNpxV4);
  NP_TRY(netlink.request_unless(address, "give npx its address", {EEXIST}));
  has_v6_ = ::access("/proc/sys/net/ipv6", F_OK) == 0;
  for (const bool v6 : {false, true}) {
    if (v6 && !has_v6_) continue;
    // Rules first: a gateway is looked up by them, and must not be one of our own addresses, which
    // the local default route makes of every address.
    NP_TRY(add_rules(netlink, v6));
    NP_TRY(add_routes(netlink, v6, npx->ifindex, uplink_mtu, np0_mac));
  }
  return ok();
}

// `local default dev lo` makes every address ours for what arrives on npx; `default via np0` is the
// way back, with a permanent neighbour so that nothing is ever resolved on this link.
Result<void> ProxyNetns::add_routes(Netlink& netlink, bool v6, uint32_t npx, uint32_t uplink_mtu,
                                    const MacAddress& np0_mac) {
  const auto family = static_cast<uint8_t>(v6 ? AF_INET6 : AF_INET);
  const IpAddress gateway = v6 ? gateway_v6() : kGatewayV4;
  rtmsg body{};
  body.rtm_family = family;
  body.rtm_protocol = RTPROT_STATIC;

  NetlinkMessage local(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  body.rtm_type = RTN_LOCAL;
  body.rtm_table = RT_TABLE_LOCAL;
  body.rtm_scope = v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_HOST;
  local.body(body).number(RTA_OIF, 1);
  NP_TRY(netlink.request(local, "add the local default route of the proxy namespace"));

  ndmsg neighbour_body{};
  neighbour_body.ndm_family = family;
  neighbour_body.ndm_ifindex = static_cast<int>(npx);
  neighbour_body.ndm_state = NUD_PERMANENT;
  NetlinkMessage neighbour(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  neighbour.body(neighbour_body).address(NDA_DST, gateway);
  neighbour.attribute(NDA_LLADDR, np0_mac.data(), np0_mac.size());
  NP_TRY(netlink.request(neighbour, "add the neighbour entry of np0"));

  NetlinkMessage back(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  body.rtm_type = RTN_UNICAST;
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_scope = RT_SCOPE_UNIVERSE;
  back.body(body).address(RTA_GATEWAY, gateway).number(RTA_OIF, npx);
  const size_t metrics = back.begin_nest(RTA_METRICS);
  back.number(RTAX_MTU, uplink_mtu);
  back.number(RTAX_ADVMSS, uplink_mtu - (v6 ? kTcpHeadersV6 : kTcpHeadersV4));
  back.end_nest(metrics);
  return netlink.request(back, "add the default route of the proxy namespace");
}

// The standard rule 0 (lookup local) would keep replies inside: every address is local. So table
// local is asked only for what arrives on npx, and for loopback.
Result<void> ProxyNetns::add_rules(Netlink& netlink, bool v6) {
  fib_rule_hdr body{};
  body.family = static_cast<uint8_t>(v6 ? AF_INET6 : AF_INET);
  body.table = RT_TABLE_LOCAL;
  body.action = FR_ACT_TO_TBL;
  NetlinkMessage arriving(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
  arriving.body(body).number(FRA_PRIORITY, 1).text(FRA_IIFNAME, kNpxName);
  arriving.number(FRA_TABLE, RT_TABLE_LOCAL);
  NP_TRY(netlink.request_unless(arriving, "add the rule for npx", {EEXIST}));

  NetlinkMessage loopback(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
  body.dst_len = v6 ? 128 : 8;
  loopback.body(body).number(FRA_PRIORITY, 2).number(FRA_TABLE, RT_TABLE_LOCAL);
  loopback.address(FRA_DST, v6 ? *IpAddress::parse("::1") : IpAddress::v4(127, 0, 0, 0));
  NP_TRY(netlink.request_unless(loopback, "add the rule for loopback", {EEXIST}));

  NetlinkMessage standard(RTM_DELRULE, 0);
  body.dst_len = 0;
  standard.body(body).number(FRA_PRIORITY, 0).number(FRA_TABLE, RT_TABLE_LOCAL);
  return netlink.request_unless(standard, "remove rule 0 of the proxy namespace", {ENOENT});
}

Result<void> ProxyNetns::remove(const InstanceNames& names) {
  NP_TRY_ASSIGN(Netlink host, Netlink::open());
  NP_TRY_ASSIGN(const std::optional<LinkInfo> np0, host.link(names.np0));
  if (np0) NP_TRY(host.remove_link(np0->ifindex));
  ::umount2(names.netns_path.c_str(), MNT_DETACH);
  if (::unlink(names.netns_path.c_str()) != 0 && errno != ENOENT) {
    return system_error(errno, "remove " + names.netns_path);
  }
  return ok();
}

}  // namespace np::kernel
