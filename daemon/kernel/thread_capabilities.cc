// SPDX-License-Identifier: Apache-2.0
#include "kernel/thread_capabilities.h"

#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/time.h"

namespace np::kernel {

namespace {

constexpr Duration kPatience = std::chrono::seconds(2);
constexpr Duration kLookEvery = std::chrono::milliseconds(1);
// The C library and sanitizers use the lowest real-time signals.
int drop_signal() {
  return SIGRTMAX - 3;
}

// Of the calling thread: 0 or errno. Two system calls, so it may run in a signal handler.
int drop_own() {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return ::syscall(SYS_capset, &header, none) == 0 ? 0 : errno;
}

void on_drop_signal(int) {
  const int kept = errno;
  (void)drop_own();
  errno = kept;
}

bool has_capabilities(const std::string& status_path) {
  std::ifstream status(status_path);  // of a thread that ended: no line comes
  for (std::string line; std::getline(status, line);) {
    for (const char* set : {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"}) {
      if (line.rfind(set, 0) != 0) continue;
      if (line.find_first_not_of("0 \t", std::strlen(set)) != std::string::npos) return true;
    }
  }
  return false;
}

Result<std::vector<pid_t>> threads_with_capabilities() {
  const std::string tasks = "/proc/self/task/";
  DIR* directory = ::opendir(tasks.c_str());
  if (directory == nullptr) return system_error(errno, "list this process's threads in " + tasks);
  std::vector<pid_t> found;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    if (thread > 0 && has_capabilities(tasks + name + "/status")) found.push_back(thread);
  }
  ::closedir(directory);
  return found;
}

}  // namespace

Result<void> drop_capabilities_of_all_threads() {
  const char* what = "drop the capabilities of all threads";
  if (const int failed = drop_own(); failed != 0) return system_error(failed, what);
  struct sigaction action {};
  action.sa_handler = on_drop_signal;
  action.sa_flags = SA_RESTART;
  if (::sigaction(drop_signal(), &action, nullptr) != 0) return system_error(errno, what);
  const Instant limit = monotonic_now() + kPatience;
  for (;;) {
    NP_TRY_ASSIGN(const std::vector<pid_t> left, threads_with_capabilities());
    if (left.empty()) break;
    if (monotonic_now() > limit) {
      return Error{ErrorCode::kDenied, what,
                   "thread " + std::to_string(left.front()) + " keeps its", ""};
    }
    for (const pid_t thread : left) ::syscall(SYS_tgkill, ::getpid(), thread, drop_signal());
    std::this_thread::sleep_for(kLookEvery);
  }
  // Not the default, which would end the process: a thread may have one more of them pending.
  ::signal(drop_signal(), SIG_IGN);
  return ok();
}

}  // namespace np::kernel
