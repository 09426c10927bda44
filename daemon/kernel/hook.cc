// SPDX-License-Identifier: Apache-2.0
#include "kernel/hook.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "kernel/hook_chain.h"

namespace np::kernel {

namespace {

// Not in Linux 6.1's headers, which Debian 12 builds with.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);   // BPF_TCX_EGRESS
constexpr uint32_t kFlagBefore = 1U << 3;                       // BPF_F_BEFORE

// "np": found again by everyone who looks, and by program name before anything is removed.
constexpr uint32_t kClsactHandle = 0x6e70;
constexpr uint32_t kClsactPriority = 1;
constexpr uint32_t kLoopback = 1;
constexpr size_t kProgramsMax = 64;

bpf_attach_type tcx_type(HookSide side) {
  return side == HookSide::kIngress ? kTcxIngress : kTcxEgress;
}

bpf_tc_hook tc_hook(const HookPoint& point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(point.ifindex);
  hook.attach_point = point.side == HookSide::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  return hook;
}

bpf_tc_opts tc_opts() {
  bpf_tc_opts opts{};
  opts.sz = sizeof(opts);
  opts.handle = kClsactHandle;
  opts.priority = kClsactPriority;
  return opts;
}

bool is_program_named(uint32_t program_id, const std::string& name) {
  const Fd program(::bpf_prog_get_fd_by_id(program_id));
  if (!program.is_open()) return false;
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  return ::bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0 && name == info.name;
}

bool has_own_filter(const HookPoint& point) {
  const bpf_tc_hook hook = tc_hook(point);
  bpf_tc_opts opts = tc_opts();
  return ::bpf_tc_query(&hook, &opts) == 0 && is_program_named(opts.prog_id, point.program_name);
}

bool has_filter_ahead(const HookPoint& point) {
  for (const ChainEntry& entry : read_chain(point.ifindex, point.side)) {
    if (entry.kind == ChainEntry::Kind::kFilter) return entry.name != point.program_name;
  }
  return false;
}

// 0 or -errno.
int put_filter(const bpf_tc_hook& hook, int program_fd) {
  bpf_tc_opts opts = tc_opts();
  opts.prog_fd = program_fd;
  opts.flags = BPF_TC_F_REPLACE;
  return ::bpf_tc_attach(&hook, &opts);
}

void remove_pin(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  // Detach first: another process may hold the link open, and it would live on.
  if (link.is_open()) ::bpf_link_detach(link.get());
  ::unlink(pin.c_str());
}

Result<void> attach_tcx(const HookPoint& point, int program_fd) {
  const Result<uint32_t> pinned = pinned_link_ifindex(point.link_pin);
  if (pinned && *pinned == point.ifindex) {
    NP_TRY(update_pinned_link(point.link_pin, program_fd));
    if (inspect_hook(point).is_first) return ok();
    remove_pin(point.link_pin);  // the kernel moves no link: made anew, it comes to the head
  } else if (pinned) {
    ::unlink(point.link_pin.c_str());  // of an interface that is gone (R40)
  }
  bpf_link_create_opts opts{};
  opts.sz = sizeof(opts);
  opts.flags = kFlagBefore;
  const Fd link(
      ::bpf_link_create(program_fd, static_cast<int>(point.ifindex), tcx_type(point.side), &opts));
  const std::string what = "attach " + point.program_name + " by tcx to interface number " +
                           std::to_string(point.ifindex);
  if (!link.is_open()) return system_error(errno, what);
  if (::bpf_obj_pin(link.get(), point.link_pin.c_str()) != 0) {
    return system_error(errno, "pin " + point.link_pin);
  }
  return ok();
}

Result<void> attach_clsact(const HookPoint& point, int program_fd) {
  bpf_tc_hook hook = tc_hook(point);
  const std::string what = "attach " + point.program_name + " by clsact to interface number " +
                           std::to_string(point.ifindex);
  const int made = ::bpf_tc_hook_create(&hook);  // EEXIST: somebody's qdisc, which we share (R4)
  if (made != 0 && made != -EEXIST) return system_error(-made, what);
  bpf_tc_opts opts = tc_opts();
  const int queried = ::bpf_tc_query(&hook, &opts);
  if (queried == 0 && !is_program_named(opts.prog_id, point.program_name)) {
    return Error{ErrorCode::kConflict, what, "another program has our handle and priority",
                 "tc filter show dev ... ingress|egress shows it"};
  }
  if (queried == 0 && has_filter_ahead(point)) {
    // A filter keeps its place when it is replaced; a new one of a priority comes before the
    // others.
    opts = tc_opts();
    ::bpf_tc_detach(&hook, &opts);
  }
  const int attached = put_filter(hook, program_fd);
  if (attached != 0) return system_error(-attached, what);
  return ok();
}

Result<void> detach_clsact(const HookPoint& point) {
  if (!has_own_filter(point)) return ok();
  const bpf_tc_hook hook = tc_hook(point);
  const bpf_tc_opts opts = tc_opts();
  const int detached = ::bpf_tc_detach(&hook, &opts);
  if (detached != 0 && detached != -ENOENT) {
    return system_error(-detached, "remove the filter of " + point.program_name);
  }
  return ok();
}

}  // namespace

const char* hook_name(Hook hook) {
  return hook == Hook::kTcx ? "tcx" : "clsact";
}

bool has_tcx() {
  uint32_t ids[kProgramsMax];
  uint32_t count = kProgramsMax;
  uint32_t flags = 0;
  return ::bpf_prog_query(static_cast<int>(kLoopback), kTcxIngress, 0, &flags, ids, &count) == 0 ||
         errno == ENOSPC;
}

Result<uint32_t> pinned_link_ifindex(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  if (!link.is_open()) return system_error(errno, "open " + pin);
  bpf_link_info info{};
  uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) {
    return system_error(errno, "read " + pin);
  }
  // tcx.ifindex has the place of xdp.ifindex; the header does not know tcx.
  return info.xdp.ifindex;
}

