// SPDX-License-Identifier: Apache-2.0
// Assertions for our own bugs only. Nothing that a peer, the kernel or a policy file can cause may
// reach one of these: peers end Exchanges with an EndReason, the environment yields an Error.
//
//   NP_CHECK     always on: states the program cannot continue in
//   NP_DCHECK    debug and sanitizer builds: hot loops
//   NP_COUNT_IF  "should not happen, is safe": counted, and shown by `nodectl status`
#pragma once

#include <atomic>
#include <cstdint>

namespace np {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

// Number of NP_COUNT_IF hits since the process started. Any thread.
extern std::atomic<uint64_t> g_unexpected_count;
void count_unexpected(const char* condition, const char* file, int line);

}  // namespace np

#define NP_CHECK(condition)                               \
  do {                                                    \
    if (!(condition)) [[unlikely]]                        \
      ::np::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

#ifdef NDEBUG
#define NP_DCHECK(condition) \
  do {                       \
  } while (false)
#else
#define NP_DCHECK(condition) NP_CHECK(condition)
#endif

// Yields the condition's value, so that it can guard the safe way out.
#define NP_COUNT_IF(condition) \
  ((condition) ? (::np::count_unexpected(#condition, __FILE__, __LINE__), true) : false)
