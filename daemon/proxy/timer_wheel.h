// SPDX-License-Identifier: Apache-2.0
// TimerWheel: hierarchical wheel of intrusive timers. arm() and disarm() are O(1); a timer keeps
// its exact deadline, so none is handed out early and none later than the driver's next call.
// Owned by the Core; timers are members of Connections and Exchanges. One thread.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace np::proxy {

struct Timer {
  enum class Owner : uint8_t { kConnection, kExchange, kCore, kProbe };

  Instant deadline = kNever;
  Timer* next = nullptr;
  Timer* previous = nullptr;
  uint32_t slot = 0;  // of the owner, which is alive as long as the timer is armed
  Owner owner = Owner::kConnection;
  uint8_t which = 0;  // the owner's own name for it
  uint8_t level = 0;
  uint8_t index = 0;
  bool armed = false;
};

class TimerWheel {
 public:
  TimerWheel();

  // Arms, or moves an armed timer. A deadline in the past is due at the next pop.
  void arm(Timer& timer, Instant deadline);
  void disarm(Timer& timer);

  // Removes and returns one timer whose deadline has been reached; null when none is left.
  Timer* pop_due(Instant now);

  // When pop_due is worth calling; may be earlier than the first deadline, never later.
  Instant next_deadline() const;

  size_t size() const { return size_; }

 private:
  static constexpr unsigned kLevels = 5;
  static constexpr unsigned kSlotBits = 8;
  static constexpr unsigned kSlots = 1U << kSlotBits;
  static constexpr unsigned kTickBits = 20;  // a tick is 2^20 ns

  struct Level {
    std::array<Timer*, kSlots> slots{};
    std::array<uint64_t, kSlots / 64> occupied{};
  };

  static uint64_t tick_of(Instant instant) {
    const int64_t ns = instant.time_since_epoch().count();
    return ns <= 0 ? 0 : static_cast<uint64_t>(ns) >> kTickBits;
  }
  void insert(Timer& timer);
  void unlink(Timer& timer);
  // The first occupied slot at or after `from`, or kSlots.
  static unsigned next_occupied(const Level& level, unsigned from);
  unsigned digit(unsigned level) const {
    return static_cast<unsigned>(base_ >> (level * kSlotBits)) & (kSlots - 1);
  }
  uint64_t slot_start(unsigned level, unsigned index) const;

  std::array<Level, kLevels> levels_;
  uint64_t base_ = 0;  // current tick; every timer lies at or after it
  size_t size_ = 0;
};

}  // namespace np::proxy
