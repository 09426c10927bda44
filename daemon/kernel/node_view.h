// SPDX-License-Identifier: Apache-2.0
// NodeView: the kernel state of one instance, to be looked at and never changed. Filled by the
// running supervisor from what it holds, or by `nodeproxyd --inspect` from what is pinned. A value
// but for the fds that a look at the pins opened; single-threaded.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "bpf/abi/np_abi.h"
#include "kernel/guard_attach.h"
#include "kernel/hook.h"
#include "kernel/instance.h"
#include "kernel/kernel_maps.h"
#include "kernel/loader.h"
#include "kernel/pod_attach.h"

namespace np::kernel {

struct NodeView {
  InstanceNames names;
  bool by_supervisor = false;  // it holds everything itself, so that a missing pin can be mended
  std::string pin_root;        // of the layout in use; empty: nothing is pinned
  std::vector<uint32_t> versions;  // numbers of the layouts that are there, newest first
  std::array<int, static_cast<size_t>(Map::kCount)> maps{};               // -1: not there
  std::array<uint32_t, static_cast<size_t>(Program::kCount)> programs{};  // ids; 0: unknown
  std::optional<Hook> hook;  // nothing: told by what is attached
  int proxy_netns = -1;
  uint32_t np0_ifindex = 0;  // 0: the interface is not there
  std::vector<PodRecord> pods;
  std::vector<GuardRecord> guards;
  size_t listeners = 0;  // slots that should be filled; 0: unknown
  np_config config{};
  np_live live{};
  std::vector<Fd> owned;

  int map(Map which) const { return maps[static_cast<size_t>(which)]; }
  uint32_t program(Program which) const { return programs[static_cast<size_t>(which)]; }
};

// What is pinned below `bpffs` for the instance; an empty view when nothing is.
Result<NodeView> view_pins(const std::string& instance, const std::string& bpffs);

// 0: the fd is closed, or of another kind.
uint32_t map_id(int fd);
uint32_t program_id(int fd);

}  // namespace np::kernel
