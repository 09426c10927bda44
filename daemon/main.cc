// SPDX-License-Identifier: Apache-2.0
// nodeproxyd: one binary, two roles. Composition only: supervisor and worker are in kernel/ and
// worker.cc.
#include <unistd.h>

#include <cstdio>

#include "base/fd.h"
#include "base/log.h"
#include "base/result.h"
#include "control/control_server.h"
#include "kernel/acceleration.h"
#include "kernel/node_checks.h"
#include "kernel/sandbox.h"
#include "kernel/supervisor.h"
#include "lasting_memory.h"
#include "options.h"
#include "worker.h"

namespace {

// Made by the supervisor, once: the directory stays root's, a second daemon is refused before it
// takes anything over, and nodectl waits in the queue while a worker is started again.
np::Result<np::Fd> open_control_socket(const np::Options& options) {
  NP_TRY(np::kernel::prepare_run_dir(options.run_dir, np::kControlGroup));
  return np::control::open_control_socket(options.run_dir, np::kControlGroup);
}

int supervise(const np::Options& options) {
  const auto control_socket = open_control_socket(options);
  if (!control_socket) {
    np::log_error(control_socket.error().to_string());
    return 1;
  }
  np::kernel::SupervisorOptions supervisor;
  supervisor.instance = options.instance;
  supervisor.capture = options.capture;
  supervisor.drain_time = options.drain_time;
  supervisor.watchdog = options.overload.watchdog;
  if (options.hook == "tcx") supervisor.hook = np::kernel::HookChoice::kTcx;
  if (options.hook == "clsact") supervisor.hook = np::kernel::HookChoice::kClsact;
  supervisor.control_socket = control_socket->get();
  supervisor.series_bytes = sizeof(np::ShardLasting);
  supervisor.worker_arguments = options.arguments;
  return np::kernel::run_supervisor(supervisor);
}

// What `nodectl doctor` shows when no worker answers.
int inspect(const np::Options& options) {
  const np::kernel::SupervisorOptions defaults;
  for (const std::string& line : np::kernel::inspect_instance(options.instance, defaults.bpffs)) {
    std::puts(line.c_str());
  }
  return 0;
}

// The supervisor and nodectl read it.
int test_acceleration() {
  std::fputs(np::kernel::acceleration_report_text().c_str(), stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = np::parse_options(argc, argv, ::geteuid());
  if (const auto* early = std::get_if<np::EarlyExit>(&parsed)) {
    std::fputs(early->message.c_str(), early->exit_code == 0 ? stdout : stderr);
    return early->exit_code;
  }
  const auto& options = std::get<np::Options>(parsed);
  if (const auto level = np::parse_log_level(options.log_level)) np::set_log_level(*level);
  if (options.inspect) return inspect(options);
  if (options.test_acceleration) return test_acceleration();
  return options.worker_link >= 0 ? np::run_worker(options) : supervise(options);
}
