// SPDX-License-Identifier: Apache-2.0
// The maps by name, and typed access over an fd, for supervisor and worker alike. A MapView borrows
// its fd; every call is one system call, on any thread.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "bpf/abi/np_abi.h"

namespace np::kernel {

enum class Map : uint8_t {
  kConfig,
  kLive,
  kPods,
  kPodStats,
  kServices,
  kServiceStats,
  kCidr,
  kFlows,
  kListeners,
  kConn,
  kCounters,
  kLimit,
  kEject,
  kStats,
  kGuardDeny,
  kGuardDestinations,
  kGuardStats,
  kEvents,
  kCount
};
const char* map_name(Map map);

// What the worker may do with a map: the least that its work needs.
enum class MapAccess : uint8_t { kNone, kRead, kWrite };
MapAccess worker_access(Map map);

// Untyped; errno values, 0 is done.
int map_lookup(int fd, const void* key, void* value);
int map_update(int fd, const void* key, const void* value, bool only_new);
int map_erase(int fd, const void* key);
int map_next(int fd, const void* key, void* next);

template <typename Key, typename Value>
class MapView {
 public:
  explicit MapView(int fd = -1) : fd_(fd) {}
  int fd() const { return fd_; }
  bool lookup(const Key& key, Value* value) const { return map_lookup(fd_, &key, value) == 0; }
  // 0 or errno.
  int put(const Key& key, const Value& value) const { return map_update(fd_, &key, &value, false); }
  int add(const Key& key, const Value& value) const { return map_update(fd_, &key, &value, true); }
  int erase(const Key& key) const { return map_erase(fd_, &key); }
  // Until `each` returns false. A hash that changes meanwhile may show an entry twice or not at
  // all.
  void for_each(const std::function<bool(const Key&, const Value&)>& each) const {
    Key key{}, next{};
    for (int more = map_next(fd_, nullptr, &next); more == 0; more = map_next(fd_, &key, &next)) {
      key = next;
      Value value{};
      if (lookup(key, &value) && !each(key, value)) return;
    }
  }

 private:
  int fd_;
};

// Sum over CPUs.
Result<np_stats> sum_stats(int map_fd);
Result<np_guard_st> sum_guard_stats(int map_fd);

}  // namespace np::kernel
