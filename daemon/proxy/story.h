// SPDX-License-Identifier: Apache-2.0
// Story: part of an Exchange: what is told about it when it has ended (base/request_report.h). A
// plain value; what it points at lives as long as the Exchange's policy or arena.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/request_report.h"
#include "base/time.h"
#include "policy/snapshot.h"
#include "proxy/trace_context.h"

namespace np::proxy {

struct Story {
  IncomingTrace incoming;
  TraceIds trace;
  const policy::Endpoint* endpoint = nullptr;  // of the latest try
  SocketAddress remote;                        // that it was to reach
  Instant sent, answered;
  uint64_t request_bytes = 0, response_bytes = 0;
  Duration delay{};
  uint16_t fault_status = 0;
  bool waited = false;
  bool retries_used_up = false;
  // Tunnels let go of their policy: ids and texts as they were then, in the arena.
  RequestTexts* kept = nullptr;
  uint32_t kept_ids[4] = {};  // workload, route, cluster, endpoint
};

// A header of the request that the trace's own stands for.
bool is_replaced_by_trace(const Story& story, std::string_view name);

}  // namespace np::proxy
