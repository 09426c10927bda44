// SPDX-License-Identifier: Apache-2.0
// EndReason: why an Exchange ended. Every Exchange ends with exactly one, every one has a counter
// (ended_NAME in counters.h) and a response flag (traffic-semantics 3.10).
#pragma once

#include <cstdint>

namespace np::proxy {

// What an end means for started = completed + refused + aborted.
//   kCompleted  an answer of the origin or of the route itself was given in full
//   kRefused    the proxy answered with a status of its own
//   kAborted    the client got no answer, or only a part of one that is visibly cut
//   kUncounted  not a client's request: mirrors and opaque connections
enum class Outcome : uint8_t { kCompleted, kRefused, kAborted, kUncounted };

// X(name, counter suffix, response flag, outcome). New ones go to the end (see counters.h).
#define NP_END_REASONS(X)                                    \
  X(kCompleted, completed, "", kCompleted)                   \
  X(kRedirect, redirect, "", kCompleted)                     \
  X(kDirectResponse, direct_response, "", kCompleted)        \
  X(kPreflight, preflight, "", kCompleted)                   \
  X(kNoRoute, no_route, "NR", kRefused)                      \
  X(kNoCluster, no_cluster, "NC", kRefused)                  \
  X(kNoHealthyUpstream, no_healthy_upstream, "UH", kRefused) \
  X(kConnectFailed, connect_failed, "UF", kRefused)          \
  X(kConnectTimeout, connect_timeout, "UF", kRefused)        \
  X(kUpstreamClosed, upstream_closed, "UC", kRefused)        \
  X(kUpstreamProtocol, upstream_protocol, "UPE", kRefused)   \
  X(kRouteTimeout, route_timeout, "UT", kRefused)            \
  X(kPerTryTimeout, per_try_timeout, "UT", kRefused)         \
  X(kFaultAbort, fault_abort, "FI", kRefused)                \
  X(kBadPath, bad_path, "DPE", kRefused)                     \
  X(kMethodRefused, method_refused, "", kRefused)            \
  X(kLoop, loop, "", kRefused)                               \
  X(kMaxForwards, max_forwards, "", kRefused)                \
  X(kBadRequest, bad_request, "DPE", kRefused)               \
  X(kHeadTimeout, head_timeout, "", kRefused)                \
  X(kRequestStalled, request_stalled, "", kRefused)          \
  X(kIdleBeforeAnswer, idle_before_answer, "SI", kRefused)   \
  X(kRateLimited, rate_limited, "RL", kRefused)              \
  X(kDenied, denied, "UAEX", kRefused)                       \
  X(kClientGone, client_gone, "DC", kAborted)                \
  X(kClientProtocol, client_protocol, "DPE", kAborted)       \
  X(kUpstreamTruncated, upstream_truncated, "UC", kAborted)  \
  X(kAnswerTimeout, answer_timeout, "UT", kAborted)          \
  X(kIdleInAnswer, idle_in_answer, "SI", kAborted)           \
  X(kMirrorDone, mirror_done, "", kUncounted)                \
  X(kMirrorFailed, mirror_failed, "", kUncounted)            \
  X(kTcpClosed, tcp_closed, "", kUncounted)                  \
  X(kTcpFailed, tcp_failed, "UF", kUncounted)                \
  X(kTcpReset, tcp_reset, "", kUncounted)                    \
  X(kOverflow, overflow, "UO", kRefused)                     \
  X(kTcpOverflow, tcp_overflow, "UO", kUncounted)            \
  X(kFaultReset, fault_reset, "FI", kAborted)                \
  X(kOverloaded, overloaded, "OM", kRefused)                 \
  X(kOverloadReset, overload_reset, "OM", kAborted)          \
  X(kTcpOverloaded, tcp_overloaded, "OM", kUncounted)

enum class EndReason : uint8_t {
#define NP_X(name, counter, flag, outcome) name,
  NP_END_REASONS(NP_X)
#undef NP_X
};

constexpr Outcome outcome_of(EndReason reason) {
  switch (reason) {
#define NP_X(name, counter, flag, outcome) \
  case EndReason::name:                    \
    return Outcome::outcome;
    NP_END_REASONS(NP_X)
#undef NP_X
  }
  return Outcome::kAborted;
}

constexpr const char* flag_of(EndReason reason) {
  switch (reason) {
#define NP_X(name, counter, flag, outcome) \
  case EndReason::name:                    \
    return flag;
    NP_END_REASONS(NP_X)
#undef NP_X
  }
  return "";
}

constexpr const char* name_of(EndReason reason) {
  switch (reason) {
#define NP_X(name, counter, flag, outcome) \
  case EndReason::name:                    \
    return #counter;
    NP_END_REASONS(NP_X)
#undef NP_X
  }
  return "";
}

}  // namespace np::proxy
