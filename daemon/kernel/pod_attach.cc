// SPDX-License-Identifier: Apache-2.0
#include "kernel/pod_attach.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/time.h"

namespace np::kernel {

namespace {

constexpr const char* kPodIn = "np_pod_in";
constexpr const char* kPodOut = "np_pod_out";
constexpr const char* kPinPrefixIn = "pod_in_";
constexpr const char* kPinPrefixOut = "pod_out_";
constexpr size_t kAddressesMax = 8;

std::string cut_name(const std::string& name) {
  return name.substr(0, NP_NAME_BYTES - 1);
}

np_pod_key pod_key(const IpAddress& ip) {
  np_pod_key key{};
  std::memcpy(key.ip, ip.bytes.data(), sizeof(key.ip));
  return key;
}

// Why this interface cannot be a pod's host end; empty when it can.
std::string refuse_interface(const LinkInfo& link) {
  if (link.kind == "veth") return "";
  if (link.kind == "netkit") {
    return "interface " + link.name + " is netkit: bpf_redirect_peer cannot be used from it";
  }
  return "interface " + link.name + " is " + (link.kind.empty() ? "a device" : link.kind) +
         ", not the host end of a veth pair";
}

// First guesses; every captured SYN brings the true ones (np_podst).
void guess_macs(const PodRequest& request, const LinkInfo& link, Netlink& netlink, np_pod* pod) {
  MacAddress gateway = link.mac;
  if (link.master != 0) {
    const Result<std::optional<LinkInfo>> master = netlink.link(link.master);
    if (master && *master) gateway = (*master)->mac;
  }
  std::memcpy(pod->gw_mac, gateway.data(), sizeof(pod->gw_mac));
  const uint32_t segment = link.master != 0 ? link.master : link.ifindex;
  if (const Result<std::vector<NeighbourInfo>> known = netlink.neighbours()) {
    for (const NeighbourInfo& neighbour : *known) {
      const bool is_pods =
          std::find(request.ips.begin(), request.ips.end(), neighbour.ip) != request.ips.end();
      if (neighbour.ifindex != segment || !is_pods) continue;
      std::memcpy(pod->mac, neighbour.mac.data(), sizeof(pod->mac));
      return;
    }
  }
  if (link.master == 0) return;
  const Result<std::vector<MacAddress>> learned = netlink.bridge_macs(link.ifindex);
  if (learned && learned->size() == 1) {
    std::memcpy(pod->mac, learned->front().data(), sizeof(pod->mac));
  }
}

Result<void> check_request(const PodRequest& request) {
  const std::string what = "attach pod " + request.name;
  if (request.pod_id == 0 || request.name.empty()) {
    return Error{ErrorCode::kInvalid, what, "it has no id or no name", ""};
  }
  if (request.ips.empty() || request.ips.size() > kAddressesMax) {
    return Error{ErrorCode::kInvalid, what,
                 std::to_string(request.ips.size()) + " addresses; 1 to 8 are allowed", ""};
  }
  return ok();
}

}  // namespace

HookPoint PodTable::point_in(uint32_t ifindex) const {
  return {ifindex, loader_.link_pin(kPinPrefixIn + std::to_string(ifindex)), kPodIn,
          HookSide::kIngress};
}

HookPoint PodTable::point_out(uint32_t ifindex) const {
  return {ifindex, loader_.link_pin(kPinPrefixOut + std::to_string(ifindex)), kPodOut,
          HookSide::kEgress};
}

// np_pod_in last: where the other cannot be attached, nothing is captured.
Result<void> PodTable::attach_programs(uint32_t ifindex) const {
  NP_TRY(attach_hook(hook_, point_out(ifindex), loader_.program_fd(Program::kPodOut)));
  return attach_hook(hook_, point_in(ifindex), loader_.program_fd(Program::kPodIn));
}

Result<void> PodTable::detach_programs(uint32_t ifindex) const {
  NP_TRY(detach_hook(point_in(ifindex)));
  return detach_hook(point_out(ifindex));
}

uint32_t PodTable::least_used_slot() const {
  std::array<uint32_t, NP_LISTENERS_PER_FAMILY> users{};
  for (const auto& [id, record] : pods_) {
    if (record.is_attached) ++users[record.slot % NP_LISTENERS_PER_FAMILY];
  }
  return static_cast<uint32_t>(std::min_element(users.begin(), users.end()) - users.begin());
}

Result<PodRecord> PodTable::attach(const PodRequest& request) {
  NP_TRY(check_request(request));
  PodRecord record;
  const auto known = pods_.find(request.pod_id);
  if (known == pods_.end() && pods_.size() >= NP_PODS_MAX) {
    return Error{ErrorCode::kExhausted, "attach pod " + request.name,
                 std::to_string(pods_.size()) + " pods are known already", "remove some"};
  }
  if (known != pods_.end()) record = known->second;
  const PodRecord before = record;
  record.request = request;
  record.problem.clear();
  if (!before.is_attached) record.slot = least_used_slot();
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  std::optional<LinkInfo> link;
  if (request.ifname.empty()) {
    record.problem = "unsupported: no interface of its own (hostNetwork pod?)";
  } else {
    NP_TRY_ASSIGN(link, netlink.link(request.ifname));
    record.problem = link ? refuse_interface(*link) : "interface " + request.ifname + " not found";
  }
  if (!record.problem.empty()) {
    if (before.is_attached) NP_TRY(detach(request.pod_id));
    record.is_attached = false;
    record.ifindex = 0;
    pods_[request.pod_id] = record;
    return record;
  }
  if (before.is_attached && before.ifindex != link->ifindex) {
    NP_TRY(detach(request.pod_id));
    record.is_attached = false;
  }
  record.ifindex = link->ifindex;
  if (!before.is_attached || record.since_ns == 0) record.since_ns = wall_clock_ns();
  NP_TRY(ensure_totals(record));
  NP_TRY(write_entries(record, *link, netlink));
  for (const IpAddress& old : before.request.ips) {  // addresses that the pod lost
    if (std::find(request.ips.begin(), request.ips.end(), old) != request.ips.end()) continue;
    const np_pod_key key = pod_key(old);
    np_pod now{};  // another pod may have the address by now
    const int map = loader_.map_fd(Map::kPods);
    if (::bpf_map_lookup_elem(map, &key, &now) == 0 && now.pod_id == request.pod_id) {
      ::bpf_map_delete_elem(map, &key);
    }
  }
  // Last, so that no frame meets the program before its pod is known.
  const Result<void> attached = attach_programs(record.ifindex);
  record.is_attached = attached.has_value();
  if (!attached) {
    record.problem = attached.error().to_string();
    remove_entries(record);
  }
  pods_[request.pod_id] = record;
  return record;
}

// What a pod counted before it left goes on; what was learned of its interface does not. No program
// writes there meanwhile: none is attached for this pod, and it has no address in np_pods yet.
Result<void> PodTable::ensure_totals(const PodRecord& record) {
  const int map = loader_.map_fd(Map::kPodStats);
  const uint32_t id = record.request.pod_id;
  np_podst totals{};
  const bool is_known = ::bpf_map_lookup_elem(map, &id, &totals) == 0;
  if (is_known && record.is_attached) return ok();
  std::memset(totals.mac, 0, sizeof(totals.mac));
  std::memset(totals.gw_mac, 0, sizeof(totals.gw_mac));
  totals.tokens = static_cast<uint64_t>(record.request.syn_burst) * 1'000'000'000U;
  totals.refill_ns = to_ns(monotonic_now());
  int failed = ::bpf_map_update_elem(map, &id, &totals, BPF_ANY) == 0 ? 0 : errno;
  if (failed == E2BIG && forget_one_that_left()) {
    failed = ::bpf_map_update_elem(map, &id, &totals, BPF_ANY) == 0 ? 0 : errno;
  }
  if (failed != 0) return system_error(failed, "make the totals of pod " + record.request.name);
  return ok();
}

bool PodTable::forget_one_that_left() {
  const int map = loader_.map_fd(Map::kPodStats);
  uint32_t id = 0;
  for (int more = ::bpf_map_get_next_key(map, nullptr, &id); more == 0;
       more = ::bpf_map_get_next_key(map, &id, &id)) {
    if (!pods_.contains(id)) return ::bpf_map_delete_elem(map, &id) == 0;
  }
  return false;
}

Result<void> PodTable::write_entries(PodRecord& record, const LinkInfo& link, Netlink& netlink) {
  np_pod value{};
  value.ifindex = record.ifindex;
  value.pod_id = record.request.pod_id;
  value.max_flows = record.request.max_flows;
  value.syn_rate = record.request.syn_rate;
  value.syn_burst = record.request.syn_burst;
  value.fail = record.request.fail;
  value.slot = static_cast<uint8_t>(record.slot);
  value.since_ns = record.since_ns;
  const std::string name = cut_name(record.request.name);
  std::memcpy(value.name, name.data(), name.size());
  guess_macs(record.request, link, netlink, &value);
  for (const IpAddress& ip : record.request.ips) {
    const np_pod_key key = pod_key(ip);
    if (::bpf_map_update_elem(loader_.map_fd(Map::kPods), &key, &value, BPF_ANY) != 0) {
      return system_error(errno, "add pod " + record.request.name + " to np_pods",
                          "np_pods holds " + std::to_string(NP_PODS_MAX) + " addresses");
    }
  }
  return ok();
}

void PodTable::remove_entries(const PodRecord& record) {
  for (const IpAddress& ip : record.request.ips) {
    const np_pod_key key = pod_key(ip);
    np_pod value{};
    const int map = loader_.map_fd(Map::kPods);
    // An address may have gone to another pod meanwhile.
    if (::bpf_map_lookup_elem(map, &key, &value) == 0 && value.pod_id == record.request.pod_id) {
      ::bpf_map_delete_elem(map, &key);
    }
  }
}

Result<void> PodTable::detach(uint32_t pod_id) {
  const auto found = pods_.find(pod_id);
  if (found == pods_.end()) {
    return Error{ErrorCode::kNotFound, "detach pod " + std::to_string(pod_id), "not attached", ""};
  }
  const PodRecord record = found->second;
  pods_.erase(found);
  const bool is_shared = std::any_of(pods_.begin(), pods_.end(), [&record](const auto& entry) {
    return entry.second.is_attached && entry.second.ifindex == record.ifindex;
  });
  Result<void> result = ok();
  if (record.is_attached && !is_shared) result = detach_programs(record.ifindex);
  remove_entries(record);
  return result;
}

Result<void> PodTable::detach_all() {
  while (!pods_.empty()) NP_TRY(detach(pods_.begin()->first));
  remove_dead_links();
  return ok();
}

void PodTable::adopt_entry(const np_pod_key& key, const np_pod& value) {
  PodRecord& record = pods_[value.pod_id];
  IpAddress ip;
  std::memcpy(ip.bytes.data(), key.ip, sizeof(key.ip));
  record.request.ips.push_back(ip);
  record.request.pod_id = value.pod_id;
  record.request.name.assign(value.name, ::strnlen(value.name, sizeof(value.name)));
  record.request.max_flows = value.max_flows;
  record.request.syn_rate = value.syn_rate;
  record.request.syn_burst = value.syn_burst;
  record.request.fail = value.fail;
  record.ifindex = value.ifindex;
  record.slot = value.slot;
  record.since_ns = value.since_ns;
}

Result<void> PodTable::adopt() {
  np_pod_key key{};
  const int map = loader_.map_fd(Map::kPods);
  for (int more = ::bpf_map_get_next_key(map, nullptr, &key); more == 0;
       more = ::bpf_map_get_next_key(map, &key, &key)) {
    np_pod value{};
    if (::bpf_map_lookup_elem(map, &key, &value) == 0) adopt_entry(key, value);
  }
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  std::vector<uint32_t> gone;
  for (auto& [pod_id, record] : pods_) {
    NP_TRY_ASSIGN(const std::optional<LinkInfo> link, netlink.link(record.ifindex));
    if (!link || !refuse_interface(*link).empty()) {
      gone.push_back(pod_id);
      continue;
    }
    record.request.ifname = link->name;
    const Result<void> attached = attach_programs(record.ifindex);
    record.is_attached = attached.has_value();
    if (!attached) record.problem = attached.error().to_string();
  }
  for (const uint32_t pod_id : gone) {
    remove_entries(pods_[pod_id]);
    pods_.erase(pod_id);
  }
  remove_dead_links();
  return ok();
}

// Pinned links of interfaces that vanished, or that no pod of the table uses.
void PodTable::remove_dead_links() {
  const std::string directory_path = loader_.link_pin("");
  DIR* directory = ::opendir(directory_path.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.rfind(kPinPrefixIn, 0) != 0 && name.rfind(kPinPrefixOut, 0) != 0) continue;
    uint32_t ifindex = 0;
    std::from_chars(name.data() + name.rfind('_') + 1, name.data() + name.size(), ifindex);
    const Result<uint32_t> alive = pinned_link_ifindex(directory_path + name);
    const bool is_used = std::any_of(pods_.begin(), pods_.end(), [ifindex](const auto& pod) {
      return pod.second.is_attached && pod.second.ifindex == ifindex;
    });
    if (alive && *alive == ifindex && is_used) continue;
    ::unlink((directory_path + name).c_str());
  }
  ::closedir(directory);
}

