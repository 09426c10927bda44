// SPDX-License-Identifier: Apache-2.0
// nodeproxyd: one binary, two roles. Composition only: supervisor and worker are in kernel/ and
// worker.cc.
#include <unistd.h>

#include <cstdio>

#include "base/log.h"
#include "kernel/supervisor.h"
#include "options.h"
#include "worker.h"

namespace {

int supervise(const np::Options& options) {
  np::kernel::SupervisorOptions supervisor;
  supervisor.instance = options.instance;
  supervisor.capture = options.capture;
  supervisor.drain_time = options.drain_time;
  if (options.hook == "tcx") supervisor.hook = np::kernel::HookChoice::kTcx;
  if (options.hook == "clsact") supervisor.hook = np::kernel::HookChoice::kClsact;
  supervisor.worker_arguments = options.arguments;
  return np::kernel::run_supervisor(supervisor);
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
  return options.worker_link >= 0 ? np::run_worker(options) : supervise(options);
}
