// SPDX-License-Identifier: Apache-2.0
// EngineCounters: one shard's counters. Fixed standard layout of u64 that lives in memory given by
// the driver and outlives a worker: new counters are appended, none is moved. Written by the shard
// with plain stores, read by the scraper. Nothing here goes down; a gauge is the difference of two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "proxy/end_reason.h"

namespace np::proxy {

// X(name, help). Names follow traffic-semantics 6 where one exists there.
#define NP_ENGINE_COUNTERS(X)                                                            \
  X(downstream_cx_total, "client connections accepted")                                  \
  X(downstream_cx_destroy, "client connections closed")                                  \
  X(downstream_cx_rx_bytes_total, "bytes from clients")                                  \
  X(downstream_cx_tx_bytes_total, "bytes to clients")                                    \
  X(downstream_cx_protocol_error, "client messages that broke the protocol")             \
  X(downstream_cx_idle_timeout, "client connections closed because idle")                \
  X(downstream_rq_started, "requests whose head was accepted or refused")                \
  X(downstream_rq_completed, "requests answered by an origin or a route")                \
  X(downstream_rq_refused, "requests answered by the proxy")                             \
  X(downstream_rq_aborted, "requests without a whole answer")                            \
  X(downstream_rq_1xx, "interim answers passed on")                                      \
  X(downstream_rq_2xx, "answers 2xx to clients")                                         \
  X(downstream_rq_3xx, "answers 3xx to clients")                                         \
  X(downstream_rq_4xx, "answers 4xx to clients")                                         \
  X(downstream_rq_5xx, "answers 5xx to clients")                                         \
  X(downstream_rq_timeout, "answers 408 to clients")                                     \
  X(no_route, "requests without a route")                                                \
  X(passthrough, "requests to a service that is no longer covered")                      \
  X(fault_delays_injected, "delays injected")                                            \
  X(fault_aborts_injected, "aborts injected")                                            \
  X(upstream_cx_total, "connections to endpoints begun")                                 \
  X(upstream_cx_open, "connections to endpoints that were established")                  \
  X(upstream_cx_destroy, "connections to endpoints ended")                               \
  X(upstream_cx_destroy_with_active_rq, "the same with a request under way")             \
  X(upstream_cx_connect_fail, "connects that failed")                                    \
  X(upstream_cx_connect_timeout, "connects that timed out")                              \
  X(upstream_cx_idle_timeout, "kept connections closed because idle")                    \
  X(upstream_cx_max_requests, "connections closed after their last allowed request")     \
  X(upstream_cx_none_healthy, "tries that found no endpoint")                            \
  X(upstream_cx_protocol_error, "answers that broke the protocol")                       \
  X(upstream_cx_reused, "tries on a kept connection")                                    \
  X(upstream_cx_rx_bytes_total, "bytes from endpoints")                                  \
  X(upstream_cx_tx_bytes_total, "bytes to endpoints")                                    \
  X(upstream_rq_total, "tries that were given a connection")                             \
  X(upstream_rq_pending_total, "tries that waited for a connection")                     \
  X(upstream_rq_completed, "answer heads from endpoints")                                \
  X(upstream_rq_cancelled, "tries given up by us or by the client")                      \
  X(upstream_rq_timeout, "route timeouts")                                               \
  X(upstream_rq_per_try_timeout, "per-try timeouts")                                     \
  X(upstream_rq_rx_reset, "tries that the endpoint cut")                                 \
  X(upstream_rq_tx_reset, "tries that we cut")                                           \
  X(upstream_rq_retry, "repeats by policy")                                              \
  X(upstream_rq_retry_success, "repeats that gave an answer which is not retried")       \
  X(upstream_rq_retry_overflow, "repeats refused by the budget")                         \
  X(upstream_rq_retry_limit_exceeded, "answers given after the last allowed try")        \
  X(upstream_rq_retry_stale, "repeats because a kept connection was closed")             \
  X(retry_or_shadow_abandoned, "bodies too long to be kept for a repeat or mirror")      \
  X(upstream_rq_2xx, "answers 2xx of endpoints")                                         \
  X(upstream_rq_3xx, "answers 3xx of endpoints")                                         \
  X(upstream_rq_4xx, "answers 4xx of endpoints")                                         \
  X(upstream_rq_5xx, "answers 5xx of endpoints")                                         \
  X(mirror_started, "mirrored requests begun")                                           \
  X(mirror_ended, "mirrored requests ended")                                             \
  X(tcp_cx_started, "opaque connections begun")                                          \
  X(tcp_cx_ended, "opaque connections ended")                                            \
  X(tunnels, "requests that became byte tunnels")                                        \
  X(snapshots, "policy snapshots taken over")                                            \
  X(timers_fired, "deadlines that were reached")                                         \
  X(upstream_rq_pending_overflow, "requests refused: no connection, no place to wait")   \
  X(upstream_rq_overflow, "requests refused: as many as allowed are under way")          \
  X(upstream_rq_waited, "requests that waited for a limit")                              \
  X(upstream_rq_admitted, "of these, those whose turn came")                             \
  X(upstream_cx_overflow, "connections not opened because of a limit")                   \
  X(upstream_cx_trimmed, "idle connections closed to make room under a limit")           \
  X(upstream_cx_waited, "connects that waited because no descriptor was left")           \
  X(upstream_rq_probation_waits, "requests that waited for an endpoint to prove itself") \
  X(lb_healthy_panic, "tries that considered ejected endpoints too")                     \
  X(outlier_ejections_enforced_total, "endpoints ejected")                               \
  X(outlier_ejections_consecutive_5xx, "of these, for 5xx in a row")                     \
  X(outlier_ejections_consecutive_gateway, "of these, for gateway errors in a row")      \
  X(outlier_ejections_consecutive_local, "of these, for local-origin failures in a row") \
  X(outlier_ejections_overflow, "ejections not done: too many are out already")          \
  X(outlier_ejections_shadow, "ejections that a policy in shadow mode would have done")  \
  X(limit_shadow, "requests and repeats that limits in shadow mode would hold back")     \
  X(fault_shadow, "requests that a fault in shadow mode would have hit")                 \
  X(fault_resets_injected, "connections reset by a fault")                               \
  X(fault_bandwidth_injected, "answers slowed down by a fault")                          \
  X(health_checks, "health checks ended")                                                \
  X(health_checks_failed, "of these, those that failed")                                 \
  X(rate_limit_ok, "charges granted by a quota")                                         \
  X(rate_limit_repeated, "charges left out because the request was charged before")      \
  X(rate_limit_untracked, "charges left out because a quota has too many tuples")        \
  X(rate_limit_shadowed, "charges that a limit in shadow mode would have refused")       \
  X(check_errors, "rules skipped because an attribute they need is missing")             \
  X(outlier_ejections_success_rate, "of the endpoints ejected, for their success rate")  \
  X(outlier_ejections_failure_percentage, "of these, for their share of failures")       \
  X(outlier_ejections_latency, "of these, for their latency")                            \
  X(downstream_rq_asked_for_client,                                                      \
    "half-closed clients that were sent a 100, to see if they "                          \
    "left")                                                                              \
  X(overload_rq_refused, "requests and connections refused: memory is nearly used up")   \
  X(overload_rq_ended, "requests and connections ended: they held the most memory")      \
  X(overload_cx_idle_closed, "client connections closed while idle, for their memory")   \
  X(overload_upstream_cx_closed, "kept connections to endpoints closed for the same")

inline constexpr size_t kTimerLateBuckets = 20;  // of 1 ms, then one for everything later
inline constexpr size_t kPhaseCount = 5;

// Room for what later versions append, so that nothing moves.
inline constexpr size_t kCounterRoom = 192;
inline constexpr size_t kEndReasonRoom = 64;
#define NP_X(...) +1
inline constexpr size_t kCounterCount = 0 NP_ENGINE_COUNTERS(NP_X);
inline constexpr size_t kEndReasonCount = 0 NP_END_REASONS(NP_X);
#undef NP_X
static_assert(kCounterCount < kCounterRoom && kEndReasonCount < kEndReasonRoom);

struct EngineCounters {
#define NP_X(name, help) uint64_t name;
  NP_ENGINE_COUNTERS(NP_X)
#undef NP_X
  uint64_t counter_room[kCounterRoom - kCounterCount];
#define NP_X(name, counter, flag, outcome) uint64_t ended_##counter;
  NP_END_REASONS(NP_X)
#undef NP_X
  uint64_t end_reason_room[kEndReasonRoom - kEndReasonCount];
  uint64_t timer_late_ms[kTimerLateBuckets + 1];
  // phase_transitions[from][to] of Exchanges, in the order of the enum Phase.
  uint64_t phase_transitions[kPhaseCount][kPhaseCount];
};
static_assert(std::is_standard_layout_v<EngineCounters> && std::is_trivial_v<EngineCounters>);

inline uint64_t& ended_counter(EngineCounters& counters, EndReason reason) {
  switch (reason) {
#define NP_X(name, counter, flag, outcome) \
  case EndReason::name:                    \
    return counters.ended_##counter;
    NP_END_REASONS(NP_X)
#undef NP_X
  }
  return counters.ended_client_gone;
}

// Calls visit(name, value) for every counter, in layout order.
template <typename Visit>
void for_each_counter(const EngineCounters& counters, Visit&& visit) {
#define NP_X(name, help) visit(#name, counters.name);
  NP_ENGINE_COUNTERS(NP_X)
#undef NP_X
#define NP_X(name, counter, flag, outcome) visit("ended_" #counter, counters.ended_##counter);
  NP_END_REASONS(NP_X)
#undef NP_X
}

}  // namespace np::proxy
