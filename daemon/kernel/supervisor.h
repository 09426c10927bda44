// SPDX-License-Identifier: Apache-2.0
// The supervisor: the privileged process that owns the eBPF programs and maps, the proxy
// namespace, the listening sockets and the worker's pid (design.md 1). Single-threaded, one poll
// loop; parses nothing that a pod or a client sent. With `capture` off it is the same loop without
// eBPF, namespaces and root: counters then live in memory of its own.
//
//   main, role supervisor:  return run_supervisor(options)
//   main, role worker:      WorkerLink::from_fd(N) when started with "--worker-link=N"
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace np::kernel {

enum class HookChoice : uint8_t {
  kAuto,    // tcx when the kernel has it, else clsact
  kTcx,     // refuse to start without tcx
  kClsact,  // legacy tc, also on kernels that have tcx
};

// "tcx", "clsact" or "auto".
Result<HookChoice> parse_hook_choice(const std::string& text);

struct SupervisorOptions {
  std::string instance = "nodeproxy";  // [a-z0-9-], at most 32: names pins, namespace, np0
  bool capture = true;
  HookChoice hook = HookChoice::kAuto;
  Duration drain_time = std::chrono::seconds(30);
  Duration heartbeat_timeout = std::chrono::seconds(1);  // hb_timeout of design.md 8.3
  // A ready worker with a shard that completes no loop iteration for as long is aborted (a core
  // shows where) and replaced. Zero: never.
  Duration watchdog = std::chrono::seconds(2);
  std::string bpffs = "/sys/fs/bpf";
  uint32_t counter_blocks = 64;   // shards that a worker may have
  uint32_t flow_records = 65536;  // np_conn slots without capture
  uint32_t series_bytes = 0;      // memory per shard for metrics, which a worker finds again
  // Listening socket of nodectl, handed to every worker; -1: none. Borrowed.
  int control_socket = -1;
  // The worker is /proc/self/exe with these arguments and "--worker-link=N" after them.
  std::vector<std::string> worker_arguments;
};

// Runs until SIGTERM or SIGINT and the worker's drain. Returns the process's exit status: 0 after
// an orderly end, 1 when start-up failed or the worker had to be killed. Errors go to stderr.
int run_supervisor(const SupervisorOptions& options);

// `nodectl detach --all` and tests: removes what an instance left in the kernel when no supervisor
// runs: links, filters, pins, np0, the namespace. Missing parts are no error.
Result<void> detach_instance(const SupervisorOptions& options);

}  // namespace np::kernel
