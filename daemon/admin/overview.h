// SPDX-License-Identifier: Apache-2.0
// What the dashboard and `nodectl top` read, as JSON: the node at a glance, and traces. Pure
// functions of what was read a moment before. docs/dashboard.md describes the fields.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "metrics/node_totals.h"
#include "metrics/telemetry.h"

namespace np::admin {

struct OverviewOptions {
  // What the reader has: policies and faults are left out while this is still true.
  uint64_t known_revision = 0;
};
std::string overview_json(metrics::NodeSource& node, const metrics::Telemetry& telemetry,
                          const OverviewOptions& options);

// An array, newest first.
std::string traces_json(const metrics::TraceBook& book, const metrics::TraceQuery& query);
// Empty: there is no such trace (any more), or `id` is none.
std::string trace_json(const metrics::TraceBook& book, const std::string& id);

// For `nodectl top connections`. What no shard knows (yet) stays 0.
struct ConnectionState {
  SocketAddress client, dialled;
  std::string pod, service, state;
  uint64_t start_ns = 0;                            // CLOCK_MONOTONIC
  uint64_t age_ms = 0, tx_bytes = 0, rx_bytes = 0;  // tx: from the pod
  uint64_t requests = 0, failures = 0, retries = 0;
  uint64_t statuses[4] = {};  // 2xx to 5xx
  uint32_t route_id = 0;      // of the latest request
};
std::string connections_json(const std::vector<ConnectionState>& connections,
                             metrics::NodeSource& node);

}  // namespace np::admin
