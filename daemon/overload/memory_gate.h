// SPDX-License-Identifier: Apache-2.0
// MemoryGate: from how much memory is in use to a MemoryStage (reliability 12). A stage begins at
// once when its threshold is reached; it ends only when the use has stayed well below that for a
// while, so that nothing flaps. No clock and no system call. Owned by a MemoryWatch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/memory_stage.h"
#include "base/time.h"

namespace np::overload {

// Percent of the limit at which kDrain, kRefuse and kReset begin: rising, 1 to 100.
struct MemoryThresholds {
  std::array<uint32_t, kMemoryStageCount - 1> percent = {92, 95, 98};
};

// A stage ends this many percent of the limit below where it began, ...
inline constexpr uint32_t kFallPercent = 2;
// ... when the use has been there for as long as this.
inline constexpr Duration kFallAfter = std::chrono::seconds(2);

class MemoryGate {
 public:
  explicit MemoryGate(const MemoryThresholds& thresholds) : thresholds_(thresholds) {}

  // Bytes; a `limit` of 0 is none. `soon`: what will be in use when it goes on rising as it does;
  // at least `used`. Nothing is ended for what has not come.
  MemoryStage look(uint64_t used, uint64_t soon, uint64_t limit, Instant now) {
    const MemoryStage risen = stage_soon(used, soon, limit, 0);
    if (risen >= stage_) {
      stage_ = risen;
      low_since_ = kNever;
      return stage_;
    }
    const MemoryStage held = stage_soon(used, soon, limit, kFallPercent);
    if (held >= stage_) {
      low_since_ = kNever;
      return stage_;
    }
    if (low_since_ == kNever) low_since_ = now;
    if (now - low_since_ < kFallAfter) return stage_;
    low_since_ = kNever;
    stage_ = held;
    return stage_;
  }
  MemoryStage stage() const { return stage_; }
  // In use above what ends kRefuse.
  uint64_t excess(uint64_t used, uint64_t limit) const {
    constexpr uint64_t kAll = 100, kRefuseAt = 1;
    const uint32_t percent = thresholds_.percent[kRefuseAt];
    const uint64_t end = limit / kAll * (percent - std::min(percent, kFallPercent));
    return limit == 0 ? 0 : used - std::min(used, end);
  }
  // Whether look() would begin a higher stage.
  bool would_rise(uint64_t used, uint64_t soon, uint64_t limit) const {
    return stage_soon(used, soon, limit, 0) > stage_;
  }

 private:
  MemoryStage stage_soon(uint64_t used, uint64_t soon, uint64_t limit, uint32_t less) const {
    const MemoryStage ahead = std::min(stage_at(soon, limit, less), MemoryStage::kRefuse);
    return std::max(stage_at(used, limit, less), ahead);
  }
  // The highest stage whose threshold, `less` percent lowered, is reached.
  MemoryStage stage_at(uint64_t used, uint64_t limit, uint32_t less) const {
    constexpr double kAll = 100;
    if (limit == 0) return MemoryStage::kNormal;
    const double percent = static_cast<double>(used) * kAll / static_cast<double>(limit);
    size_t stage = 0;
    for (const uint32_t from : thresholds_.percent) {
      if (percent < static_cast<double>(from) - less) break;
      ++stage;
    }
    return static_cast<MemoryStage>(stage);
  }

  MemoryThresholds thresholds_;
  MemoryStage stage_ = MemoryStage::kNormal;
  Instant low_since_ = kNever;
};

}  // namespace np::overload
