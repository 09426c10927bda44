// SPDX-License-Identifier: Apache-2.0
#include "kernel/sandbox.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/seccomp_filter.h"
#include "kernel/thread_capabilities.h"

namespace np::kernel {

namespace {

// Where no such user exists: outside the ranges that Debian gives to people and services.
constexpr uid_t kFallbackUid = 64321;
constexpr mode_t kStateDirMode = 0700;
constexpr mode_t kRunDirMode = 0750;
constexpr mode_t kParentDirMode = 0755;

Result<void> make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string parent = path.substr(0, at);
    if (::mkdir(parent.c_str(), kParentDirMode) != 0 && errno != EEXIST) {
      return system_error(errno, "make " + parent);
    }
  }
  return ok();
}

Result<void> own_directory(const std::string& path, mode_t mode, uid_t uid, gid_t gid) {
  if (path.empty()) return ok();
  NP_TRY(make_parents(path));
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return system_error(errno, "make " + path);
  }
  if (::chown(path.c_str(), uid, gid) != 0 || ::chmod(path.c_str(), mode) != 0) {
    return system_error(errno, "give " + path + " to uid " + std::to_string(uid));
  }
  return ok();
}

// glibc applies each of these to all threads. Leaving uid 0 drops every capability with it.
Result<void> become(uid_t uid, gid_t gid) {
  const std::string what = "become uid " + std::to_string(uid);
  if (::setgroups(0, nullptr) != 0) return system_error(errno, what + ": leave all groups");
  if (::setresgid(gid, gid, gid) != 0) return system_error(errno, what + ": set the group");
  if (::setresuid(uid, uid, uid) != 0) return system_error(errno, what);
  if (::setresuid(uid, 0, uid) == 0) {
    return Error{ErrorCode::kDenied, what, "root could be regained", ""};
  }
  return ok();
}

}  // namespace

Result<SandboxReport> plan_sandbox(const SandboxOptions& options) {
  SandboxReport report;
  report.uid = ::geteuid();
  report.gid = ::getegid();
  if (report.uid == 0) {
    if (const passwd* user = ::getpwnam(options.user.c_str())) {
      report.uid = user->pw_uid;
      report.gid = user->pw_gid;
    } else {
      report.uid = report.gid = kFallbackUid;
      report.notes.push_back("there is no user " + options.user + ": the worker runs as uid " +
                             std::to_string(kFallbackUid) + " (useradd --system " + options.user +
                             " makes one)");
    }
    if (report.uid == 0) {
      return Error{ErrorCode::kDenied, "choose the worker's user", options.user + " is root", ""};
    }
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  report.max_open_files = limit.rlim_cur;
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  report.max_locked_bytes = limit.rlim_cur;
  return report;
}

Result<void> prepare_run_dir(const std::string& run_dir, const std::string& group_name) {
  const uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
  if (uid == 0) {
    if (const group* found = ::getgrnam(group_name.c_str())) gid = found->gr_gid;
  }
  return own_directory(run_dir, kRunDirMode, uid, gid);
}

Result<SandboxReport> enter_sandbox(const SandboxOptions& options) {
  NP_TRY_ASSIGN(SandboxReport report, plan_sandbox(options));
  if (::geteuid() == 0) {
    NP_TRY(own_directory(options.state_dir, kStateDirMode, report.uid, report.gid));
    NP_TRY(become(report.uid, report.gid));
  }
  NP_TRY(drop_capabilities_of_all_threads());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_error(errno, "set no_new_privs");
  NP_TRY(install_seccomp_filter());
  return report;
}

}  // namespace np::kernel
