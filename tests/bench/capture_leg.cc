// SPDX-License-Identifier: Apache-2.0
// R22: what capture costs a bulk transfer. One TCP stream with large writes, so that GSO
// super-packets travel, from a pod to a sink: to another pod directly, then over the captured leg
// to a listener of the proxy namespace. Alternates between both and prints a table; nothing here
// passes or fails. Everything happens in namespaces of its own, with reno, by root.
//
//   capture_leg [--rounds 5] [--seconds 3] [--clsact]
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "base/time.h"
#include "kernel/hook.h"
#include "kernel/kernel_maps.h"
#include "kernel/listeners.h"
#include "kernel/loader.h"
#include "kernel/pod_attach.h"
#include "kernel/proxy_netns.h"

namespace {

using namespace np;

constexpr const char* kInstance = "npleg";
constexpr const char* kVeth = "npleg-c";  // host end of the sending pod
constexpr const char* kDirect = "10.78.1.3:9000";
constexpr const char* kCaptured = "10.96.0.22:9000";
constexpr size_t kWriteBytes = 1024 * 1024;
constexpr int kAcceptPatienceMs = 3000;

struct Settings {
  int rounds = 5;
  Duration time = std::chrono::seconds(3);
  kernel::Hook hook = kernel::has_tcx() ? kernel::Hook::kTcx : kernel::Hook::kClsact;
};

struct Sample {
  double gbit_per_s = 0;
  double bytes_per_frame = 0;  // on the sending pod's veth: above the MTU, super-packets travelled
};

Result<void> shell(const std::string& command) {
  if (std::system(("sh -ec '" + command + "'").c_str()) == 0) return ok();
  return Error{ErrorCode::kSystem, "run " + command, "it failed", ""};
}

std::string netns_of(const std::string& pod) {
  return std::string(kInstance) + "-" + pod;
}

Result<void> add_pod(const std::string& pod, const std::string& ip) {
  const std::string netns = netns_of(pod), in_pod = " && ip -n " + netns;
  return shell("ip netns add " + netns + " && ip link add " + netns +
               " type veth peer name eth0 netns " + netns + " && ip link set " + netns + " up" +
               in_pod + " link set lo up" + in_pod + " addr add " + ip + "/32 dev eth0" + in_pod +
               " link set eth0 up" + in_pod + " route add 169.254.1.1 dev eth0 scope link" +
               in_pod + " route add default via 169.254.1.1 && ip route add " + ip + "/32 dev " +
               netns + " && nsenter --net=/run/netns/" + netns +
               " sysctl -qw net.ipv4.tcp_congestion_control=reno");
}

Result<void> enter(const std::string& netns) {
  const Fd fd(::open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.is_open() && ::setns(fd.get(), CLONE_NEWNET) == 0) return ok();
  return system_error(errno, "enter " + netns);
}

// Of this thread's namespace.
std::pair<double, double> received_by(const char* device) {
  std::ifstream table("/proc/thread-self/net/dev");
  for (std::string line; std::getline(table, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.find(device) == std::string::npos) continue;
    std::istringstream fields(line.substr(colon + 1));
    double bytes = 0, frames = 0;
    fields >> bytes >> frames;
    return {bytes, frames};
  }
  return {0, 0};
}

class Scene {
 public:
  explicit Scene(const Settings& settings) : settings_(settings) {}
  ~Scene() { clean(); }

  Result<void> build();
  Result<Sample> measure(bool captured);

 private:
  void clean();
  Result<void> build_capture();
  Result<void> beat() const;
  Fd accept_one(bool captured) const;

