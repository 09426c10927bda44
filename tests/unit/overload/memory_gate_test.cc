// SPDX-License-Identifier: Apache-2.0
#include "overload/memory_gate.h"

#include <gtest/gtest.h>

#include "overload/memory_trend.h"

namespace np::overload {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kLimit = 100'000;

class MemoryGateTest : public testing::Test {
 protected:
  // `percent` of the limit in use, `after` the look before.
  MemoryStage look(double percent, Duration after = milliseconds(25)) {
    now_ += after;
    const auto used = static_cast<uint64_t>(percent * kLimit / 100);
    return gate_.look(used, used, kLimit, now_);
  }
  MemoryGate gate_{MemoryThresholds{}};
  Instant now_{std::chrono::seconds(50)};
};

TEST_F(MemoryGateTest, StagesBeginAtTheirThresholds) {
  EXPECT_EQ(look(0), MemoryStage::kNormal);
  EXPECT_EQ(look(91.9), MemoryStage::kNormal);
  EXPECT_EQ(look(92), MemoryStage::kDrain);
  EXPECT_EQ(look(94.9), MemoryStage::kDrain);
  EXPECT_EQ(look(95), MemoryStage::kRefuse);
  EXPECT_EQ(look(98), MemoryStage::kReset);
  EXPECT_EQ(look(250), MemoryStage::kReset);
}

TEST_F(MemoryGateTest, JumpsOverStages) {
  EXPECT_EQ(look(10), MemoryStage::kNormal);
  EXPECT_EQ(look(99), MemoryStage::kReset);
}

TEST_F(MemoryGateTest, EndsOnlyWellBelowAndAfterAWhile) {
  EXPECT_EQ(look(95), MemoryStage::kRefuse);
  // Below the threshold, but not by enough: for ever.
  for (int i = 0; i < 100; ++i) EXPECT_EQ(look(93.1, milliseconds(250)), MemoryStage::kRefuse);
  EXPECT_EQ(look(92.9), MemoryStage::kRefuse);
  EXPECT_EQ(look(92.9, kFallAfter - milliseconds(1)), MemoryStage::kRefuse);
  EXPECT_EQ(look(92.9, milliseconds(1)), MemoryStage::kDrain);
  EXPECT_EQ(look(89.9, milliseconds(1)), MemoryStage::kDrain);
  EXPECT_EQ(look(89.9, kFallAfter), MemoryStage::kNormal);
}

TEST_F(MemoryGateTest, FallsOverStagesAtOnceWhenAllIsFreed) {
  EXPECT_EQ(look(99), MemoryStage::kReset);
  EXPECT_EQ(look(20), MemoryStage::kReset);
  EXPECT_EQ(look(20, kFallAfter), MemoryStage::kNormal);
}

TEST_F(MemoryGateTest, APeakOnTheWayDownBeginsTheWaitAnew) {
  EXPECT_EQ(look(95), MemoryStage::kRefuse);
  EXPECT_EQ(look(90.5), MemoryStage::kRefuse);
  EXPECT_EQ(look(94), MemoryStage::kRefuse);  // between: neither rises nor falls
  EXPECT_EQ(look(90.5, kFallAfter), MemoryStage::kRefuse);
  EXPECT_EQ(look(90.5, kFallAfter), MemoryStage::kDrain);
}

TEST_F(MemoryGateTest, AroundAThresholdItDoesNotFlap) {
  int changes = 0;
  MemoryStage before = gate_.stage();
  for (int i = 0; i < 1000; ++i) {
    const MemoryStage stage = look(i % 2 == 0 ? 95.5 : 93.5);
    if (stage != before) ++changes;
    before = stage;
  }
  EXPECT_EQ(changes, 1);
}

TEST_F(MemoryGateTest, WithoutALimitThereIsNoStage) {
  EXPECT_EQ(gate_.look(UINT64_MAX, UINT64_MAX, 0, now_), MemoryStage::kNormal);
}

TEST_F(MemoryGateTest, OtherThresholds) {
  MemoryGate gate(MemoryThresholds{{50, 60, 70}});
  EXPECT_EQ(gate.look(55, 55, 100, now_), MemoryStage::kDrain);
  EXPECT_EQ(gate.look(60, 60, 100, now_), MemoryStage::kRefuse);
  EXPECT_EQ(gate.look(70, 70, 100, now_), MemoryStage::kReset);
}

// What will be in use before anybody has acted counts, but for ending what is under way.
TEST_F(MemoryGateTest, LooksAhead) {
  EXPECT_EQ(gate_.look(80'000, 93'000, kLimit, now_), MemoryStage::kDrain);
  EXPECT_EQ(gate_.look(80'000, 150'000, kLimit, now_), MemoryStage::kRefuse);
  EXPECT_EQ(gate_.look(98'000, 150'000, kLimit, now_), MemoryStage::kReset);
  EXPECT_EQ(gate_.look(80'000, 95'000, kLimit, now_), MemoryStage::kReset);
  EXPECT_EQ(gate_.look(80'000, 95'000, kLimit, now_ + kFallAfter), MemoryStage::kRefuse);
}

TEST(MemoryTrendTest, RisesAndFalls) {
  MemoryTrend trend;
  Instant now{seconds(50)};
  trend.on_sample(1000, now);
  EXPECT_EQ(trend.used_after(seconds(1)), 1000U) << "one sample is no trend";
  for (uint64_t i = 1; i <= 20; ++i) trend.on_sample(1000 + 100 * i, now += milliseconds(100));
  EXPECT_NEAR(static_cast<double>(trend.rate()), 1000, 1);
  EXPECT_NEAR(static_cast<double>(trend.used_after(seconds(2))), 5000, 2);
  for (int i = 0; i < 20; ++i) trend.on_sample(3000, now += milliseconds(100));
  EXPECT_LE(trend.rate(), 1U) << "it stands";
  trend.on_sample(0, now += milliseconds(100));
  EXPECT_EQ(trend.used_after(seconds(2)), 0U);
  trend.on_sample(7, now);  // no time has passed
  EXPECT_EQ(trend.rate(), 0U);
}

}  // namespace
}  // namespace np::overload
