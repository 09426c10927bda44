// SPDX-License-Identifier: Apache-2.0
// WorkMeter: what a unit of work costs this shard in CPU time, measured over the latest ticks, so
// that a pod's work can be told in seconds without reading a clock for each piece of it. Owned by
// the Transport; shard's thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace np::shard {

class WorkMeter {
 public:
  // `units` of work were done: what they cost, in nanoseconds, by the rate of the latest ticks.
  uint64_t charge(uint32_t units) {
    units_ += units;
    return units * ns_per_unit_;
  }
  // At each tick. `cpu_ns`: CPU time of the thread so far. A tick with little work tells what the
  // loop costs by itself: it leaves the rate alone, and its time is in no later measure either.
  void measure(uint64_t cpu_ns) {
    const uint64_t spent = cpu_ns - std::min(cpu_ns, cpu_ns_);
    const uint64_t units = units_ - measured_units_;
    cpu_ns_ = cpu_ns;
    measured_units_ = units_;
    if (units < kUnitsMin) return;
    ns_per_unit_ = std::min(spent / units, kNsPerUnitMax);
  }
  uint64_t ns_per_unit() const { return ns_per_unit_; }

 private:
  static constexpr uint64_t kUnitsMin = 64;
  static constexpr uint64_t kNsPerUnitMax = 1'000'000;  // an idle shard's time is nobody's
  static constexpr uint64_t kNsPerUnitAtFirst = 3'000;
  uint64_t ns_per_unit_ = kNsPerUnitAtFirst;
  uint64_t units_ = 0, measured_units_ = 0, cpu_ns_ = 0;
};

}  // namespace np::shard
