// SPDX-License-Identifier: Apache-2.0
// TimerWheel: hierarchical wheel of intrusive timers. arm() and disarm() are O(1); a timer keeps
// its exact deadline, so none is handed out early and none later than the driver's next call.
// Owned by the Core; timers are members of Connections and Exchanges. One thread.
//
// Most timers are put off or switched off, for each request anew, long before they are due. So a
// timer stays where it lies until that place's turn comes, and only then goes where it belongs or
// leaves: neither touches its neighbours in the wheel meanwhile. Hence a timer's memory, armed or
// not, lives as long as the wheel is used.
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
  uint32_t slot = 0;  // of the owner
  Owner owner = Owner::kConnection;
  uint8_t which = 0;  // the owner's own name for it
  uint8_t level = 0;
  uint8_t index = 0;
  bool armed = false;
  bool linked = false;  // lies in the wheel, armed or not
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

  size_t size() const { return armed_; }  // armed timers

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
  static Instant start_of(uint64_t tick) { return instant_from_ns(tick << kTickBits); }
  void insert(Timer& timer);
  void unlink(Timer& timer);
  void spread(unsigned level, unsigned index);
  Timer* take_due(unsigned index, Instant now);
  // The first occupied slot at or after `from`, or kSlots.
  static unsigned next_occupied(const Level& level, unsigned from);
  unsigned digit(unsigned level) const {
    return static_cast<unsigned>(base_ >> (level * kSlotBits)) & (kSlots - 1);
  }
  uint64_t slot_start(unsigned level, unsigned index) const;

  std::array<Level, kLevels> levels_;
  uint64_t base_ = 0;  // current tick; every timer lies at or after it
  size_t armed_ = 0;
  size_t linked_ = 0;
};

}  // namespace np::proxy
