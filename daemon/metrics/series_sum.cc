// SPDX-License-Identifier: Apache-2.0
#include "metrics/series_sum.h"

#include <algorithm>
#include <type_traits>

namespace np::metrics {
namespace {

// Counters are nothing but words of 64 bits.
template <typename Counters>
void add_words(Counters& sum, const Counters& more) {
  static_assert(std::is_trivial_v<Counters> && sizeof(Counters) % sizeof(uint64_t) == 0);
  auto* to = reinterpret_cast<uint64_t*>(&sum);
  const auto* from = reinterpret_cast<const uint64_t*>(&more);
  for (size_t i = 0; i < sizeof(Counters) / sizeof(uint64_t); ++i) to[i] += read(from[i]);
}

template <typename Slots, typename Sums>
size_t add_slots(Slots& slots, Sums& sums) {
  size_t count = 0;
  for_each_slot(std::span(slots, std::size(slots)), [&](const auto& slot) {
    add_words(sums[slot.text()], slot.counters);
    ++count;
  });
  return count;
}

}  // namespace

SeriesSums sum_series(const std::vector<ShardSeries*>& shards) {
  SeriesSums sums;
  for (ShardSeries* shard : shards) {
    sums.cluster_slots = std::max(sums.cluster_slots, add_slots(shard->clusters, sums.clusters));
    sums.request_slots = std::max(sums.request_slots, add_slots(shard->requests, sums.requests));
  }
  // Named and not used (yet): nothing to say.
  std::erase_if(sums.requests,
                [](const auto& one) { return one.second.requests == 0 && one.second.opened == 0; });
  return sums;
}

PodCounters sum_pod(const std::vector<ShardSeries*>& shards, uint32_t pod_id) {
  PodCounters sum{};
  if (shards.empty()) return sum;
  const uint32_t place = PodPlaces(shards.front()->pod_owners).place_of(pod_id);
  if (place == 0) return sum;
  for (const ShardSeries* shard : shards) add_words(sum, shard->pods[place]);
  return sum;
}

void add_to(RequestCounters& sum, const RequestCounters& more) {
  add_words(sum, more);
}

SeriesName labels_of(std::string_view name) {
  SeriesName labels = read_series_name(name);
  if (name != kOverflow) return labels;
  labels.labels.fill(kOverflow);
  labels.labels[static_cast<size_t>(SeriesLabel::kProtocol)] = "http";
  labels.labels[static_cast<size_t>(SeriesLabel::kStatus)] = "0";
  labels.labels[static_cast<size_t>(SeriesLabel::kLocal)] = "";
  return labels;
}

void GroupedRequests::add(const SeriesName& name, const RequestCounters& counters) {
  key_.clear();
  for (const SeriesLabel label : by_) {
    key_ += name[label];
    key_ += '\0';
  }
  const auto [place, is_new] = groups_.try_emplace(key_);
  Group& group = place->second;
  if (is_new) {
    for (const SeriesLabel label : by_) group.values.emplace_back(name[label]);
  }
  add_to(group.counters, counters);
}

}  // namespace np::metrics
