// SPDX-License-Identifier: Apache-2.0
#include "kernel/kernel_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace np::kernel {

namespace {

constexpr const char* kMapNames[] = {
    "np_config", "np_live",  "np_pods",      "np_podst",     "np_svc",      "np_svcst",
    "np_cidr",   "np_flows", "np_listeners", "np_conn",      "np_counters", "np_limit",
    "np_eject",  "np_stats", "np_guard_lpm", "np_guard_dst", "np_guard_st", "np_events"};
static_assert(std::size(kMapNames) == static_cast<size_t>(Map::kCount));

// The one value of a per-CPU array of counters, summed.
template <typename Counters>
Result<Counters> sum_counters(int map_fd, const char* what) {
  const int cpus = ::libbpf_num_possible_cpus();
  if (cpus <= 0) return system_error(-cpus, "count the CPUs");
  constexpr size_t kWords = sizeof(Counters) / sizeof(uint64_t);
  std::vector<uint64_t> values(kWords * static_cast<size_t>(cpus));
  const uint32_t zero = 0;
  if (::bpf_map_lookup_elem(map_fd, &zero, values.data()) != 0) return system_error(errno, what);
  uint64_t sums[kWords] = {};
  for (size_t i = 0; i < values.size(); ++i) sums[i % kWords] += values[i];
  Counters counters;
  std::memcpy(&counters, sums, sizeof(counters));
  return counters;
}

}  // namespace

const char* map_name(Map map) {
  return kMapNames[static_cast<size_t>(map)];
}

MapAccess worker_access(Map map) {
  switch (map) {
    case Map::kLive:
    case Map::kServices:
    case Map::kServiceStats:
    case Map::kCidr:
    case Map::kConn:
    case Map::kCounters:
    case Map::kLimit:
    case Map::kEject:
    case Map::kGuardDeny:
    case Map::kGuardDestinations:
      return MapAccess::kWrite;
    case Map::kConfig:
    case Map::kListeners:
    case Map::kPods:
    case Map::kPodStats:
    case Map::kFlows:
    case Map::kStats:
    case Map::kGuardStats:
      return MapAccess::kRead;
    case Map::kEvents:
    case Map::kCount:
      break;
  }
  return MapAccess::kNone;
}

int map_lookup(int fd, const void* key, void* value) {
  return ::bpf_map_lookup_elem(fd, key, value) == 0 ? 0 : errno;
}

int map_update(int fd, const void* key, const void* value, bool only_new) {
  return ::bpf_map_update_elem(fd, key, value, only_new ? BPF_NOEXIST : BPF_ANY) == 0 ? 0 : errno;
}

int map_erase(int fd, const void* key) {
  return ::bpf_map_delete_elem(fd, key) == 0 ? 0 : errno;
}

int map_next(int fd, const void* key, void* next) {
  return ::bpf_map_get_next_key(fd, key, next) == 0 ? 0 : errno;
}

Result<np_stats> sum_stats(int map_fd) {
  return sum_counters<np_stats>(map_fd, "read np_stats");
}

Result<np_guard_st> sum_guard_stats(int map_fd) {
  return sum_counters<np_guard_st>(map_fd, "read np_guard_st");
}

}  // namespace np::kernel
