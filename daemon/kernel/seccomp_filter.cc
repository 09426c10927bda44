// SPDX-License-Identifier: Apache-2.0
#include "kernel/seccomp_filter.h"

#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cerrno>
#include <memory>
#include <string>

namespace np::kernel {

namespace {

// By purpose; a name that this architecture lacks is skipped.
constexpr const char* kAllowed[] = {
    // memory
    "brk", "madvise", "mremap", "munmap", "membarrier",
    // threads and time
    "exit", "exit_group", "futex", "futex_waitv", "get_robust_list", "set_robust_list", "rseq",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler", "sched_yield",
    "getcpu", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday",
    "time", "times", "restart_syscall", "getitimer", "alarm", "set_tid_address",
    // signals
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending",
    "rt_sigsuspend", "sigaltstack", "tgkill", "tkill", "kill", "pause", "signalfd4",
    // who and what we are
    "getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid", "getresuid",
    "getresgid", "getgroups", "getrlimit", "getrusage", "sysinfo", "uname", "umask", "getrandom",
    "capget",
    // rings that exist already
    "io_uring_enter", "io_uring_register",
    // files: what may be opened is decided by the uid
    "open", "openat", "creat", "close", "close_range", "read", "readv", "pread64", "preadv",
    "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek", "stat", "lstat",
    "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
    "getdents64", "getcwd", "readlink", "readlinkat", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "chown", "fchown",
    "fchownat", "lchown", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "flock",
    "fadvise64", "fcntl", "dup", "dup2", "dup3", "pipe", "pipe2", "memfd_create", "utimensat",
    "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "splice", "tee", "sendfile",
    // waiting
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime",
    "timerfd_gettime",
    // sockets
    "socketpair", "connect", "accept", "accept4", "bind", "listen", "shutdown", "sendto",
    "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "getsockname", "getpeername",
    "setsockopt", "getsockopt"};

// Elements of maps that were handed over; no program, link, map or BTF can be made or looked up.
constexpr int kBpfCommands[] = {BPF_MAP_LOOKUP_ELEM,    BPF_MAP_UPDATE_ELEM,
                                BPF_MAP_DELETE_ELEM,    BPF_MAP_GET_NEXT_KEY,
                                BPF_OBJ_GET_INFO_BY_FD, BPF_MAP_LOOKUP_BATCH,
                                BPF_MAP_UPDATE_BATCH,   BPF_MAP_LOOKUP_AND_DELETE_ELEM};

constexpr unsigned long kIoctls[] = {FIONREAD, FIONBIO, TIOCGWINSZ};
constexpr int kPrctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_DUMPABLE};
// No AF_PACKET, AF_NETLINK, AF_VSOCK, AF_XDP. c-ares and glibc can do without netlink.
constexpr int kSocketFamilies[] = {1 /* unix */, 2 /* inet */, 10 /* inet6 */};

class Filter {
 public:
  Filter() : context_(::seccomp_init(SCMP_ACT_ERRNO(EPERM)), ::seccomp_release) {}

  bool is_made() const { return context_ != nullptr; }
  scmp_filter_ctx get() const { return context_.get(); }
  // The first failure stays.
  void allow(const char* name) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number >= 0) keep(::seccomp_rule_add(get(), SCMP_ACT_ALLOW, number, 0), name);
  }
  void allow_when(const char* name, const scmp_arg_cmp& condition) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number < 0) return;
    keep(::seccomp_rule_add_array(get(), SCMP_ACT_ALLOW, number, 1, &condition), name);
  }
  void answer(const char* name, int errno_value) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number < 0) return;
    keep(::seccomp_rule_add(get(), SCMP_ACT_ERRNO(static_cast<uint16_t>(errno_value)), number, 0),
         name);
  }
  void keep(int result, const char* step) {
    if (result == 0 || failure_ != 0) return;
    failure_ = -result;
    failed_step_ = step;
  }
  Result<void> result() const {
    if (failure_ == 0) return ok();
    return system_error(failure_, std::string("build the seccomp filter: ") + failed_step_);
  }

 private:
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int failure_ = 0;
  const char* failed_step_ = "";
};

scmp_arg_cmp equals(unsigned argument, uint64_t value) {
  return scmp_arg_cmp{argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp masked(unsigned argument, uint64_t mask, uint64_t value) {
  return scmp_arg_cmp{argument, SCMP_CMP_MASKED_EQ, mask, value};
}
// The kernel reads 32 bits of such an argument; what is above them is the caller's garbage.
scmp_arg_cmp equals_32(unsigned argument, uint32_t value) {
  return masked(argument, UINT32_MAX, value);
}

void add_conditional_rules(Filter& filter) {
  for (const int command : kBpfCommands) {
    filter.allow_when("bpf", equals_32(0, static_cast<uint32_t>(command)));
  }
  for (const unsigned long request : kIoctls) {
    filter.allow_when("ioctl", equals_32(1, static_cast<uint32_t>(request)));
  }
  for (const int option : kPrctls) {
    filter.allow_when("prctl", equals_32(0, static_cast<uint32_t>(option)));
  }
  for (const int family : kSocketFamilies) {
    filter.allow_when("socket", equals_32(0, static_cast<uint32_t>(family)));
  }
  // No new code: neither mapped nor made executable.
  filter.allow_when("mmap", masked(2, PROT_EXEC, 0));
  filter.allow_when("mprotect", masked(2, PROT_EXEC, 0));
  // Threads, not processes. clone3's flags are behind a pointer: ENOSYS makes glibc use clone.
  filter.allow_when("clone", masked(0, CLONE_THREAD, CLONE_THREAD));
  filter.answer("clone3", ENOSYS);
  // Reading limits; setting them needs a pointer in the third argument.
  filter.allow_when("prlimit64", equals(2, 0));
}

}  // namespace

Result<void> install_seccomp_filter() {
  Filter filter;
  if (!filter.is_made()) return system_error(ENOMEM, "make a seccomp filter");
  for (const char* name : kAllowed) filter.allow(name);
  add_conditional_rules(filter);
  filter.keep(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "all threads");
  filter.keep(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "binary tree");
  NP_TRY(filter.result());
  const int loaded = ::seccomp_load(filter.get());
  if (loaded != 0) {
    return system_error(
        -loaded, "install the seccomp filter",
        "the kernel needs CONFIG_SECCOMP_FILTER, and a container profile must allow seccomp()");
  }
  return ok();
}

}  // namespace np::kernel
