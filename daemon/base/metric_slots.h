// SPDX-License-Identifier: Apache-2.0
// What is counted per cluster and per kind of request, in memory that outlives a worker: fixed
// layouts of u64, written with plain stores by one shard, read by anyone. metrics/series_store.h
// says where they lie; the engine only writes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace np {

// X(name, help). Names of Envoy's cluster statistics; nothing here goes down.
#define NP_CLUSTER_COUNTERS(X)                                                           \
  X(upstream_cx_total, "Connections to endpoints begun")                                 \
  X(upstream_cx_destroy, "Connections to endpoints ended")                               \
  X(upstream_cx_destroy_with_active_rq, "Connections ended with a request under way")    \
  X(upstream_cx_connect_fail, "Connects that failed")                                    \
  X(upstream_cx_connect_timeout, "Connects that timed out")                              \
  X(upstream_cx_overflow, "Connections not opened because of a limit")                   \
  X(upstream_cx_idle_timeout, "Kept connections closed because idle")                    \
  X(upstream_cx_max_requests, "Connections closed after their last allowed request")     \
  X(upstream_cx_none_healthy, "Tries that found no endpoint")                            \
  X(upstream_cx_protocol_error, "Answers that broke the protocol")                       \
  X(upstream_cx_rx_bytes_total, "Bytes from endpoints")                                  \
  X(upstream_cx_tx_bytes_total, "Bytes to endpoints")                                    \
  X(upstream_rq_total, "Tries that were given a connection")                             \
  X(upstream_rq_ended, "Of these, those that ended")                                     \
  X(upstream_rq_completed, "Answer heads from endpoints")                                \
  X(upstream_rq_pending_total, "Tries that waited for a connection")                     \
  X(upstream_rq_pending_overflow, "Requests refused: no place to wait")                  \
  X(upstream_rq_cancelled, "Tries given up before they had a connection")                \
  X(upstream_rq_timeout, "Requests that met the route's timeout")                        \
  X(upstream_rq_per_try_timeout, "Tries that met their timeout")                         \
  X(upstream_rq_rx_reset, "Tries that the endpoint cut")                                 \
  X(upstream_rq_tx_reset, "Tries that we cut")                                           \
  X(upstream_rq_retry, "Repeats by policy")                                              \
  X(upstream_rq_retry_success, "Repeats whose answer was given to the client")           \
  X(upstream_rq_retry_overflow, "Repeats refused by the budget")                         \
  X(upstream_rq_retry_limit_exceeded, "Requests that had used up their repeats")         \
  X(upstream_rq_2xx, "Answers 2xx of endpoints")                                         \
  X(upstream_rq_3xx, "Answers 3xx of endpoints")                                         \
  X(upstream_rq_4xx, "Answers 4xx of endpoints")                                         \
  X(upstream_rq_5xx, "Answers 5xx of endpoints")                                         \
  X(lb_healthy_panic, "Tries that considered ejected endpoints too")                     \
  X(outlier_detection_ejections_enforced_total, "Endpoints ejected")                     \
  X(outlier_detection_ejections_overflow, "Ejections not done: too many are out")        \
  X(outlier_detection_ejections_enforced_consecutive_5xx, "Ejections for 5xx in a row")  \
  X(outlier_detection_ejections_enforced_consecutive_gateway_failure,                    \
    "Ejections for gateway errors in a row")                                             \
  X(outlier_detection_ejections_enforced_consecutive_local_origin_failure,               \
    "Ejections for failures to connect in a row")                                        \
  X(outlier_detection_ejections_enforced_success_rate, "Ejections for the success rate") \
  X(outlier_detection_ejections_enforced_failure_percentage,                             \
    "Ejections for the share of failures")                                               \
  X(outlier_detection_ejections_enforced_latency, "Ejections for latency")

struct ClusterCounters {
#define NP_X(name, help) uint64_t name;
  NP_CLUSTER_COUNTERS(NP_X)
#undef NP_X
  uint64_t room[9];  // for what later versions append
};

// Upper bounds of histogram buckets; one more bucket has no bound.
inline constexpr std::array<double, 16> kDurationBoundsMs = {
    0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000};
inline constexpr std::array<uint64_t, 8> kSizeBoundsBytes = {256,   1024,   4096,    16384,
                                                             65536, 262144, 1048576, 16777216};

// One kind of request: who called whom by which route, and how it ended.
struct RequestCounters {
  uint64_t opened;    // opaque connections only
  uint64_t requests;  // ended
  uint64_t delays;    // injected
  uint64_t aborts;    // injected
  uint64_t retries;
  uint64_t duration_us;
  uint64_t duration_buckets[kDurationBoundsMs.size() + 1];
  uint64_t request_bytes;  // of bodies
  uint64_t request_size_buckets[kSizeBoundsBytes.size() + 1];
  uint64_t response_bytes;
  uint64_t response_size_buckets[kSizeBoundsBytes.size() + 1];
  uint64_t room[6];
};

// What became of what was to be told about requests.
// X(name, help)
#define NP_TOLD_COUNTERS(X)                                                \
  X(records, "Requests told to log and traces")                            \
  X(records_lost, "Requests that log and traces did not hear of: no room") \
  X(log_lines, "Lines of the access log")                                  \
  X(log_lines_lost, "Lines that found no room")                            \
  X(spans, "Spans made")                                                   \
  X(spans_exported, "Spans that a collector took")                         \
  X(spans_lost, "Spans that a collector did not take")                     \
  X(traces_left_out, "Failed or slow requests beyond their pod's share")   \
  X(export_retries, "Posts to collectors that were repeated")
struct ToldCounters {
#define NP_X(name, help) uint64_t name;
  NP_TOLD_COUNTERS(NP_X)
#undef NP_X
  // What there was to tell, told or lost or waiting: what waits when a worker is killed, its
  // successor counts as lost. Records are of this shard alone; spans count once per collector.
  uint64_t records_due, log_lines_due, spans_due;
  uint64_t room[4];
};

// What one captured pod asked of the node, as a caller.
struct PodCounters {
  uint64_t requests;  // ended; opaque connections too
  uint64_t failures;  // 5xx, or no whole answer
  uint64_t request_bytes, response_bytes;
  uint64_t delays, retries;
  uint64_t duration_us;
  uint64_t room[1];
};

}  // namespace np
