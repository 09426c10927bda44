// SPDX-License-Identifier: Apache-2.0
// PodSocketThread: makes upstream sockets that carry a pod's address (design.md 8.5). One thread
// that entered the proxy netns before privileges dropped; it binds podIP:port with a port of the
// reserved band and begins the connect, trying the next port when that 4-tuple exists (R25, R26).
// Shards ask with ask(); the answer comes to the shard's inbox. Owned by the pool.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <thread>

#include "base/address.h"
#include "base/result.h"
#include "shard/peers.h"
#include "uring/inbox.h"

namespace np::shard {

struct PodSocketOptions {
  int netns_fd = -1;
  uint16_t port_lo = 0, port_hi = 0;
  uint32_t tries = 16;
};

struct PodSocketRequest {
  uint32_t shard = 0;
  uint32_t slot = 0, generation = 0;
  SocketAddress remote;
  IpAddress source;
  bool stop = false;
};

class PodSocketThread {
 public:
  // Starts the thread and returns when it is inside the netns.
  static Result<std::unique_ptr<PodSocketThread>> create(const PodSocketOptions& options,
                                                         Peers& peers);
  ~PodSocketThread();

  // Any shard. False when too many requests are waiting.
  bool ask(const PodSocketRequest& request) { return inbox_.try_push(PodSocketRequest(request)); }

 private:
  PodSocketThread(const PodSocketOptions& options, Peers& peers, uring::Waker waker);
  void run(std::promise<int> entered);
  void serve(const PodSocketRequest& request);
  // A socket whose connect has begun, or -errno.
  int make(const PodSocketRequest& request);
  int try_port(const PodSocketRequest& request, uint16_t port) const;

  const PodSocketOptions options_;
  Peers& peers_;
  uring::Inbox<PodSocketRequest> inbox_;
  uint32_t next_port_ = 0;  // offset into the band
  std::thread thread_;
};

}  // namespace np::shard
