// SPDX-License-Identifier: Apache-2.0
// Try: part of an Exchange, which runs one at a time. A plain value.
#pragma once

#include <cstdint>

#include "base/metric_slots.h"
#include "base/time.h"
#include "http/codec.h"
#include "policy/snapshot.h"
#include "proxy/connection.h"
#include "proxy/pick.h"

namespace np::proxy {

struct ShardGroup;
class ShadowUse;

// A share of the retry budgets, held until the Exchange ends.
struct RetryShare {
  bool is_held = false;
  ShardGroup* group = nullptr;  // null: the cluster has no limits
  ShadowUse* shadow = nullptr;  // the same for those in shadow mode
};

// One try: from the choice of an endpoint to its answer or failure.
struct Try {
  ConnectionId connection;  // generation 0: none yet
  http::StreamId stream = 0;
  const policy::Endpoint* endpoint = nullptr;  // null with original destination
  EndpointState* live = nullptr;
  Pool* waiting_in = nullptr;
  ShardGroup* group = nullptr;           // its limits; null: none
  bool admitted = false;                 // has a place among them; else it waits in line
  ShadowUse* shadow = nullptr;           // limits in shadow mode look on; null: none
  bool is_rehearsed = false;             // it counts among those who run there
  ServiceHealth* waiting_for = nullptr;  // an endpoint of this service may get room
  ServiceHealth* service = nullptr;      // hears the result
  bool probation = false;                // it must hear
  bool reported = false;                 // it has
  ClusterCounters* stats = nullptr;      // where its end is counted; null: it never began
  Instant sent_at;                       // when the request was given to a connection
  bool reused = false;                   // a kept connection
  bool end_sent = false;                 // whole request handed to the codec
  uint64_t offered_before = 0;           // bytes given to the driver before this try
  uint64_t received_before = 0;
};

}  // namespace np::proxy