  const Settings settings_;
  kernel::InstanceNames names_;
  std::unique_ptr<kernel::Loader> loader_;
  std::unique_ptr<kernel::ProxyNetns> proxy_;
  kernel::ListenerSet listeners_;
  std::unique_ptr<kernel::PodTable> pods_;
  Fd direct_;
};

void Scene::clean() {
  if (pods_) (void)pods_->detach_all();
  pods_.reset();
  loader_.reset();
  for (const char* pod : {"c", "s"}) {
    std::system(("ip netns del " + netns_of(pod) + " 2>/dev/null").c_str());
  }
  (void)kernel::ProxyNetns::remove(names_);
  (void)kernel::Loader::remove_pins(names_);
}

Result<void> Scene::build() {
  if (::unshare(CLONE_NEWNET) != 0) {
    return system_error(errno, "make a network namespace", "run it as root");
  }
  NP_TRY_ASSIGN(names_, kernel::name_instance(kInstance, "/sys/fs/bpf"));
  clean();
  NP_TRY(shell(
      "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.tcp_congestion_control=reno"));
  NP_TRY(add_pod("c", "10.78.1.2"));
  NP_TRY(add_pod("s", "10.78.1.3"));
  NP_TRY(shell("for v in npleg-c npleg-s; do ip addr add 169.254.1.1/32 dev $v; done"));
  Result<void> listening = ok();
  std::thread([this, &listening] {
    listening = enter(netns_of("s"));
    direct_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    const unsigned size = SocketAddress::parse(kDirect)->to_sockaddr(&address);
    if (listening && (::bind(direct_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
                      ::listen(direct_.get(), 8) != 0)) {
      listening = system_error(errno, "listen in the other pod");
    }
  }).join();
  NP_TRY(std::move(listening));
  return build_capture();
}

Result<void> Scene::build_capture() {
  NP_TRY_ASSIGN(loader_, kernel::Loader::load(names_));
  NP_TRY_ASSIGN(kernel::ProxyNetns proxy, kernel::ProxyNetns::open_or_create(names_));
  proxy_ = std::make_unique<kernel::ProxyNetns>(std::move(proxy));
  NP_TRY_ASSIGN(listeners_, kernel::ListenerSet::open(*proxy_));
  np_config config{};
  config.hb_timeout_ns = 1'000'000'000;
  proxy_->describe(&config);
  config.band_lo = 1;
  config.default_fail = NP_FAIL_CLOSED;
  config.k_listeners = NP_LISTENERS_PER_FAMILY;
  NP_TRY(loader_->write_config(config));
  NP_TRY(loader_->attach_pick(proxy_->fd()));
  NP_TRY(listeners_.fill(loader_->map_fd(kernel::Map::kListeners)));
  NP_TRY(kernel::attach_hook(settings_.hook,
                             {proxy_->np0_ifindex(), loader_->link_pin("np_ret_in"), "np_ret_in"},
                             loader_->program_fd(kernel::Program::kRetIn)));
  pods_ = std::make_unique<kernel::PodTable>(*loader_, settings_.hook);
  kernel::PodRequest request;
  request.pod_id = 1;
  request.name = "bench/sender";
  request.ifname = kVeth;
  request.ips = {*IpAddress::parse("10.78.1.2")};
  NP_TRY(pods_->attach(request));
  const SocketAddress dialled = *SocketAddress::parse(kCaptured);
  np_svc_key key{};
  std::memcpy(key.ip, dialled.ip.bytes.data(), sizeof(key.ip));
  key.port = dialled.port;
  key.proto = IPPROTO_TCP;
  np_svc value{};
  value.svc_id = 1;
  value.action = NP_ACTION_CAPTURE;
  const int failed =
      kernel::map_update(loader_->map_fd(kernel::Map::kServices), &key, &value, false);
  if (failed != 0) return system_error(failed, "capture the service");
  return ok();
}

Result<void> Scene::beat() const {
  np_live live{};
  live.heartbeat_ns = to_ns(monotonic_now());
  const uint32_t zero = 0;
  const int failed = kernel::map_update(loader_->map_fd(kernel::Map::kLive), &zero, &live, false);
  if (failed != 0) return system_error(failed, "write a heartbeat");
  return ok();
}

Fd Scene::accept_one(bool captured) const {
  std::vector<pollfd> polled;
  if (!captured) polled.push_back({direct_.get(), POLLIN, 0});
  for (const kernel::OwnListener& one : listeners_.sockets()) {
    if (captured) polled.push_back({one.fd.get(), POLLIN, 0});
  }
  ::poll(polled.data(), polled.size(), kAcceptPatienceMs);
  for (const pollfd& one : polled) {
    if (one.revents & POLLIN) return Fd(::accept4(one.fd, nullptr, nullptr, SOCK_CLOEXEC));
  }
  return Fd();
}

// Large writes until `stop`; the end of the stream tells the sink.
Result<void> send_stream(const char* target, const std::atomic<bool>& stop) {
  NP_TRY(enter(netns_of("c")));
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const unsigned size = SocketAddress::parse(target)->to_sockaddr(&address);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return system_error(errno, std::string("connect to ") + target);
  }
  const std::vector<char> block(kWriteBytes, 'x');
  while (!stop.load()) {
    if (::send(fd.get(), block.data(), block.size(), MSG_NOSIGNAL) < 0) {
      return system_error(errno, "send");
    }
  }
  return ok();
}

Result<Sample> Scene::measure(bool captured) {
  NP_TRY(beat());
  std::atomic<bool> stop{false};
  Result<void> sent = ok();
  std::thread sender([&] { sent = send_stream(captured ? kCaptured : kDirect, stop); });
  const Fd sink = accept_one(captured);
  std::vector<char> block(kWriteBytes);
  const auto [bytes_before, frames_before] = received_by(kVeth);
  const Instant begun = monotonic_now();
  double received = 0;
  for (ssize_t got = 1; got > 0 && monotonic_now() - begun < settings_.time;) {
    got = ::recv(sink.get(), block.data(), block.size(), 0);
    received += got > 0 ? static_cast<double>(got) : 0;
  }
  const double seconds = std::chrono::duration<double>(monotonic_now() - begun).count();
  const auto [bytes_after, frames_after] = received_by(kVeth);
  stop.store(true);
  while (sink.is_open() && ::recv(sink.get(), block.data(), block.size(), 0) > 0) {
  }
  sender.join();
  NP_TRY(std::move(sent));
  if (!sink.is_open()) return system_error(ETIMEDOUT, "accept the stream");
  return Sample{received * 8 / seconds / 1e9,
                (bytes_after - bytes_before) / std::max(1.0, frames_after - frames_before)};
}

Sample median(std::vector<Sample> samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return a.gbit_per_s < b.gbit_per_s; });
  return samples[samples.size() / 2];
}

