// SPDX-License-Identifier: Apache-2.0
// What a WorkerLink owns: its channel, the fds and the memory that were handed over. Private to
// worker_link.cc (messages), worker_state.cc (shared memory and maps), worker_guard.cc and
// worker_acceleration.cc.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernel/capture_replay.h"
#include "kernel/capture_table.h"
#include "kernel/guard_rules.h"
#include "kernel/kernel_maps.h"
#include "kernel/link_channel.h"
#include "kernel/mapped_region.h"
#include "kernel/worker_link.h"

namespace np::kernel {

class WorkerLink::Impl {
 public:
  class Guard;
  class Acceleration;

  explicit Impl(Fd socket);
  ~Impl();

  Result<void> receive_hand_over();
  Result<void> take(LinkMessage message);
  Result<void> take_fd(const link::HandFd& hand, Fd fd);
  Result<void> map_memory();
  // Sends a request and waits for its answer; messages before the answer go to `extra`.
  template <typename T>
  Result<void> call(link::Kind kind, const T& body, std::vector<LinkMessage>* extra = nullptr) {
    const uint32_t id = next_id++;
    NP_TRY(channel.send(kind, id, body));
    return wait_for_answer(id, extra);
  }
  Result<void> wait_for_answer(uint32_t id, std::vector<LinkMessage>* extra);
  int map(Map which) const { return maps[static_cast<size_t>(which)].get(); }

  LinkChannel channel;
  uint32_t next_id = 1;
  link::Hello hello;
  bool has_capture = false;
  std::array<Fd, static_cast<size_t>(Map::kCount)> maps;
  std::vector<Fd> listener_fds;
  std::vector<CaptureListener> capture_listeners;
  struct OwnedGateway {
    Fd fd;
    SocketAddress bind;
  };
  std::vector<OwnedGateway> gateways;
  Fd proxy_netns, control_socket, series_fd, life_fd;
  std::vector<std::string> probe;
  MappedRegion live, flow_records, counters, limits, series, life;
  std::unique_ptr<KernelCaptureTable> table;
  std::unique_ptr<CaptureReplay> replay;
  std::unique_ptr<Guard> guard;                // null without capture
  std::unique_ptr<Acceleration> acceleration;  // null without capture
  ListenerObserver observer;
};

// The guard's interfaces by messages, its rules by the maps (worker_guard.cc).
class WorkerLink::Impl::Guard final : public control::GuardHost {
 public:
  explicit Guard(Impl& impl)
      : impl_(impl), rules_(impl.map(Map::kGuardDeny), impl.map(Map::kGuardDestinations)) {}
  Result<control::GuardState> attach(const control::GuardPlace& place, bool is_kept) override;
  Result<void> detach(const std::string& ifname) override;
  std::vector<control::GuardState> states() override;
  Result<void> set_denied(const std::vector<IpPrefix>& prefixes) override;
  Result<void> set_limits(const std::vector<control::GuardLimit>& limits) override;
  Result<void> set_exposed(const std::vector<SocketAddress>& listeners) override;
  std::vector<control::GuardUse> uses() override;
  std::vector<control::NamedCounter> counters() override;

 private:
  Impl& impl_;
  GuardRules rules_;
};

// The self-test of acceleration, which the supervisor runs (worker_acceleration.cc).
class WorkerLink::Impl::Acceleration final : public control::AccelerationHost {
 public:
  explicit Acceleration(Impl& impl) : impl_(impl) {}
  Result<void> start() override;
  control::AccelerationState state() override;

 private:
  Impl& impl_;
};

}  // namespace np::kernel
