// SPDX-License-Identifier: Apache-2.0
// ControlThread: everything that runs on the worker's control thread: policy, the control socket
// and the DNS resolver, in one poll loop. main constructs it with the seams (which outlive it),
// calls start() when the shards run, then run(), both on the same thread.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "control/control_server.h"
#include "control/controller.h"
#include "control/resolver.h"
#include "control/verbs.h"

namespace np::control {

struct ControlOptions {
  std::string run_dir;
  std::string state_dir;            // empty: nothing outlives the process
  std::string group = "nodeproxy";  // who may use the socket besides root and our own user
  Fd listener;                      // an open control socket; not open: run_dir's is opened
  DaemonInfo info;
  ResolverOptions resolver;
  ServerLimits limits;
};

class ControlThread {
 public:
  ControlThread(ControlOptions options, const Seams& seams);
  ~ControlThread();

  // Publishes the stored policy, attaches the registered pods, opens the socket. Once.
  Result<void> start();
  // Serves until `stop_fd` is readable (an eventfd or a pipe; it is not read).
  Result<void> run(int stop_fd);

  const Controller& controller() const { return *controller_; }

 private:
  void follow_names();
  void log_notes();
  void step(int timeout_milliseconds, int stop_fd, bool& stopped);

  ControlOptions options_;
  Seams seams_;
  std::unique_ptr<StateFile> state_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Verbs> verbs_;
  std::unique_ptr<ControlServer> server_;
  uint64_t named_generation_ = 0;  // of the snapshot whose names the resolver follows
};

}  // namespace np::control
