// SPDX-License-Identifier: Apache-2.0
#include "metrics/shard_recorder.h"

#include <algorithm>

#include "metrics/record_codec.h"
#include "metrics/series_name.h"

namespace np::metrics {
namespace {

constexpr uint32_t kMillion = 1'000'000;
static_assert(kEncodedBytesMax <= RecordRing::kRecordBytesMax);

template <typename Bounds, typename Value>
size_t bucket_of(const Bounds& bounds, Value value) {
  return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) -
                             bounds.begin());
}

void count(RequestCounters& counters, const RequestReport& report) {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(report.ended - report.started).count();
  const double ms = static_cast<double>(us) / 1000.0;
  add(counters.requests, 1);
  add(counters.duration_us, static_cast<uint64_t>(us));
  add(counters.duration_buckets[bucket_of(kDurationBoundsMs, ms)], 1);
  add(counters.request_bytes, report.request_bytes);
  add(counters.request_size_buckets[bucket_of(kSizeBoundsBytes, report.request_bytes)], 1);
  add(counters.response_bytes, report.response_bytes);
  add(counters.response_size_buckets[bucket_of(kSizeBoundsBytes, report.response_bytes)], 1);
  if (report.delay > Duration::zero()) add(counters.delays, 1);
  if (report.fault_status != 0) add(counters.aborts, 1);
  if (report.retries > 0) add(counters.retries, report.retries);
}

void count(PodCounters& counters, const RequestReport& report) {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(report.ended - report.started).count();
  add(counters.requests, 1);
  add(counters.request_bytes, report.request_bytes);
  add(counters.response_bytes, report.response_bytes);
  add(counters.duration_us, static_cast<uint64_t>(us));
  if (report.is_failure) add(counters.failures, 1);
  if (report.delay > Duration::zero()) add(counters.delays, 1);
  if (report.retries > 0) add(counters.retries, report.retries);
}

}  // namespace

ShardRecorder::ShardRecorder(ShardSeries& memory, ShardSeries& first, RecordRing& ring,
                             const RecordRules& rules, uint64_t seed)
    : store_(memory, first), ring_(ring), rules_(rules), rng_(seed), known_(kKnownMax) {}

ClusterCounters& ShardRecorder::cluster_counters(std::string_view name) {
  return store_.cluster(name);
}

// The same ids may stand for other labels now.
void ShardRecorder::on_policy() {
  std::fill(known_.begin(), known_.end(), Known{});
}

ShardRecorder::Kind ShardRecorder::kind_of(const RequestReport& report) {
  Kind kind;
  // The pod too: one that no label gives a name is told by its own.
  kind.caller = uint64_t{report.workload_id} << 32U | report.pod_id;
  kind.route_and_cluster = uint64_t{report.route_id} << 32U | report.cluster_id;
  kind.endpoint_and_end = uint64_t{report.endpoint_id} << 32U | uint64_t{report.status} << 16U |
                          uint64_t{report.reason} << 8U | (report.opaque ? 1U : 0U) |
                          (report.gateway ? 2U : 0U) | (report.delay > Duration::zero() ? 4U : 0U) |
                          (report.retries_used_up ? 8U : 0U) |
                          (report.sent != Instant{} ? 16U : 0U) | 32U;
  return kind;
}

RequestCounters& ShardRecorder::counters_of(const RequestReport& report,
                                            const ReportSource& source) {
  const Kind kind = kind_of(report);
  uint64_t hash = kind.caller * 0x9e3779b97f4a7c15U ^ kind.route_and_cluster * 0xff51afd7ed558ccdU ^
                  kind.endpoint_and_end;
  hash ^= hash >> 29U;
  hash *= 0xc4ceb9fe1a85ec53U;
  Known& known = known_[(hash >> 40U) % kKnownMax];
  // What an older policy's ids stand for is not what they stand for now: neither looked up nor
  // kept.
  const bool is_latest = report.is_of_latest_policy;
  if (is_latest && known.counters != nullptr && known.kind == kind) return *known.counters;
  RequestTexts texts;
  source.describe(texts);
  write_series_name(report, texts, name_);
  RequestCounters& counters = named_counters(report);
  if (is_latest) known = {kind, &counters};
  return counters;
}

// The counters of name_.
RequestCounters& ShardRecorder::named_counters(const RequestReport& report) {
  if (!report.gateway && !store_.has_request(name_)) {
    uint32_t& kinds = kinds_[report.workload_id];
    if (kinds >= kKindsPerCallerMax) return store_.other_requests();
    ++kinds;
  }
  return store_.request(name_);
}

bool ShardRecorder::wants_log(const RequestReport& report) {
  if (!rules_.log) return false;
  const bool refused = report.outcome == RequestReport::Outcome::kRefused;
  if (rules_.log_failures_only && !report.is_failure && !refused) return false;
  if (report.ended - report.started < rules_.log_slower_than) return false;
  return rules_.log_per_million >= kMillion || rng_.chance(rules_.log_per_million, kMillion);
}

bool ShardRecorder::wants_trace(const RequestReport& report) const {
  if (!rules_.trace || !report.trace.is_on()) return false;
  if (report.trace.sampled) return true;
  return rules_.trace_slower_than > Duration::zero() &&
         (report.is_failure || report.ended - report.started >= rules_.trace_slower_than);
}

void ShardRecorder::on_opened(const RequestReport& report, const ReportSource& source) {
  if (rules_.count) add(counters_of(report, source).opened, 1);
}

void ShardRecorder::on_ended(const RequestReport& report, const ReportSource& source) {
  if (rules_.count) {
    count(counters_of(report, source), report);
    if (report.pod_id != 0) count(store_.pod(report.pod_id), report);
  }
  const RecordUse use{wants_log(report), wants_trace(report)};
  if (!use.log && !use.trace) return;
  RequestTexts texts;
  source.describe(texts);
  char* room = ring_.reserve(encoded_bytes(texts));
  if (room == nullptr) return;  // counted by the ring
  encode(use, report, texts, room);
  ring_.commit();
}

}  // namespace np::metrics
