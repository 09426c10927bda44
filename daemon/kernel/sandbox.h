// SPDX-License-Identifier: Apache-2.0
// The worker's last privileged step. Order in the worker: WorkerLink::from_fd, create the rings
// (RLIMIT_MEMLOCK counts per uid), start the thread of `source: pod` sockets in the proxy
// namespace, open log and state files that need rights, then enter_sandbox(). It acts on all
// threads: glibc applies setresuid to each, capabilities are dropped thread by thread, seccomp and
// no_new_privs are installed with TSYNC.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace np::kernel {

struct SandboxOptions {
  std::string user = "nodeproxy";  // as root: become this user; missing: uid and gid 64321
  std::string state_dir;           // handed to the user before the drop, mode 0700
};

struct SandboxReport {
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t max_open_files = 0;     // RLIMIT_NOFILE: caps derive from this
  uint64_t max_locked_bytes = 0;   // RLIMIT_MEMLOCK
  std::vector<std::string> notes;  // what a person should know, for the log
};

// The uid and gid the worker will run as; what directories must belong to. Any time before.
Result<SandboxReport> plan_sandbox(const SandboxOptions& options);

// The directory of the control socket, as the supervisor prepares it: 0750, root's, readable for
// `group` where there is one. Without root it is made for this user.
Result<void> prepare_run_dir(const std::string& run_dir, const std::string& group);

// Drops to the user, drops every capability, sets no_new_privs and the seccomp filter (no execve,
// io_uring_setup, ptrace, mount, namespaces; bpf only for map elements). Without root it keeps the
// uid and does the rest.
Result<SandboxReport> enter_sandbox(const SandboxOptions& options);

}  // namespace np::kernel
