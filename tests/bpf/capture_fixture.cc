// SPDX-License-Identifier: Apache-2.0
#include "bpf/capture_fixture.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/time.h"

namespace np::kernel {

namespace {

constexpr int kPodsMax = 3;

std::string test_name() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(info->test_suite_name()) + info->name();
  uint32_t hash = 2166136261U;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619U;
  char text[16];
  std::snprintf(text, sizeof(text), "npk%08x", hash);
  return text;
}

std::string add_common(const PodPlace& pod) {
  return "ip netns add " + pod.netns + " && ip link add " + pod.veth +
         " type veth peer name eth0 netns " + pod.netns + " && ip link set " + pod.veth +
         " up && ip -n " + pod.netns + " link set lo up && ip netns exec " + pod.netns +
         " sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.dad_transmits=0";
}

// As routed CNIs do it: /32 addresses, a link-local gateway, permanent neighbours.
std::string add_routed(const PodPlace& pod) {
  const std::string in_pod = " && ip -n " + pod.netns;
  return add_common(pod) + in_pod + " addr add " + pod.v4 + "/32 dev eth0" + in_pod + " addr add " +
         pod.v6 + "/128 dev eth0" + in_pod + " link set eth0 up" + in_pod +
         " route add 169.254.1.1 dev eth0 scope link" + in_pod +
         " route add default via 169.254.1.1 && MAC=$(ip -br link show " + pod.veth +
         " | (read a b c d; echo $c))" + in_pod +
         " neigh replace 169.254.1.1 lladdr $MAC dev eth0 nud permanent" + in_pod +
         " -6 neigh replace fe80::1 lladdr $MAC dev eth0 nud permanent" + in_pod +
         " -6 route add default via fe80::1 dev eth0 && ip route add " + pod.v4 + "/32 dev " +
         pod.veth + " && ip -6 route add " + pod.v6 + "/128 dev " + pod.veth;
}

std::string add_bridged(const PodPlace& pod) {
  const std::string in_pod = " && ip -n " + pod.netns;
  return "ip link add br0 type bridge && sysctl -qw net.ipv6.conf.br0.accept_dad=0" +
         std::string(" && ip addr add 10.77.1.1/24 dev br0") +
         " && ip addr add fd77::1:1/112 dev br0 nodad && ip link set br0 up && " + add_common(pod) +
         " && ip link set " + pod.veth + " master br0" + in_pod + " addr add " + pod.v4 +
         "/24 dev eth0" + in_pod + " addr add " + pod.v6 + "/112 dev eth0 nodad" + in_pod +
         " link set eth0 up" + in_pod + " route add default via 10.77.1.1" + in_pod +
         " -6 route add default via fd77::1:1";
}

}  // namespace

bool run(const std::string& command) {
  return std::system(("sh -ec '" + command + "'").c_str()) == 0;
}

std::string local_name(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&address)).to_string();
}

std::string peer_name(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&address)).to_string();
}

void PodFixture::SetUp() {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) {
    GTEST_SKIP() << "needs root, to make network namespaces";
  }
  instance_ = test_name();
  pod_ = place_of(1);
  names_ = *name_instance(instance_, "/sys/fs/bpf");
  remove_pods();
  ASSERT_TRUE(ProxyNetns::remove(names_).has_value());
  (void)Loader::remove_pins(names_);
  ASSERT_TRUE(
      run("ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 "
          "net.ipv6.conf.all.forwarding=1"));
}

void PodFixture::TearDown() {
  if (instance_.empty()) return;
  remove_pods();
  EXPECT_TRUE(ProxyNetns::remove(names_).has_value());
  EXPECT_TRUE(Loader::remove_pins(names_).has_value());
}

PodPlace PodFixture::place_of(int number) const {
  const std::string veth = number == 1 ? "vpod" : "vpod" + std::to_string(number);
  const std::string last = std::to_string(1 + number);
  return {instance_ + "p" + std::to_string(number), veth, "10.77.1." + last, "fd77::1:" + last};
}

void PodFixture::remove_pods() const {
  for (int number = 1; number <= kPodsMax; ++number) {
    std::system(("ip netns del " + place_of(number).netns + " 2>/dev/null").c_str());
  }
}

void PodFixture::make_pod(PodKind kind) {
  ASSERT_TRUE(run(kind == PodKind::kRouted ? add_routed(pod_) : add_bridged(pod_)));
}

PodPlace PodFixture::make_routed_pod(int number) {
  const PodPlace place = place_of(number);
  EXPECT_TRUE(run(add_routed(place)));
  return place;
}

void CaptureFixture::SetUp() {
  PodFixture::SetUp();
  if (IsSkipped() || HasFatalFailure()) return;
  auto loader = Loader::load(names_);
  ASSERT_TRUE(loader.has_value()) << loader.error().to_string();
  loader_ = std::move(*loader);
  auto proxy = ProxyNetns::open_or_create(names_);
  ASSERT_TRUE(proxy.has_value()) << proxy.error().to_string();
  proxy_ = std::make_unique<ProxyNetns>(std::move(*proxy));
  auto listeners = ListenerSet::open(*proxy_);
  ASSERT_TRUE(listeners.has_value()) << listeners.error().to_string();
  listeners_ = std::move(*listeners);
  np_config config{};
  config.hb_timeout_ns = 1'000'000'000;
  proxy_->describe(&config);
  config.band_lo = 1;
  config.default_fail = NP_FAIL_OPEN;
  config.k_listeners = NP_LISTENERS_PER_FAMILY;
  ASSERT_TRUE(loader_->write_config(config).has_value());
  const auto picked = loader_->attach_pick(proxy_->fd());
  ASSERT_TRUE(picked.has_value()) << picked.error().to_string();
  const auto filled = listeners_.fill(loader_->map_fd(Map::kListeners));
  ASSERT_TRUE(filled.has_value()) << filled.error().to_string();
  beat();
}

