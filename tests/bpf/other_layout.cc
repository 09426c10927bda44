// SPDX-License-Identifier: Apache-2.0
#include "bpf/other_layout.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/types.h>
#include <np_other.skel.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

namespace other_layout {
// Beside this version's header in one program: no type of it may leave this file.
#include "other/bpf/abi/np_abi.h"
}  // namespace other_layout

namespace np::kernel {

using namespace other_layout;

struct OtherLayout::Object {
  np_other* skeleton = nullptr;
  ~Object() { np_other__destroy(skeleton); }
};

OtherLayout::~OtherLayout() = default;

std::unique_ptr<OtherLayout> OtherLayout::load(const std::string& pin_root) {
  std::unique_ptr<OtherLayout> other(new OtherLayout());
  other->object_ = std::make_unique<Object>();
  np_other* skeleton = other->object_->skeleton = np_other__open();
  if (skeleton == nullptr) return nullptr;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string name = ::bpf_map__name(map);
    if (name == "np_scratch" || name.find('.') != std::string::npos) continue;
    if (::bpf_map__set_pin_path(map, (pin_root + "/maps/" + name).c_str()) != 0) return nullptr;
  }
  return np_other__load(skeleton) == 0 ? std::move(other) : nullptr;
}

int OtherLayout::map_fd(const char* name) const {
  return ::bpf_object__find_map_fd_by_name(object_->skeleton->obj, name);
}

int OtherLayout::program_fd(const char* name) const {
  return ::bpf_program__fd(::bpf_object__find_program_by_name(object_->skeleton->obj, name));
}

uint32_t OtherLayout::version() const {
  return NP_ABI_VERSION;
}

bool OtherLayout::put_config(uint32_t np0_ifindex) {
  np_config config{};
  config.abi = NP_ABI_VERSION;
  config.size = sizeof(config);
  config.hb_timeout_ns = 1'000'000'000;
  config.np0_ifindex = np0_ifindex;
  config.band_lo = 1;
  config.default_fail = NP_FAIL_OPEN;
  config.k_listeners = NP_LISTENERS_PER_FAMILY;
  const uint32_t zero = 0;
  return ::bpf_map_update_elem(map_fd("np_config"), &zero, &config, BPF_ANY) == 0;
}

bool OtherLayout::put_pod(const IpAddress& ip, uint32_t ifindex, uint32_t id,
                          const std::string& name) {
  np_pod_key key{};
  std::memcpy(key.ip, ip.bytes.data(), sizeof(key.ip));
  np_pod pod{};
  pod.unknown = UINT64_MAX;
  pod.ifindex = ifindex;
  pod.pod_id = id;
  pod.slot = 5;
  std::snprintf(pod.name, sizeof(pod.name), "%s", name.c_str());
  np_podst totals{};
  totals.unknown = UINT64_MAX;
  ::bpf_map_update_elem(map_fd("np_podst"), &id, &totals, BPF_NOEXIST);
  return ::bpf_map_update_elem(map_fd("np_pods"), &key, &pod, BPF_ANY) == 0;
}

bool OtherLayout::put_service(const SocketAddress& dialled, uint32_t id, const std::string& name) {
  np_svc_key key{};
  std::memcpy(key.ip, dialled.ip.bytes.data(), sizeof(key.ip));
  key.port = dialled.port;
  key.proto = IPPROTO_TCP;
  np_svc service{};
  service.unknown = UINT64_MAX;
  service.svc_id = id;
  service.action = NP_ACTION_CAPTURE;
  service.fail = NP_FAIL_CLOSED;
  service.gen = 3;
  std::snprintf(service.name, sizeof(service.name), "%s", name.c_str());
  const np_svcst totals{};
  ::bpf_map_update_elem(map_fd("np_svcst"), &id, &totals, BPF_NOEXIST);
  return ::bpf_map_update_elem(map_fd("np_svc"), &key, &service, BPF_ANY) == 0;
}

bool OtherLayout::put_prefix(const IpPrefix& prefix, uint16_t port, uint32_t id) {
  np_cidr_key key{};
  key.prefixlen = 16U + prefix.length;
  key.port_be = htons(port);
  std::memcpy(key.ip, prefix.ip.bytes.data(), sizeof(key.ip));
  np_svc service{};
  service.svc_id = id;
  service.action = NP_ACTION_CAPTURE;
  return ::bpf_map_update_elem(map_fd("np_cidr"), &key, &service, BPF_ANY) == 0;
}

bool OtherLayout::beat(Instant now, uint64_t epoch) {
  np_live live{};
  live.unknown = UINT64_MAX;
  live.heartbeat_ns = to_ns(now);
  live.epoch = epoch;
  const uint32_t zero = 0;
  return ::bpf_map_update_elem(map_fd("np_live"), &zero, &live, BPF_ANY) == 0;
}

bool OtherLayout::only_flow(uint64_t* tx_bytes, uint8_t* state) const {
  np_flow_key key{}, next{};
  np_flow flow{};
  const int map = map_fd("np_flows");
  if (::bpf_map_get_next_key(map, nullptr, &key) != 0) return false;
  if (::bpf_map_get_next_key(map, &key, &next) == 0) return false;
  if (::bpf_map_lookup_elem(map, &key, &flow) != 0) return false;
  *tx_bytes = flow.tx_bytes;
  *state = flow.state;
  return true;
}

}  // namespace np::kernel
