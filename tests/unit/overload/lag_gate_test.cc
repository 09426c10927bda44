// SPDX-License-Identifier: Apache-2.0
#include "overload/lag_gate.h"

#include <gtest/gtest.h>

namespace np::overload {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LagGateTest : public testing::Test {
 protected:
  // Iterations that work for `took` and then wait for `idle`, for `length` in all.
  void run(Duration took, Duration idle, Duration length) {
    for (const Instant end = now_ + length; now_ < end; now_ += idle) {
      now_ += took;
      if (gate_.on_iteration(took, Duration::zero(), now_)) ++changes_;
    }
  }
  LagGate gate_{milliseconds(500)};
  Instant now_{seconds(50)};
  int changes_ = 0;
};

TEST_F(LagGateTest, ABusyLoopWithShortIterationsIsNotLate) {
  run(milliseconds(20), Duration::zero(), seconds(60));
  EXPECT_FALSE(gate_.is_late());
  EXPECT_LE(gate_.lag(), milliseconds(20));
}

TEST_F(LagGateTest, AnIdleLoopIsNotLate) {
  run(milliseconds(1), milliseconds(39), seconds(60));
  EXPECT_FALSE(gate_.is_late());
}

TEST_F(LagGateTest, IterationsAboveTheLimitAreLate) {
  run(milliseconds(600), Duration::zero(), seconds(3));
  EXPECT_TRUE(gate_.is_late());
  EXPECT_NEAR(static_cast<double>(gate_.lag().count()), 600e6, 1e6);
}

// A process that was stopped, a machine that slept, a page fault: one iteration, however long.
TEST_F(LagGateTest, OnePauseIsNotLoad) {
  run(milliseconds(1), milliseconds(39), seconds(3));
  run(seconds(30), Duration::zero(), seconds(30));
  run(milliseconds(1), milliseconds(39), seconds(3));
  EXPECT_EQ(changes_, 0);
}

TEST_F(LagGateTest, IterationsAsLongAsTheWindowAreLateWhenThereAreThree) {
  run(seconds(3), Duration::zero(), seconds(6));
  EXPECT_FALSE(gate_.is_late());
  run(seconds(3), Duration::zero(), seconds(3));
  EXPECT_TRUE(gate_.is_late());
}

TEST_F(LagGateTest, APauseNowAndThenIsNotLoad) {
  for (int i = 0; i < 20; ++i) {
    run(milliseconds(700), Duration::zero(), milliseconds(700));
    run(milliseconds(1), milliseconds(39), milliseconds(1300));
  }
  EXPECT_EQ(changes_, 0);
}

TEST_F(LagGateTest, EndsBelowHalfAfterAWhileAndDoesNotFlap) {
  run(milliseconds(600), Duration::zero(), seconds(6));
  EXPECT_TRUE(gate_.is_late());
  run(milliseconds(400), Duration::zero(), seconds(30));
  EXPECT_TRUE(gate_.is_late()) << "below the limit, not below half of it";
  run(milliseconds(100), Duration::zero(), seconds(2));
  EXPECT_TRUE(gate_.is_late()) << "not for long enough";
  run(milliseconds(100), Duration::zero(), kCalmAfter + kLagWindow);
  EXPECT_FALSE(gate_.is_late());
  EXPECT_EQ(changes_, 2);
}

// The wait that ended too late: the thread had no CPU.
TEST_F(LagGateTest, ALateWakeIsLag) {
  for (int i = 0; i < 10; ++i) {
    now_ += milliseconds(700);
    (void)gate_.on_iteration(milliseconds(1), milliseconds(699), now_);
  }
  EXPECT_TRUE(gate_.is_late());
}

TEST_F(LagGateTest, ALongLimitHasALongWindow) {
  gate_ = LagGate(seconds(5));
  run(seconds(6), Duration::zero(), seconds(18));
  EXPECT_FALSE(gate_.is_late());
  run(seconds(6), Duration::zero(), seconds(12));
  EXPECT_TRUE(gate_.is_late());
}

TEST_F(LagGateTest, ZeroSwitchesItOff) {
  gate_ = LagGate(Duration::zero());
  run(seconds(5), Duration::zero(), seconds(60));
  EXPECT_FALSE(gate_.is_late());
}

}  // namespace
}  // namespace np::overload
