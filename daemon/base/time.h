// SPDX-License-Identifier: Apache-2.0
// Instant and Duration: the only time types of the engine. An Instant counts nanoseconds of
// CLOCK_MONOTONIC; the engine is handed one per step and never reads a clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace np {

using Duration = std::chrono::nanoseconds;

struct MonotonicClockTag {
  using rep = int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicClockTag, Duration>;
  static constexpr bool is_steady = true;
};
using Instant = MonotonicClockTag::time_point;

inline constexpr Instant kNever = Instant::max();

inline Instant instant_from_ns(uint64_t nanoseconds) {
  return Instant(Duration(static_cast<int64_t>(nanoseconds)));
}
inline uint64_t to_ns(Instant instant) {
  return static_cast<uint64_t>(instant.time_since_epoch().count());
}

// Reads CLOCK_MONOTONIC. For drivers and tools; lint forbids it in http, tls, proxy and policy.
Instant monotonic_now();
// Reads CLOCK_REALTIME as nanoseconds since 1970. Same restriction.
uint64_t wall_clock_ns();
// Nanoseconds of CPU time that the calling thread has used. Same restriction.
uint64_t thread_cpu_ns();

}  // namespace np
