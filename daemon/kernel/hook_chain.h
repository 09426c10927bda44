// SPDX-License-Identifier: Apache-2.0
// Who sits on one side of an interface, in the order in which they see a packet. A look, nothing is
// changed. Supervisor only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/hook.h"

namespace np::kernel {

struct ChainEntry {
  enum class Kind : uint8_t { kXdp, kTcx, kFilter };
  Kind kind = Kind::kTcx;
  uint32_t program_id = 0;  // 0: a filter without eBPF
  std::string name;         // of the program; of a filter without one its kind: "flower"
  uint32_t priority = 0;    // of a filter
  uint32_t handle = 0;      // of a filter
};
// "other (tcx, program 17)"; a program of ours by its name alone.
std::string to_text(const ChainEntry& entry);

// "?": there is no such program (any more).
std::string program_name(uint32_t program_id);

// Whether the program uses the map: whose programs these are, when several daemons share a kernel.
bool uses_map(uint32_t program_id, int map_fd);

// What cannot be read is left out: a kernel without tcx has no such programs.
std::vector<ChainEntry> read_chain(uint32_t ifindex, HookSide side);
// The programs that pick sockets in a network namespace.
std::vector<ChainEntry> read_lookup_chain(int netns_fd);

}  // namespace np::kernel