void CaptureFixture::TearDown() {
  if (pods_) {
    EXPECT_TRUE(pods_->detach_all().has_value());
  }
  pods_.reset();
  listeners_ = ListenerSet();
  loader_.reset();
  PodFixture::TearDown();
}

void CaptureFixture::add_pod(PodKind kind, Hook hook) {
  make_pod(kind);
  const HookPoint ret{proxy_->np0_ifindex(), loader_->link_pin("np_ret_in"), "np_ret_in"};
  const auto attached = attach_hook(hook, ret, loader_->program_fd(Program::kRetIn));
  ASSERT_TRUE(attached.has_value()) << attached.error().to_string();
  pods_ = std::make_unique<PodTable>(*loader_, hook);
  register_pod(1, "shop/front", pod_);
}

void CaptureFixture::register_pod(uint32_t id, const std::string& name, const PodPlace& place) {
  PodRequest request;
  request.pod_id = id;
  request.name = name;
  request.ifname = place.veth;
  request.ips = {*IpAddress::parse(place.v4), *IpAddress::parse(place.v6)};
  const auto record = pods_->attach(request);
  ASSERT_TRUE(record.has_value()) << record.error().to_string();
  ASSERT_EQ(record->problem, "");
}

void CaptureFixture::capture(const char* address, np_fail fail, np_action action) {
  const SocketAddress dialled = *SocketAddress::parse(address);
  np_svc_key key{};
  std::memcpy(key.ip, dialled.ip.bytes.data(), 16);
  key.port = dialled.port;
  key.proto = IPPROTO_TCP;
  np_svc value{};
  value.svc_id = 7;
  value.action = static_cast<uint8_t>(action);
  value.fail = static_cast<uint8_t>(fail);
  value.gen = 3;
  std::snprintf(value.name, sizeof(value.name), "web.shop");
  ASSERT_EQ(::bpf_map_update_elem(loader_->map_fd(Map::kServices), &key, &value, BPF_ANY), 0);
  const np_svcst totals{};
  ::bpf_map_update_elem(loader_->map_fd(Map::kServiceStats), &value.svc_id, &totals, BPF_NOEXIST);
}

void CaptureFixture::beat(Duration age) {
  np_live live{};
  const uint32_t zero = 0;
  live.heartbeat_ns = to_ns(monotonic_now() - age);
  ASSERT_EQ(::bpf_map_update_elem(loader_->map_fd(Map::kLive), &zero, &live, BPF_ANY), 0);
}

void PodFixture::in_pod(const std::function<void()>& work) {
  const Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  const Fd pod(::open(("/run/netns/" + pod_.netns).c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::setns(pod.get(), CLONE_NEWNET), 0);
  work();
  ASSERT_EQ(::setns(home.get(), CLONE_NEWNET), 0);
}

int PodFixture::connect_from_pod(const char* address, Fd* socket, uint16_t source_port,
                                 int wait_ms) {
  const SocketAddress target = *SocketAddress::parse(address);
  int result = -1;
  in_pod([&] {
    sockaddr_storage storage{};
    const unsigned size = target.to_sockaddr(&storage);
    Fd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (source_port != 0) {
      const SocketAddress source{*IpAddress::parse(target.ip.is_v4() ? pod_.v4 : pod_.v6),
                                 source_port};
      sockaddr_storage own{};
      const unsigned own_size = source.to_sockaddr(&own);
      const int on = 1;
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&own), own_size), 0);
    }
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0 &&
        errno != EINPROGRESS) {
      result = errno;
      return;
    }
    pollfd poller{fd.get(), POLLOUT, 0};
    if (::poll(&poller, 1, wait_ms) == 0) {
      result = ETIMEDOUT;
      return;
    }
    socklen_t length = sizeof(result);
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &result, &length);
    *socket = std::move(fd);
  });
  return result;
}

Fd CaptureFixture::accept_any() {
  std::vector<pollfd> pollers;
  for (const OwnListener& l : listeners_.sockets()) pollers.push_back({l.fd.get(), POLLIN, 0});
  if (::poll(pollers.data(), pollers.size(), kConnectWaitMs) <= 0) return Fd();
  for (const pollfd& poller : pollers) {
    if (poller.revents & POLLIN) return Fd(::accept4(poller.fd, nullptr, nullptr, SOCK_CLOEXEC));
  }
  return Fd();
}

bool CaptureFixture::only_flow(np_flow* flow) {
  np_flow_key key{}, next{};
  const int map = loader_->map_fd(Map::kFlows);
  if (::bpf_map_get_next_key(map, nullptr, &key) != 0) return false;
  if (::bpf_map_get_next_key(map, &key, &next) == 0) return false;
  return ::bpf_map_lookup_elem(map, &key, flow) == 0;
}

}  // namespace np::kernel
