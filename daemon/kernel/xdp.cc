// SPDX-License-Identifier: Apache-2.0
#include "kernel/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "kernel/hook.h"
#include "kernel/hook_chain.h"

namespace np::kernel {

namespace {

uint32_t flags_of(XdpMode mode) {
  return mode == XdpMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

}  // namespace

const char* xdp_mode_name(XdpMode mode) {
  return mode == XdpMode::kNative ? "native" : "generic";
}

std::string to_text(const XdpState& state) {
  return state.name + " (program " + std::to_string(state.program_id) + ", " +
         (state.mode ? xdp_mode_name(*state.mode) : "offloaded") + ")";
}

std::optional<XdpState> read_xdp(uint32_t ifindex) {
  bpf_xdp_query_opts found{};
  found.sz = sizeof(found);
  if (::bpf_xdp_query(static_cast<int>(ifindex), 0, &found) != 0) return std::nullopt;
  XdpState state;
  if (found.drv_prog_id != 0) {
    state.program_id = found.drv_prog_id;
    state.mode = XdpMode::kNative;
  } else if (found.skb_prog_id != 0) {
    state.program_id = found.skb_prog_id;
    state.mode = XdpMode::kGeneric;
  } else {
    state.program_id = found.hw_prog_id;
  }
  if (state.program_id == 0) return std::nullopt;
  state.name = program_name(state.program_id);
  return state;
}

bool is_link_of(const std::string& pin, uint32_t ifindex) {
  const Result<uint32_t> pinned = pinned_link_ifindex(pin);
  return pinned && *pinned == ifindex;
}

void remove_link_pin(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  if (link.is_open()) ::bpf_link_detach(link.get());
  ::unlink(pin.c_str());
}

Result<void> attach_xdp(XdpMode mode, uint32_t ifindex, const std::string& pin, int program_fd) {
  const std::string what = std::string("attach by ") + xdp_mode_name(mode) +
                           " XDP to interface number " + std::to_string(ifindex);
  if (is_link_of(pin, ifindex)) {
    const std::optional<XdpState> now = read_xdp(ifindex);
    if (now && now->mode == mode) return update_pinned_link(pin, program_fd);
    remove_link_pin(pin);
  } else {
    ::unlink(pin.c_str());  // of an interface that is gone
  }
  bpf_link_create_opts options{};
  options.sz = sizeof(options);
  options.flags = flags_of(mode);
  const Fd link(::bpf_link_create(program_fd, static_cast<int>(ifindex), BPF_XDP, &options));
  const int failed = link.is_open() ? 0 : errno;
  if (failed == EBUSY || failed == EEXIST) {
    const std::optional<XdpState> other = read_xdp(ifindex);
    return Error{ErrorCode::kConflict, what,
                 "the interface has " + (other ? to_text(*other) : "another XDP program"), ""};
  }
  if (failed != 0) {
    Error error = system_error(failed, what);
    error.code = ErrorCode::kUnsupported;
    return error;
  }
  if (::bpf_obj_pin(link.get(), pin.c_str()) != 0) return system_error(errno, "pin " + pin);
  return ok();
}

}  // namespace np::kernel
