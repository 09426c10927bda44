// SPDX-License-Identifier: Apache-2.0
// ProbeServer: /livez and /readyz on a listener and a thread of their own, so that nobody who keeps
// the admin pages busy makes a healthy worker look dead. No client can hold its thread: it waits
// for all of them at once, each has a second in all, and when there are too many the one that has
// been silent longest goes. Owned by run_worker.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "admin/health.h"
#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace np::admin {

class ProbeServer {
 public:
  // Only listens, which may need a privilege. `health` outlives the server.
  static Result<std::unique_ptr<ProbeServer>> listen(const SocketAddress& bind,
                                                     HealthSource& health);
  ~ProbeServer();
  ProbeServer(const ProbeServer&) = delete;
  ProbeServer& operator=(const ProbeServer&) = delete;
  // The thread; nothing is accepted before.
  void start();

 private:
  struct Client {
    Fd fd;
    Instant until;
    std::string head;
  };
  ProbeServer(Fd listener, Fd stop, HealthSource& health)
      : listener_(std::move(listener)), stop_(std::move(stop)), health_(health) {}
  void run();
  // False: it is time to end.
  bool wait(std::vector<bool>& is_readable, bool& has_newcomers);
  void accept_newcomers();
  // True: the client is done with.
  bool read(Client& client);
  std::string answer(std::string_view head);

  const Fd listener_, stop_;
  HealthSource& health_;
  std::thread thread_;
  // The thread's.
  std::vector<Client> clients_;  // the oldest first
  Instant accepts_from_{};       // descriptors were short before
};

}  // namespace np::admin
