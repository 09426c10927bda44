// SPDX-License-Identifier: Apache-2.0
#include "kernel/node_view.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>

#include <cstring>
#include <map>

#include "kernel/netlink.h"
#include "kernel/pin_versions.h"

namespace np::kernel {

namespace {

int open_map(NodeView& view, Map map) {
  struct bpf_obj_get_opts options {};
  options.sz = sizeof(options);
  options.file_flags = BPF_F_RDONLY;  // R48
  Fd fd(::bpf_obj_get_opts((view.pin_root + "/maps/" + map_name(map)).c_str(), &options));
  if (!fd.is_open()) return -1;
  view.owned.push_back(std::move(fd));
  return view.owned.back().get();
}

// As PodTable::adopt() reads them.
void read_pods(NodeView& view, Netlink& netlink) {
  std::map<uint32_t, PodRecord> pods;
  const MapView<np_pod_key, np_pod> entries(view.map(Map::kPods));
  entries.for_each([&pods](const np_pod_key& key, const np_pod& pod) {
    PodRecord& record = pods[pod.pod_id];
    IpAddress ip;
    std::memcpy(ip.bytes.data(), key.ip, sizeof(key.ip));
    record.request.ips.push_back(ip);
    record.request.pod_id = pod.pod_id;
    record.request.name.assign(pod.name, ::strnlen(pod.name, sizeof(pod.name)));
    record.ifindex = pod.ifindex;
    record.since_ns = pod.since_ns;
    return true;
  });
  for (auto& [id, record] : pods) {
    const Result<std::optional<LinkInfo>> link = netlink.link(record.ifindex);
    record.is_attached = link && link->has_value();
    if (record.is_attached) {
      record.request.ifname = (*link)->name;
    } else {
      record.problem = "interface number " + std::to_string(record.ifindex) + " is gone";
    }
    view.pods.push_back(record);
  }
}

template <typename T>
T first_entry(int map) {
  T value{};
  const uint32_t zero = 0;
  if (map >= 0) (void)map_lookup(map, &zero, &value);
  return value;
}

}  // namespace

uint32_t map_id(int fd) {
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  return fd >= 0 && ::bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

uint32_t program_id(int fd) {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  return fd >= 0 && ::bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

Result<NodeView> view_pins(const std::string& instance, const std::string& bpffs) {
  NodeView view;
  NP_TRY_ASSIGN(view.names, name_instance(instance, bpffs));
  view.maps.fill(-1);
  const std::vector<PinVersion> versions = find_pin_versions(view.names.pin_base);
  for (const PinVersion& version : versions) view.versions.push_back(version.number);
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  NP_TRY_ASSIGN(const std::optional<LinkInfo> np0, netlink.link(view.names.np0));
  if (np0) view.np0_ifindex = np0->ifindex;
  Fd netns(::open(view.names.netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (netns.is_open()) {
    view.proxy_netns = netns.get();
    view.owned.push_back(std::move(netns));
  }
  if (versions.empty()) return view;
  view.pin_root = versions.front().path;
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    view.maps[i] = open_map(view, static_cast<Map>(i));
  }
  for (uint32_t i = 0; i < static_cast<uint32_t>(Program::kCount); ++i) {
    const char* name = program_name(static_cast<Program>(i));
    const Fd program(::bpf_obj_get((view.pin_root + "/progs/" + name).c_str()));
    view.programs[i] = program_id(program.get());
  }
  view.config = first_entry<np_config>(view.map(Map::kConfig));
  // Of another layout: what the other maps say cannot be read.
  if (view.config.abi != NP_ABI_VERSION) return view;
  view.live = first_entry<np_live>(view.map(Map::kLive));
  if (view.map(Map::kPods) >= 0) read_pods(view, netlink);
  view.guards = read_guard_pins(view.pin_root, netlink);
  return view;
}

}  // namespace np::kernel
