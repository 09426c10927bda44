// SPDX-License-Identifier: Apache-2.0
// SeriesStore: where one shard counts per cluster and per kind of request. The memory is given by
// the driver and outlives a worker (the supervisor keeps it), so that no metric goes back: a slot
// once named keeps its name, and a successor finds it again. Written by its shard, read by anyone
// through for_each_*. Slots are bounded; what finds no room is counted under "overflow".
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>

#include "base/metric_slots.h"
#include "base/pod_places.h"

namespace np::metrics {

inline constexpr std::string_view kOverflow = "overflow";

template <typename Counters, size_t kNameBytes>
struct NamedSlot {
  static constexpr size_t kNameBytesMax = kNameBytes;
  uint32_t is_named;  // set last, with release
  uint32_t name_bytes;
  char name[kNameBytes];
  Counters counters;

  bool is_ready() const {
    return std::atomic_ref(const_cast<uint32_t&>(is_named)).load(std::memory_order_acquire) != 0;
  }
  std::string_view text() const { return {name, name_bytes}; }
};
using ClusterSlot = NamedSlot<ClusterCounters, 248>;
using RequestSlot = NamedSlot<RequestCounters, 760>;

inline constexpr size_t kClusterSlots = 4096;  // per shard
inline constexpr size_t kRequestSlots = 8192;  // per shard
struct ShardSeries {
  ToldCounters told;                        // of the daemon; only the first shard's is used
  uint32_t pod_owners[PodPlaces::kPlaces];  // of PodPlaces; only the first shard's is used
  PodCounters pods[PodPlaces::kPlaces];     // by place
  ClusterSlot clusters[kClusterSlots];
  RequestSlot requests[kRequestSlots];
};

// Single writer; a reader never sees half a word.
inline void add(uint64_t& counter, uint64_t by) {
  std::atomic_ref<uint64_t> cell(counter);
  cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}
inline uint64_t read(const uint64_t& counter) {
  return std::atomic_ref(const_cast<uint64_t&>(counter)).load(std::memory_order_relaxed);
}

// The slots of one kind, by name.
template <typename Slot>
class SlotTable {
 public:
  explicit SlotTable(std::span<Slot> slots);
  // The slot of that name, made when there is room for it; else the one named "overflow".
  Slot& get(std::string_view name);
  bool has(std::string_view name) const { return by_name_.contains(name); }
  Slot& overflow() { return slots_.back(); }
  size_t size() const { return used_; }

 private:
  Slot& make(Slot& slot, std::string_view name);
  std::span<Slot> slots_;
  size_t used_ = 0;
  std::unordered_map<std::string_view, Slot*> by_name_;  // names lie in the slots
};

class SeriesStore {
 public:
  // `memory`: of one shard; zeroed at the very first start, later a predecessor's. `first`: of the
  // first shard.
  SeriesStore(ShardSeries& memory, ShardSeries& first);

  ClusterCounters& cluster(std::string_view name) { return clusters_.get(name).counters; }
  // A pod without a place is counted with all others that have none.
  PodCounters& pod(uint32_t pod_id) { return pods_[places_.place_of(pod_id)]; }
  RequestCounters& request(std::string_view name) { return requests_.get(name).counters; }
  bool has_request(std::string_view name) const { return requests_.has(name); }
  RequestCounters& other_requests() { return requests_.overflow().counters; }

 private:
  // What the worker before had under way is over.
  void settle(ShardSeries& memory);
  const PodPlaces places_;
  std::span<PodCounters> pods_;
  SlotTable<ClusterSlot> clusters_;
  SlotTable<RequestSlot> requests_;
};

// Slots are taken from the beginning; behind the first free one only "overflow" follows. The rest
// is not touched: memory that nobody named costs nothing.
template <typename Slot, typename Visit>
void for_each_slot(std::span<Slot> slots, Visit&& visit) {
  for (Slot& slot : slots.first(slots.size() - 1)) {
    if (!slot.is_ready()) break;
    visit(slot);
  }
  if (slots.back().is_ready()) visit(slots.back());
}

}  // namespace np::metrics
