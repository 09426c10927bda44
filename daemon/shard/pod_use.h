// SPDX-License-Identifier: Apache-2.0
// PodUse: what the connections of one pod cost one shard, and how they were kept from costing more.
// One array of them per shard, by place (PodPlaces). Written by that shard with relaxed stores,
// read by anyone.
#pragma once

#include <cstdint>

namespace np::shard {

// X(name, what it tells)
#define NP_POD_USE(X)                                                               \
  X(units, "work done: completions, and 4 KiB pieces of what they carried")         \
  X(cpu_ns, "CPU time of the shard, by the pod's share of the units")               \
  X(turns_waited, "completions that were put off, so that other pods had a turn")   \
  X(receives_held, "receives that were held back because the pod had many buffers") \
  X(held_bytes, "receive buffers that hold bytes of the pod now")

struct PodUse {
#define NP_DECLARE_USE(name, text) uint64_t name = 0;
  NP_POD_USE(NP_DECLARE_USE)
#undef NP_DECLARE_USE
};

}  // namespace np::shard
