// SPDX-License-Identifier: Apache-2.0
// Sums over the shards' series, for one scrape or one look.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/metric_slots.h"
#include "metrics/series_name.h"
#include "metrics/series_store.h"

namespace np::metrics {

struct SeriesSums {
  // By name; the names lie in the shards' memory.
  std::map<std::string_view, ClusterCounters> clusters;
  std::unordered_map<std::string_view, RequestCounters> requests;
  size_t cluster_slots = 0, request_slots = 0;  // the most that a shard has taken
};
SeriesSums sum_series(const std::vector<ShardSeries*>& shards);
// Nothing for a pod that has no place.
PodCounters sum_pod(const std::vector<ShardSeries*>& shards, uint32_t pod_id);

// What has begun and not ended. The two are read one after the other while shards go on counting.
inline uint64_t under_way(uint64_t begun, uint64_t ended) {
  return begun > ended ? begun - ended : 0;
}

void add_to(RequestCounters& sum, const RequestCounters& more);

// The labels of one kind of request; those of the overflow slot say so wherever a person looks.
SeriesName labels_of(std::string_view name);

// Kinds of requests summed again over those labels that a family leaves out.
class GroupedRequests {
 public:
  explicit GroupedRequests(std::vector<SeriesLabel> by) : by_(std::move(by)) {}
  void add(const SeriesName& name, const RequestCounters& counters);

  struct Group {
    std::vector<std::string> values;  // in the order of `by`
    RequestCounters counters{};
    std::string_view operator[](size_t i) const { return values[i]; }
  };
  const std::map<std::string, Group>& groups() const { return groups_; }

 private:
  std::vector<SeriesLabel> by_;
  std::map<std::string, Group> groups_;
  std::string key_;  // scratch
};

}  // namespace np::metrics