Result<void> run(const Settings& settings) {
  Scene scene(settings);
  NP_TRY(scene.build());
  std::vector<Sample> direct, captured;
  std::printf("hook %s; Gbit/s (bytes per frame)\n%-8s %18s %18s\n",
              kernel::hook_name(settings.hook), "round", "pod to pod", "captured leg");
  const auto print = [](const char* name, const Sample& d, const Sample& c) {
    std::printf("%-8s %8.2f (%7.0f) %8.2f (%7.0f)\n", name, d.gbit_per_s, d.bytes_per_frame,
                c.gbit_per_s, c.bytes_per_frame);
  };
  for (const bool is_captured : {false, true}) NP_TRY(scene.measure(is_captured));  // warms up
  for (int round = 0; round < settings.rounds; ++round) {
    NP_TRY_ASSIGN(const Sample d, scene.measure(false));
    NP_TRY_ASSIGN(const Sample c, scene.measure(true));
    direct.push_back(d);
    captured.push_back(c);
    print(std::to_string(round + 1).c_str(), d, c);
  }
  const Sample d = median(direct), c = median(captured);
  print("median", d, c);
  std::printf("captured / direct: %.2f (R22 wants at least 0.90)\n", c.gbit_per_s / d.gbit_per_s);
  return ok();
}

bool read_number(const char* text, int* number) {
  const char* end = text + std::strlen(text);
  const auto [stopped, problem] = std::from_chars(text, end, *number);
  return problem == std::errc() && stopped == end && *number > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  bool is_good = true;
  for (int i = 1; i < argc && is_good; ++i) {
    const std::string flag = argv[i];
    int seconds = 0;
    if (flag == "--clsact") {
      settings.hook = kernel::Hook::kClsact;
    } else if (flag == "--rounds" && i + 1 < argc) {
      is_good = read_number(argv[++i], &settings.rounds);
    } else if (flag == "--seconds" && i + 1 < argc) {
      is_good = read_number(argv[++i], &seconds);
      settings.time = std::chrono::seconds(seconds);
    } else {
      is_good = false;
    }
  }
  if (!is_good) {
    std::fputs("usage: capture_leg [--rounds N] [--seconds N] [--clsact]\n", stderr);
    return 2;
  }
  const Result<void> done = run(settings);
  if (done) return 0;
  std::fprintf(stderr, "capture_leg: %s\n", done.error().to_string().c_str());
  return 1;
}
