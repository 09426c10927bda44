// SPDX-License-Identifier: Apache-2.0
// Balance: decides when a shard gives client connections to another one, and which. Connections
// are placed by their number when they are accepted; with few long ones that says little about the
// load. What is busy is known per window, what a connection makes of it by its share of the work.
// No clock, no system call, no socket. Owned by its Shard, on the shard's thread.
//
// It does not swing: only a shard that is nearly used up gives, only to one that is much less so,
// only what makes the gap smaller by a good part of itself, only a few at a time, with a pause for
// the effect to be seen; and what has moved stays for a while.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/time.h"

namespace np::shard {

// Shares of a shard's time are in permille.
struct BalanceLimits {
  bool is_on = true;
  Duration window = std::chrono::milliseconds(200);
  uint32_t gives_from_permille = 750;
  uint32_t takes_below_permille = 500;
  uint32_t gap_min_permille = 200;  // a smaller one is left as it is
  uint32_t moves_per_window = 8;    // connections
  uint32_t pause_windows = 1;       // after one in which something moved
  uint32_t stays_windows = 5;       // for how long a connection that came is not given on
};

class Balance {
 public:
  explicit Balance(const BalanceLimits& limits) : limits_(limits) {}

  struct Standing {
    uint32_t busy = 0;  // permille
    bool takes = false;
  };
  struct Plan {
    uint32_t target = 0;
    uint32_t gap = 0;  // permille; twice what should move
  };
  // A window has ended, `all` being how the shards stand, by index.
  std::optional<Plan> on_window(uint32_t own, std::span<const Standing> all);

  // Which of the connections that make `shares` of this shard's time (permille) should move next:
  // the one that leaves the smallest gap. Nothing: none makes it smaller by a quarter of its own.
  static std::optional<size_t> next(uint32_t gap, std::span<const uint32_t> shares);
  static uint32_t gap_after(uint32_t gap, uint32_t share) {
    return gap > 2 * share ? gap - 2 * share : 2 * share - gap;
  }
  bool is_worth_closing(uint32_t gap) const { return gap >= limits_.gap_min_permille; }
  // Something moves in this window.
  void on_moves() { pause_ = limits_.pause_windows; }

 private:
  const BalanceLimits limits_;
  uint32_t pause_ = 0;  // windows
};

}  // namespace np::shard