std::string PodTable::problem_of_hooks(const PodRecord& record) const {
  const HookState in = inspect_hook(point_in(record.ifindex));
  const HookState out = inspect_hook(point_out(record.ifindex));
  const std::string where = record.request.ifname;
  if (!in.is_attached) return std::string("somebody removed ") + kPodIn + " from " + where;
  if (!out.is_attached) return std::string("somebody removed ") + kPodOut + " from " + where;
  if (!in.is_first) return std::string("another program is ahead of ") + kPodIn + " on " + where;
  return "";
}

void PodTable::sweep() {
  Result<Netlink> netlink = Netlink::open();
  if (!netlink) return;
  for (auto& [pod_id, record] : pods_) {
    if (!record.is_attached) continue;
    const Result<std::optional<LinkInfo>> link = netlink->link(record.ifindex);
    if (!link) continue;
    if (!*link) {
      record.is_attached = false;
      record.ifindex = 0;
      record.problem = "interface " + record.request.ifname + " is gone";
      remove_entries(record);
      continue;
    }
    record.problem = problem_of_hooks(record);
  }
  remove_dead_links();
}

std::vector<PodRecord> PodTable::list() const {
  std::vector<PodRecord> records;
  records.reserve(pods_.size());
  for (const auto& [id, record] : pods_) records.push_back(record);
  return records;
}

}  // namespace np::kernel
