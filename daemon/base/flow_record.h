// SPDX-License-Identifier: Apache-2.0
// FlowRecord: the daemon's per-connection counters. It IS one np_conn slot (the shard asserts that
// the layout equals np_abi.h's struct np_conn), written with plain stores by the one shard that
// owns the connection and read by bpftool. Gateway connections use a private record of the same
// shape.
#pragma once

#include <cstdint>

namespace np {

struct FlowKeyBytes {
  uint8_t source_ip[16];  // v4-mapped
  uint8_t destination_ip[16];
  uint16_t source_port;  // host order, as in np_flows
  uint16_t destination_port;
  uint32_t ifindex;  // 0 when the daemon does not know it
};
static_assert(sizeof(FlowKeyBytes) == 40);

struct FlowRecord {
  uint32_t seq;    // odd while being written
  uint32_t state;  // 0 free, 1 open, 2 closed
  uint32_t pod_id;
  uint32_t service_id;
  uint32_t route_id;     // of the latest request
  uint32_t endpoint_id;  // of the latest try
  FlowKeyBytes key;
  uint64_t started;  // requests whose head was accepted
  uint64_t completed;
  uint64_t refused;
  uint64_t aborted;
  uint64_t status_2xx;
  uint64_t status_3xx;
  uint64_t status_4xx;
  uint64_t status_5xx;
  uint64_t delays;
  uint64_t fault_aborts;
  uint64_t retries;
  uint64_t bytes_up;    // payload bytes from the client
  uint64_t bytes_down;  // payload bytes to the client
  uint64_t start_ns;
  uint64_t last_ns;
  uint64_t reserved;
};
static_assert(sizeof(FlowRecord) == 192);

}  // namespace np
