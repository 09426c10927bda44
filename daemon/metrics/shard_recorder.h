// SPDX-License-Identifier: Apache-2.0
// ShardRecorder: what one shard does with the reports of its engine: it counts them by kind in its
// SeriesStore, and hands those that a log or a trace wants to the telemetry thread. Owned by
// Telemetry; called by the shard's thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "base/request_report.h"
#include "metrics/record_ring.h"
#include "metrics/series_store.h"

namespace np::metrics {

// Which requests become records. Plain values, fixed when the daemon starts.
struct RecordRules {
  bool count = true;               // per kind of request
  bool log = false;                // access log
  bool log_failures_only = false;  // 5xx, 4xx of our own, no whole answer
  Duration log_slower_than{};      // zero: any
  uint32_t log_per_million = 1'000'000;
  bool trace = false;
  // Kept on this node whatever was sampled: failed requests and slow ones; zero: none.
  Duration trace_slower_than = std::chrono::seconds(1);
};

class ShardRecorder final : public RequestObserver {
 public:
  // `memory`: of this shard; `first`: of the first one.
  ShardRecorder(ShardSeries& memory, ShardSeries& first, RecordRing& ring, const RecordRules& rules,
                uint64_t seed);

  ClusterCounters& cluster_counters(std::string_view name) override;
  void on_policy() override;
  void on_opened(const RequestReport& report, const ReportSource& source) override;
  void on_ended(const RequestReport& report, const ReportSource& source) override;

 private:
  // What names a kind of request within one policy.
  struct Kind {
    uint64_t caller = 0;  // pod and workload
    uint64_t route_and_cluster = 0, endpoint_and_end = 0;
    bool operator==(const Kind&) const = default;
  };
  struct Known {
    Kind kind;
    RequestCounters* counters = nullptr;
  };
  static constexpr size_t kKnownMax = 4096;  // a power of two
  // Kinds that one calling workload may add while this worker lives, so that none takes all places.
  static constexpr uint32_t kKindsPerCallerMax = kRequestSlots / 8;

  static Kind kind_of(const RequestReport& report);
  RequestCounters& counters_of(const RequestReport& report, const ReportSource& source);
  RequestCounters& named_counters(const RequestReport& report);
  bool wants_log(const RequestReport& report);
  bool wants_trace(const RequestReport& report) const;

  SeriesStore store_;
  RecordRing& ring_;
  const RecordRules rules_;
  Rng rng_;
  std::vector<Known> known_;                      // direct-mapped
  std::string name_;                              // scratch
  std::unordered_map<uint32_t, uint32_t> kinds_;  // by workload id: what it added
};

}  // namespace np::metrics
