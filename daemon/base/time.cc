// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"

#include <ctime>

namespace np {
namespace {

constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

uint64_t read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNanosecondsPerSecond +
         static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

Instant monotonic_now() {
  return instant_from_ns(read_clock(CLOCK_MONOTONIC));
}

uint64_t thread_cpu_ns() {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t wall_clock_ns() {
  return read_clock(CLOCK_REALTIME);
}

}  // namespace np
