// SPDX-License-Identifier: Apache-2.0
// What the node tells beside the series of its shards, as values of one moment: totals, clusters
// with their endpoints and limits, policies, pods. Asked for at a scrape or by a person who looks,
// on the threads of the admin server and of control.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/address.h"

namespace np::metrics {

struct Counted {
  std::string name;
  std::string help;
  uint64_t value = 0;
};

// Limits: 0 stands for none.
struct ClusterState {
  std::string name, legacy_name, host, subset;
  uint64_t endpoints = 0, healthy = 0, ejected = 0;
  uint64_t requests = 0, waiting = 0, retries = 0, connections = 0;
  // Of the caller that has most: mostly a limit holds for each caller by itself.
  uint64_t busiest_requests = 0, busiest_waiting = 0, busiest_retries = 0;
  uint64_t max_connections = 0, max_pending = 0, max_requests = 0, max_retries = 0;
  uint64_t refused = 0;  // by these limits, so far
};

struct EndpointState {
  std::string service;  // "reviews.default.svc.cluster.local:9080"
  SocketAddress address;
  std::string pod;      // "ns/name"; empty: not known here
  std::string version;  // its label
  std::string state;    // "in service", "on probation", "ejected", "unhealthy"
  std::string reason;   // of an ejection
  uint64_t since_unix_ns = 0, until_unix_ns = 0;
  std::vector<std::string> failures;
};

struct FaultState {
  std::string object, route, host;
  double delay_ms = 0, delay_percent = 0;  // the mean, when it is drawn
  int abort_status = 0;                    // -1: the connection is reset
  double abort_percent = 0;
  bool is_shadow = false;
};

struct PolicyState {
  std::string kind, ns, name, status, reason;
  std::vector<std::string> warnings, hosts;
};

struct PodState {
  uint32_t id = 0;
  std::string name;                     // "ns/name"
  std::vector<Counted> use;             // of the shards' time and memory, and flows
  uint64_t tx_bytes = 0, rx_bytes = 0;  // payload from and to the pod, by the kernel's count
  uint64_t flows_open = 0, cpu_ns = 0;
  uint64_t buffer_bytes = 0;  // held for it now
};

struct OverloadTotals {
  uint64_t memory_used_bytes = 0, memory_limit_bytes = 0;  // limit 0: none is known
  uint32_t memory_stage = 0;                               // MemoryStage
  std::vector<Counted> stages_begun;                       // by the stage's name
  uint32_t late_shards = 0;
  uint64_t watchdog_aborts = 0;
};

struct NodeTotals {
  std::string instance, version;
  uint32_t shards = 0;
  uint64_t revision = 0;  // of the policy
  int64_t started_unix_ms = 0;
  bool is_overloaded = false;
  OverloadTotals overload;
  uint64_t open_connections = 0;
  std::vector<Counted> engine;  // by the engine's own names
  std::vector<Counted> shard;
  std::vector<Counted> kernel;          // packets, by what became of them
  std::vector<Counted> ended;           // requests, by how they ended
  std::vector<uint64_t> timer_late_ms;  // by milliseconds; the last one: and more
  std::vector<ClusterState> clusters;
  std::vector<PodState> pods;
  double cpu_seconds = 0;  // of this worker
  uint64_t resident_bytes = 0;
};

// What changes with policy only.
struct PolicyTotals {
  uint64_t revision = 0;
  std::vector<PolicyState> policies;
  std::vector<FaultState> faults;
};

// Any thread.
class NodeSource {
 public:
  virtual ~NodeSource() = default;
  virtual NodeTotals totals() = 0;
  virtual std::vector<EndpointState> endpoints() = 0;
  virtual PolicyTotals policies() = 0;
  // By the ids in np_conn: "RouteRule default/slow, slow".
  virtual std::map<uint32_t, std::string> route_names() = 0;
};

}  // namespace np::metrics
