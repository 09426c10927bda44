// SPDX-License-Identifier: Apache-2.0
// What a WorkerLink owns: its channel, the fds and the memory that were handed over. Private to
// worker_link.cc (messages) and worker_state.cc (shared memory and maps).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernel/capture_table.h"
#include "kernel/kernel_maps.h"
#include "kernel/link_channel.h"
#include "kernel/mapped_region.h"
#include "kernel/worker_link.h"

namespace np::kernel {

class WorkerLink::Impl {
 public:
  explicit Impl(Fd socket) : channel(std::move(socket)) {}

  Result<void> receive_hand_over();
  Result<void> take(LinkMessage message);
  Result<void> take_fd(const link::HandFd& hand, Fd fd);
  Result<void> map_memory();
  // Sends a request and waits for its answer; messages before the answer go to `extra`.
  template <typename T>
  Result<void> call(link::Kind kind, const T& body, std::vector<LinkMessage>* extra = nullptr);
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
  Fd proxy_netns, control_socket;
  std::vector<std::string> probe;
  MappedRegion live, flow_records, counters, limits;
  std::unique_ptr<KernelCaptureTable> table;
  ListenerObserver observer;
};

}  // namespace np::kernel
