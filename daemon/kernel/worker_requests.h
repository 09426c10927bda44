// SPDX-License-Identifier: Apache-2.0
// WorkerRequests: the supervisor's side of the link: hands everything over to a new worker, and
// answers the closed list of requests. Treats each message as if a hostile worker had sent it: a
// request that breaks the protocol is an error that costs the worker its life.
// Supervisor only, single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/acceleration_run.h"
#include "kernel/capture_side.h"
#include "kernel/gateway_listeners.h"
#include "kernel/link_channel.h"

namespace np::kernel {

// What every worker of this supervisor is given besides kernel state.
struct SharedState {
  CaptureSide* capture = nullptr;  // null: --no-capture
  GatewayListeners* gateways = nullptr;
  AccelerationRun* acceleration = nullptr;
  int counters_fd = -1;  // memfds without capture
  int flow_records_fd = -1;
  int control_socket = -1;  // none: -1
  int series_fd = -1;       // none: -1
  int life_fd = -1;         // none: -1
  uint32_t series_bytes = 0;
  uint32_t counter_blocks = 0;
  uint32_t flow_records = 0;
};

class WorkerRequests {
 public:
  WorkerRequests(SharedState state, std::function<void()> on_ready, std::function<void()> on_drain)
      : state_(state), on_ready_(std::move(on_ready)), on_drain_(std::move(on_drain)) {}

  Result<void> hand_over(LinkChannel& channel, uint64_t epoch, bool lost_predecessor,
                         const std::vector<ProbeRow>& probe);
  // Answers one message. An Error means: this is no worker of ours any more.
  Result<void> serve(LinkChannel& channel, const LinkMessage& message);

 private:
  Result<void> hand_maps(LinkChannel& channel);
  Result<void> answer(LinkChannel& channel, uint32_t id, const Result<void>& result);
  Result<void> attach_pod(LinkChannel& channel, const LinkMessage& message);
  Result<void> detach_pod(LinkChannel& channel, const LinkMessage& message);
  Result<void> list_pods(LinkChannel& channel, const LinkMessage& message);
  Result<void> set_listeners(LinkChannel& channel, const LinkMessage& message);
  Result<void> set_band(LinkChannel& channel, const LinkMessage& message);
  Result<void> note_endpoint(LinkChannel& channel, const LinkMessage& message);
  Result<void> check_node(LinkChannel& channel, const LinkMessage& message);
  Result<void> attach_guard(LinkChannel& channel, const LinkMessage& message);
  Result<void> detach_guard(LinkChannel& channel, const LinkMessage& message);
  Result<void> list_guards(LinkChannel& channel, const LinkMessage& message);
  Result<void> test_acceleration(LinkChannel& channel, const LinkMessage& message);
  Result<void> get_acceleration(LinkChannel& channel, const LinkMessage& message);
  Result<void> send_state(LinkChannel& channel, uint32_t id, const PodRecord& record);
  Result<void> require_capture() const;

  SharedState state_;
  std::function<void()> on_ready_;
  std::function<void()> on_drain_;
};

}  // namespace np::kernel
