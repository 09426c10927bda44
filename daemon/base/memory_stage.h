// SPDX-License-Identifier: Apache-2.0
// MemoryStage: how near the daemon is to its memory limit, and so what it gives up. Found by one
// thread of the worker's (overload::MemoryWatch), read by every shard, told to the engines as a
// plain value.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace np {

enum class MemoryStage : uint8_t {
  kNormal,
  kDrain,   // nothing is kept alive: answers close their connection, idle connections are closed
  kRefuse,  // and new requests are refused, nothing is accepted
  kReset,   // and the exchanges that hold most are ended
};
inline constexpr size_t kMemoryStageCount = 4;

constexpr const char* name_of(MemoryStage stage) {
  constexpr const char* kNames[kMemoryStageCount] = {"normal", "drain", "refuse", "reset"};
  return kNames[static_cast<size_t>(stage)];
}

// What the shards read: the stage, the look at which it was found, and how much was in use above
// what ends kRefuse. A new look at a stage above kNormal asks each shard to give something back
// once more.
struct MemoryPressure {
  MemoryStage stage = MemoryStage::kNormal;
  uint32_t look = 0;
  uint32_t excess_kib = 0;
  bool operator==(const MemoryPressure&) const = default;
};

// One writer, any number of readers. One word, so that what is read belongs together.
class MemorySignal {
 public:
  void publish(const MemoryPressure& pressure) {
    const uint64_t excess = pressure.excess_kib < kExcessMask ? pressure.excess_kib : kExcessMask;
    word_.store(uint64_t{pressure.look} << kLookShift | excess << kExcessShift |
                    static_cast<uint64_t>(pressure.stage),
                std::memory_order_relaxed);
  }
  MemoryPressure read() const {
    const uint64_t word = word_.load(std::memory_order_relaxed);
    return {static_cast<MemoryStage>(word & kStageMask), static_cast<uint32_t>(word >> kLookShift),
            static_cast<uint32_t>(word >> kExcessShift & kExcessMask)};
  }

 private:
  static constexpr unsigned kLookShift = 32, kExcessShift = 4;
  static constexpr uint64_t kStageMask = 0xf, kExcessMask = 0xfff'ffff;  // KiB: 256 GiB
  std::atomic<uint64_t> word_{0};
};

}  // namespace np
