// SPDX-License-Identifier: Apache-2.0
#include "metrics/series_store.h"

#include <algorithm>

namespace np::metrics {

template <typename Slot>
SlotTable<Slot>::SlotTable(std::span<Slot> slots) : slots_(slots) {
  // The last slot is for what finds no room; it is taken from the beginning.
  if (!slots_.back().is_ready()) make(slots_.back(), kOverflow);
  // Its name is taken, too: two series of one name would spoil a whole scrape.
  by_name_.emplace(slots_.back().text(), &slots_.back());
  for (Slot& slot : slots_) {
    if (!slot.is_ready()) break;
    by_name_.emplace(slot.text(), &slot);
    ++used_;
  }
}

template <typename Slot>
Slot& SlotTable<Slot>::make(Slot& slot, std::string_view name) {
  std::copy(name.begin(), name.end(), slot.name);
  slot.name_bytes = static_cast<uint32_t>(name.size());
  std::atomic_ref(slot.is_named).store(1, std::memory_order_release);
  return slot;
}

template <typename Slot>
Slot& SlotTable<Slot>::get(std::string_view name) {
  const auto known = by_name_.find(name);
  if (known != by_name_.end()) return *known->second;
  if (name.size() > Slot::kNameBytesMax || used_ + 1 >= slots_.size()) return slots_.back();
  Slot& slot = make(slots_[used_++], name);
  by_name_.emplace(slot.text(), &slot);
  return slot;
}

template class SlotTable<ClusterSlot>;
template class SlotTable<RequestSlot>;

SeriesStore::SeriesStore(ShardSeries& memory, ShardSeries& first)
    : places_(first.pod_owners),
      pods_(memory.pods),
      clusters_(memory.clusters),
      requests_(memory.requests) {
  settle(memory);
}

void SeriesStore::settle(ShardSeries& memory) {
  for_each_slot(std::span<ClusterSlot>(memory.clusters), [](ClusterSlot& slot) {
    ClusterCounters& counters = slot.counters;
    counters.upstream_cx_destroy = counters.upstream_cx_total;
    counters.upstream_rq_ended = counters.upstream_rq_total;
  });
}

}  // namespace np::metrics
