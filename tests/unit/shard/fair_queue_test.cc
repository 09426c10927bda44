// SPDX-License-Identifier: Apache-2.0
#include "shard/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace np::shard {
namespace {

constexpr uint32_t kNoisy = 5;
constexpr uint32_t kQuiet = 9;

FairQueue::Work work_of(uint32_t line, uint32_t number, int32_t bytes = 100) {
  return {{(uint64_t{line} << 32U) | number, bytes, 0}, {}, 0, 0};
}

uint32_t line_in(const FairQueue::Work& work) {
  return static_cast<uint32_t>(work.completion.user_data >> 32U);
}

TEST(FairQueue, WhoAsksRarelyWaitsForNobodysBacklog) {
  FairQueue queue;
  for (uint32_t i = 0; i < 8000; ++i) queue.push(kNoisy, work_of(kNoisy, i));
  FairQueue::Work work;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue.pop(&work));
  for (uint32_t round = 0; round < 100; ++round) {
    queue.push(kQuiet, work_of(kQuiet, round));
    int before = 0;
    while (queue.pop(&work) && line_in(work) == kNoisy) ++before;
    EXPECT_EQ(line_in(work), kQuiet);
    EXPECT_LE(before, 2 * FairQueue::kTurnUnits);
  }
}

TEST(FairQueue, LargePiecesArePaidFor) {
  FairQueue queue;
  const int32_t large = 60 * FairQueue::kUnitBytes;
  for (uint32_t i = 0; i < 1000; ++i) {
    queue.push(kNoisy, work_of(kNoisy, i, large));
    queue.push(kQuiet, work_of(kQuiet, i));
  }
  std::map<uint32_t, uint64_t> spent;
  FairQueue::Work work;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(queue.pop(&work));
    spent[line_in(work)] += FairQueue::cost_of(work.completion);
  }
  EXPECT_NEAR(static_cast<double>(spent[kNoisy]), static_cast<double>(spent[kQuiet]), 61 + 8);
}

TEST(FairQueue, ADebtOutlivesAnEmptyLine) {
  FairQueue queue;
  FairQueue::Work work;
  const int32_t large = 80 * FairQueue::kUnitBytes;
  queue.push(kQuiet, work_of(kQuiet, 0));
  for (uint32_t i = 1; i < 200; ++i) queue.push(kQuiet, work_of(kQuiet, i));
  queue.push(kNoisy, work_of(kNoisy, 0, large));
  uint32_t popped = 0;
  while (queue.pop(&work) && line_in(work) != kNoisy) ++popped;
  // It comes back at once, with nothing else in its line: behind what it owes.
  queue.push(kNoisy, work_of(kNoisy, 1, large));
  uint32_t between = 0;
  while (queue.pop(&work) && line_in(work) != kNoisy) ++between;
  EXPECT_GE(between, 72U);
}

// Against a model: nothing is lost or doubled, each line keeps its order, and two lines that both
// have work never drift apart by more than a turn and the largest piece.
TEST(FairQueue, AgreesWithThePlainModel) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    FairQueue queue;
    std::map<uint32_t, std::deque<uint64_t>> model;
    size_t waiting = 0;
    uint32_t number = 0;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 2 == 0) {
        const auto line = static_cast<uint32_t>(random() % 5);
        FairQueue::Work work = work_of(line, number++, static_cast<int32_t>(random() % 20000));
        model[line].push_back(work.completion.user_data);
        queue.push(line, std::move(work));
        ++waiting;
      } else {
        FairQueue::Work work;
        ASSERT_EQ(queue.pop(&work), waiting > 0) << "seed " << seed;
        if (waiting == 0) continue;
        --waiting;
        std::deque<uint64_t>& line = model[line_in(work)];
        ASSERT_EQ(work.completion.user_data, line.front()) << "seed " << seed;
        ASSERT_EQ(work.line, line_in(work));
        line.pop_front();
      }
      ASSERT_EQ(queue.size(), waiting);
    }
  }
}

TEST(FairQueue, BusyLinesGetEqualParts) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    FairQueue queue;
    constexpr uint32_t kBusy = 7;
    std::map<uint32_t, int64_t> spent;
    for (uint32_t line = 0; line < kBusy; ++line) {
      for (uint32_t i = 0; i < 2000; ++i) {
        queue.push(line, work_of(line, i, static_cast<int32_t>(random() % 60000)));
      }
    }
    FairQueue::Work work;
    for (int i = 0; i < 3000; ++i) {
      ASSERT_TRUE(queue.pop(&work));
      spent[line_in(work)] += FairQueue::cost_of(work.completion);
    }
    const auto [least, most] =
        std::minmax_element(spent.begin(), spent.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
    EXPECT_EQ(spent.size(), kBusy);
    EXPECT_LE(most->second - least->second, FairQueue::kTurnUnits + 2 * 15) << "seed " << seed;
  }
}

}  // namespace
}  // namespace np::shard
