// SPDX-License-Identifier: Apache-2.0
#include "shard/balance.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace np::shard {
namespace {

using Standing = Balance::Standing;

std::optional<Balance::Plan> ask(Balance& balance, std::vector<Standing> all) {
  return balance.on_window(0, all);
}

TEST(Balance, GivesOnlyWhenBusyAndOnlyToTheCalm) {
  Balance balance({});
  EXPECT_FALSE(ask(balance, {{749, true}, {0, true}}));
  EXPECT_FALSE(ask(balance, {{1000, true}, {500, true}}));
  EXPECT_FALSE(ask(balance, {{1000, true}, {100, false}}));
  const auto plan = ask(balance, {{750, true}, {499, true}});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->target, 1U);
  EXPECT_EQ(plan->gap, 251U);
}

TEST(Balance, TheLeastBusyOneGets) {
  Balance balance({});
  const auto plan = ask(balance, {{900, true}, {300, true}, {100, true}, {50, false}, {200, true}});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->target, 2U);
  EXPECT_EQ(plan->gap, 800U);
}

TEST(Balance, WaitsForTheEffect) {
  Balance balance({});
  const std::vector<Standing> all = {{900, true}, {100, true}};
  EXPECT_TRUE(balance.on_window(0, all));
  balance.on_moves();
  EXPECT_FALSE(balance.on_window(0, all));
  EXPECT_TRUE(balance.on_window(0, all));
}

TEST(Balance, WhatIsAllOfTheLoadStays) {
  EXPECT_FALSE(Balance::next(1000, std::vector<uint32_t>{1000}));
  EXPECT_FALSE(Balance::next(1000, std::vector<uint32_t>{990, 0}));
  EXPECT_FALSE(Balance::next(600, std::vector<uint32_t>{800}));
  EXPECT_FALSE(Balance::next(1000, std::vector<uint32_t>{}));
}

TEST(Balance, TheOneThatLeavesTheSmallestGapMoves) {
  EXPECT_EQ(Balance::next(1000, std::vector<uint32_t>{900, 100}), 1U);
  EXPECT_EQ(Balance::next(1000, std::vector<uint32_t>{100, 300, 400, 200}), 2U);
  // Half of a shard's load, where the other has a little of its own.
  EXPECT_EQ(Balance::next(950, std::vector<uint32_t>{500, 500}), 0U);
}

// Whatever two shards have, moves end, and each makes the gap smaller.
TEST(Balance, ComesToRest) {
  for (uint32_t seed = 1; seed <= 2000; ++seed) {
    uint32_t state = seed * 2654435761U;
    const auto draw = [&state](uint32_t below) {
      state = state * 1664525U + 1013904223U;
      return (state >> 8U) % below;
    };
    std::vector<std::vector<uint32_t>> loads(2);
    for (auto& shard : loads) {
      uint32_t left = 1000;
      for (uint32_t i = draw(9); i > 0; --i) {
        shard.push_back(1 + draw(left / 2 + 1));
        left -= std::min(left, shard.back());
      }
    }
    const auto sum = [&](size_t i) {
      return std::min(1000U, std::accumulate(loads[i].begin(), loads[i].end(), 0U));
    };
    uint32_t moves = 0;
    bool has_moved = true;
    while (has_moved) {
      has_moved = false;
      for (uint32_t i = 0; i < 2; ++i) {
        Balance balance({});
        const std::vector<Standing> all = {{sum(0), true}, {sum(1), true}};
        const auto plan = balance.on_window(i, all);
        if (!plan) continue;
        const auto next = Balance::next(plan->gap, loads[i]);
        if (!next) continue;
        const uint32_t share = loads[i][*next];
        EXPECT_LT(Balance::gap_after(plan->gap, share), plan->gap);
        loads[1 - i].push_back(share);
        loads[i].erase(loads[i].begin() + static_cast<std::ptrdiff_t>(*next));
        has_moved = true;
        ASSERT_LT(++moves, 64U) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace np::shard
