// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "admin/admin_server.h"
#include "admin/probe_server.h"
#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "control/control_thread.h"
#include "ejection_seams.h"
#include "kernel/sandbox.h"
#include "kernel/worker_link.h"
#include "limit_seams.h"
#include "node_board.h"
#include "overload_seams.h"
#include "worker_seams.h"
#include "worker_telemetry.h"

namespace np {
namespace {

// Readable when the process is asked to stop (SIGTERM, SIGINT) or its supervisor is gone. Signals
// must be blocked before the first thread starts, so that all threads inherit the mask.
class StopSignal {
 public:
  static Result<std::unique_ptr<StopSignal>> create() {
    std::unique_ptr<StopSignal> stop(new StopSignal());
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) {
      return system_error(errno, "block SIGTERM");
    }
    ::signal(SIGPIPE, SIG_IGN);
    stop->signal_fd_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    stop->epoll_fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!stop->signal_fd_.is_open() || !stop->epoll_fd_.is_open()) {
      return system_error(errno, "make the stop signal");
    }
    stop->watch(stop->signal_fd_.get(), EPOLLIN);
    return stop;
  }
  // `events` may be 0: the end of a connection is always told.
  void watch(int fd, uint32_t events) {
    epoll_event event{.events = events, .data = {.fd = fd}};
    ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  int fd() const { return epoll_fd_.get(); }

 private:
  Fd signal_fd_;
  Fd epoll_fd_;
};

Result<void> enter_sandbox(const Options& options) {
  kernel::SandboxOptions sandbox;
  sandbox.state_dir = options.state_dir;
  NP_TRY_ASSIGN(const kernel::SandboxReport report, kernel::enter_sandbox(sandbox));
  for (const std::string& note : report.notes) log_info(note);
  return ok();
}

// Null: none were asked for, or nobody asked for this address and it is taken.
Result<std::unique_ptr<admin::ProbeServer>> listen_for_probes(const Options& options,
                                                              DataPathHealth& health) {
  const ProbeAddress& probes = options.probes;
  if (!probes.bind) return std::unique_ptr<admin::ProbeServer>();
  auto server = admin::ProbeServer::listen(*probes.bind, health);
  if (server || probes.is_asked_for) return server;
  log_warn("probes are answered at --admin only: " + server.error().to_string());
  return std::unique_ptr<admin::ProbeServer>();
}

control::ControlOptions control_options(const Options& options, Fd control_socket) {
  control::ControlOptions control;
  control.listener = std::move(control_socket);
  control.group = kControlGroup;
  control.state_dir = options.state_dir;
  control.info.version = kVersion;
  control.info.instance = options.instance;
  control.info.shards = options.workers;
  control.info.started = monotonic_now();
  return control;
}

void drain(const Options& options, kernel::WorkerLink& link, shard::ShardPool& pool) {
  log_info("draining");
  // New connections follow their fail mode from here on; open ones may end.
  link.set_live_flag(kernel::LiveFlag::kDrain, true);
  const size_t left = pool.drain(options.drain_time);
  if (left > 0) {
    log_warn(std::to_string(left) + " connections were still open after the drain time");
  }
  pool.stop();
}

// What was privileged is done when the sandbox is entered: rings, the thread in the proxy
// namespace, the admin port. Only then is the first byte of anybody read.
Result<void> serve(const Options& options) {
  NP_TRY_ASSIGN(auto stop, StopSignal::create());
  NP_TRY_ASSIGN(auto link, kernel::WorkerLink::from_fd(Fd(options.worker_link)));
  // Its end means that the supervisor is gone. A late answer on it means nothing.
  stop->watch(link->fd(), 0);
  KernelEjections ejections(*link);
  NP_TRY_ASSIGN(auto watch, EjectionWatch::create());
  NP_TRY_ASSIGN(auto telemetry, make_telemetry(options, *link));
  NP_TRY_ASSIGN(auto memory, make_memory_watch(options.overload, *link));
  NP_TRY_ASSIGN(auto pool, make_shard_pool(options, *link, ejections, *watch, *telemetry, *memory));
  watch->set_node(pool->node(), link.get());
  ejections.restore(pool->node());
  DataPathHealth health(*pool);
  NodeBoard board(options, *pool, *link, *watch);
  OverloadBoard overload(options.overload, *memory, *pool, *link);
  board.set_overload(overload);
  NP_TRY_ASSIGN(auto admin, admin::AdminServer::start(
                                {options.admin, options.admin_names, options.telemetry.families},
                                {health, board, *telemetry}));
  NP_TRY_ASSIGN(auto probes, listen_for_probes(options, health));
  NP_TRY(enter_sandbox(options));
  admin->open();
  if (probes) probes->start();
  telemetry->start();

  CounterBoard counters(*pool, *link, *watch, ejections, *telemetry);
  SupervisorLifecycle lifecycle;
  GatewayListeners listeners(*link, *pool);
  control::Seams seams;
  BandedSink sink(*link, *pool, board);
  TelemetryReporter reporter(board, *telemetry, *link);
  seams.sink = &sink;
  seams.listeners = &listeners;
  seams.counters = &counters;
  seams.lifecycle = &lifecycle;
  seams.watch = watch.get();
  ShardLimits limits(*pool);
  seams.limits = &limits;
  seams.inspector = link.get();
  seams.policies = &board;
  seams.reporter = &reporter;
  seams.overload = &overload;
  if (link->has_capture()) {
    seams.capture = &link->capture_table();
    seams.probe = link->capture_probe();
    seams.attacher = link.get();
    seams.resetter = link.get();
    seams.guard = link->guard();
    seams.acceleration = link->acceleration();
  }
  control::ControlThread control(control_options(options, link->take_control_socket()), seams);
  // Policy first: connections that waited for this worker must not be served without it.
  NP_TRY(control.start());
  NP_TRY(pool->start());
  memory->start();
  // The flag outlives a worker that drained; this one takes connections.
  link->set_live_flag(kernel::LiveFlag::kDrain, false);
  NP_TRY(link->ready());
  health.set_started();
  log_info("worker ready: " + std::to_string(options.workers) + " shards, epoch " +
           std::to_string(link->epoch()));

  NP_TRY(control.run(stop->fd()));
  drain(options, *link, *pool);
  return ok();
}

}  // namespace

int run_worker(const Options& options) {
  const auto served = serve(options);
  if (served) return 0;
  log_error("worker: " + served.error().to_string());
  return 1;
}

}  // namespace np