Result<void> update_pinned_link(const std::string& pin, int program_fd) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  if (!link.is_open()) return Error{ErrorCode::kNotFound, "open " + pin, std::strerror(errno), ""};
  if (::bpf_link_update(link.get(), program_fd, nullptr) == 0) return ok();
  if (errno != ENOLINK) return system_error(errno, "replace the program of " + pin);
  ::unlink(pin.c_str());
  return Error{ErrorCode::kNotFound, "replace the program of " + pin, "its target is gone", ""};
}

Result<void> update_filter(const HookPoint& point, int program_fd) {
  if (!has_own_filter(point)) return ok();
  const int put = put_filter(tc_hook(point), program_fd);
  if (put == 0) return ok();
  return system_error(-put, "replace the filter of " + point.program_name);
}

Result<void> attach_hook(Hook hook, const HookPoint& point, int program_fd) {
  if (hook == Hook::kTcx) {
    NP_TRY(attach_tcx(point, program_fd));
    return detach_clsact(point);
  }
  NP_TRY(attach_clsact(point, program_fd));
  remove_pin(point.link_pin);
  return ok();
}

Result<void> detach_hook(const HookPoint& point) {
  remove_pin(point.link_pin);
  return detach_clsact(point);
}

HookState inspect_hook(const HookPoint& point) {
  HookState state;
  bool is_somebody_ahead = false;
  for (const ChainEntry& entry : read_chain(point.ifindex, point.side)) {
    if (entry.kind == ChainEntry::Kind::kXdp)
      continue;  // doctor tells of it; attaching cannot help
    if (entry.name != point.program_name) {
      is_somebody_ahead = true;
      continue;
    }
    state.is_attached = true;
    state.is_first = !is_somebody_ahead;
    state.hook = entry.kind == ChainEntry::Kind::kTcx ? Hook::kTcx : Hook::kClsact;
    return state;
  }
  return state;
}

}  // namespace np::kernel
