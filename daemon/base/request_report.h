// SPDX-License-Identifier: Apache-2.0
// What the engine tells about a request when it has ended, and to whom. The numbers are cheap and
// always filled; the texts are asked for only by those who need them (a new kind of request, a log
// line, a span). Shard thread; everything a text points at lives as long as the call.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/metric_slots.h"
#include "base/time.h"

namespace np {

// The place of a request in a trace (traffic-semantics 3.9). All zero: not traced.
struct TraceIds {
  uint64_t trace_high = 0, trace_low = 0;
  uint64_t parent_span = 0;  // the caller's; 0: the trace begins here
  uint64_t client_span = 0;  // of the caller's side
  uint64_t server_span = 0;  // of the called side: what the endpoint is told
  bool sampled = false;
  bool debug = false;  // and a collector must not drop it either
  bool is_on() const { return (trace_high | trace_low) != 0; }
};

struct RequestReport {
  enum class Outcome : uint8_t { kCompleted, kRefused, kAborted };
  Instant started, ended;
  Instant sent;      // the latest try was given a connection; 0: there was none
  Instant answered;  // its answer's head was here; 0: none came
  uint64_t request_bytes = 0, response_bytes = 0;  // of bodies; of connections when opaque
  // Together with status and reason these name the kind of request. Stable within a worker.
  uint32_t workload_id = 0, route_id = 0, cluster_id = 0, endpoint_id = 0;
  uint32_t pod_id = 0;  // of the caller, when captured
  uint16_t status = 0;  // given to the client; 0: none
  uint8_t reason = 0;   // EndReason
  Outcome outcome = Outcome::kCompleted;
  bool opaque = false;   // a connection of opaque TCP, or a tunnel
  bool gateway = false;  // came in through a gateway; else captured
  // False: its ids are of a policy that was replaced meanwhile.
  bool is_of_latest_policy = true;
  bool is_failure = false;  // 5xx, or no whole answer
  uint32_t retries = 0;
  bool retries_used_up = false;  // and the last answer was a failure, too
  Duration delay{};              // injected
  // Injected; 0: none.
  uint16_t fault_status = 0;
  static constexpr uint16_t kFaultReset = UINT16_MAX;
  bool waited = false;  // for a place under a limit, or for an endpoint
  TraceIds trace;
};

struct RequestTexts {
  std::string_view method, authority, path, protocol;
  std::string_view user_agent, request_id, forwarded_for;
  std::string_view flags;          // traffic-semantics 3.10; empty: "-"
  std::string_view details;        // "via_upstream"
  std::string_view route, object;  // rule, and "KIND ns/name" that it came from
  std::string_view cluster, legacy_cluster, host, subset;
  std::string_view gateway;  // "ns/name"
  // The caller, when it is a pod of this node; the endpoint, when it is a pod that is known.
  std::string_view source_pod, source_workload, source_namespace, source_app, source_version,
      source_service;
  std::string_view endpoint_pod, endpoint_app, endpoint_version;  // pod: "ns/name"
  SocketAddress client, dialled, endpoint;                        // port 0: none
};

class ReportSource {
 public:
  virtual ~ReportSource() = default;
  virtual void describe(RequestTexts& texts) const = 0;
};

// One per shard, called by that shard only. Must not block and must not allocate in steady state.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  // A policy came into force: the ids of reports may mean something else from now on.
  virtual void on_policy() = 0;
  // Where the engine counts what concerns a cluster; asked behind on_policy(). The same name gets
  // the same place, for as long as the memory lives.
  virtual ClusterCounters& cluster_counters(std::string_view name) = 0;
  virtual void on_opened(const RequestReport& report, const ReportSource& source) = 0;
  virtual void on_ended(const RequestReport& report, const ReportSource& source) = 0;
};

// How the engine traces.
struct TraceOptions {
  bool enabled = false;           // off: trace headers pass untouched
  uint32_t per_million = 10'000;  // of new traces that are sampled
  bool send_b3 = true;            // x-b3-* beside traceparent
};

}  // namespace np
