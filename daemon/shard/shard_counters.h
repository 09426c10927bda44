// SPDX-License-Identifier: Apache-2.0
// ShardCounters: what one shard's driver counts, beside the engine's own counters. A fixed layout
// of u64 in memory of main's choice, so that a successor worker can go on counting. Written by one
// shard with relaxed stores, read by anyone.
#pragma once

#include <atomic>
#include <cstdint>

namespace np::shard {

// X(name, what it counts)
#define NP_SHARD_COUNTERS(X)                                                          \
  X(accepted, "connections taken from a listener by this shard")                      \
  X(adopted, "client connections that this shard serves")                             \
  X(handed_over, "accepted connections given to a less loaded shard")                 \
  X(accept_paused, "times accepting stopped because a limit was near")                \
  X(accept_errors, "accept failed: no descriptor, no memory")                         \
  X(refused_full, "connections closed because no slot was free")                      \
  X(upstream_opened, "upstream connections that were opened")                         \
  X(upstream_failed, "upstream connects that failed")                                 \
  X(pod_source_fallbacks, "source: pod was wanted, the node's address was used")      \
  X(closed, "sockets closed, both sides")                                             \
  X(short_sends, "sends that took only a part")                                       \
  X(receive_starved, "receives that found no free buffer and were armed again")       \
  X(buffer_grown, "times the buffer ring got more memory")                            \
  X(stale_completions, "completions of operations whose connection was gone")         \
  X(records_exhausted, "captured connections without a np_conn slot")                 \
  X(lost_requests, "requests under way when the previous worker died")                \
  X(iterations, "loop iterations")                                                    \
  X(slow_iterations, "loop iterations that took longer than 100 ms")                  \
  X(slowest_iteration_ns, "the longest loop iteration so far")                        \
  X(unexpected_completions, "completions that fit no state; counted, not acted on")   \
  X(connects_delayed, "upstream connects that waited for a socket to be closed")      \
  X(work_put_off, "loop iterations that left completions for the next one")           \
  X(shed_late, "connections reset: the loops of all shards ran late")                 \
  X(late_begun, "times a loop began to run late")                                     \
  X(buffer_bytes_given_back, "bytes of idle receive buffers returned to the kernel")  \
  X(moved_away, "client connections given to a less busy shard between two requests") \
  X(taken_in, "client connections that came from a busier shard")                     \
  X(moves_off, "moves that were begun and given up: the client was not at rest")      \
  X(lent, "idle connections to endpoints given to another shard")                     \
  X(borrowed, "the same, taken over from another shard")                              \
  X(not_lent, "connects of a shard's own, because another one had none to spare")

struct ShardCounters {
#define NP_DECLARE_COUNTER(name, text) uint64_t name = 0;
  NP_SHARD_COUNTERS(NP_DECLARE_COUNTER)
#undef NP_DECLARE_COUNTER
};

// Single writer: a plain add, published by a relaxed store so that a reader never sees half of it.
inline void count(uint64_t& counter, uint64_t by = 1) {
  std::atomic_ref<uint64_t> cell(counter);
  cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}
inline uint64_t read_counter(const uint64_t& counter) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(counter)).load(std::memory_order_relaxed);
}

}  // namespace np::shard
