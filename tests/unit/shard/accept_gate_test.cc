// SPDX-License-Identifier: Apache-2.0
#include "shard/accept_gate.h"

#include <gtest/gtest.h>

namespace np::shard {
namespace {

using Failure = AcceptGate::Failure;

constexpr Instant kStart{std::chrono::seconds(1000)};

TEST(AcceptGateTest, ShedsBeforeItStopsSoThatQueuesEmpty) {
  AcceptGate gate(160);
  gate.on_load(149);
  EXPECT_TRUE(gate.accepts());
  EXPECT_FALSE(gate.sheds());
  gate.on_load(150);
  EXPECT_TRUE(gate.sheds()) << "a sixteenth is left";
  EXPECT_TRUE(gate.accepts()) << "for those that were let in before";
  gate.on_load(160);
  EXPECT_FALSE(gate.accepts());
  EXPECT_TRUE(gate.sheds());
  EXPECT_FALSE(gate.lacks_descriptors()) << "a full house is no failure";
}

TEST(AcceptGateTest, BeginsAgainWellBelowTheLimit) {
  AcceptGate gate(160);
  gate.on_load(160);
  gate.on_load(150);
  EXPECT_FALSE(gate.accepts());
  gate.on_load(143);
  EXPECT_FALSE(gate.accepts());
  gate.on_load(142);
  EXPECT_TRUE(gate.accepts());
  EXPECT_FALSE(gate.sheds());
}

TEST(AcceptGateTest, WithoutMemoryNothingIsAccepted) {
  AcceptGate gate(160);
  gate.on_memory(true);
  EXPECT_FALSE(gate.accepts());
  EXPECT_TRUE(gate.sheds());
  gate.on_load(0);
  EXPECT_FALSE(gate.accepts()) << "few connections bring no memory";
  gate.on_load(160);
  gate.on_memory(false);
  EXPECT_FALSE(gate.accepts()) << "it is full, too";
  gate.on_load(0);
  EXPECT_TRUE(gate.accepts());
  EXPECT_FALSE(gate.sheds());
}

TEST(AcceptGateTest, TheSmallestLimitsCanBeLeftAgain) {
  for (const uint32_t limit : {1U, 2U, 9U}) {
    AcceptGate gate(limit);
    gate.on_load(limit);
    EXPECT_FALSE(gate.accepts()) << limit;
    gate.on_load(0);
    EXPECT_TRUE(gate.accepts()) << limit;
    EXPECT_FALSE(gate.sheds()) << limit;
  }
}

TEST(AcceptGateTest, WithoutDescriptorsItStaysShutUntilThereAreSome) {
  AcceptGate gate(160);
  gate.on_failure(Failure::kDescriptors, kStart);
  EXPECT_FALSE(gate.accepts());
  EXPECT_TRUE(gate.sheds());
  EXPECT_TRUE(gate.lacks_descriptors());
  gate.on_load(0);
  EXPECT_FALSE(gate.accepts()) << "few connections bring no descriptor";
  EXPECT_FALSE(gate.wants_retry(kStart + kAcceptPause - Duration(1)));
  ASSERT_TRUE(gate.wants_retry(kStart + kAcceptPause));
  gate.on_retry(false, kStart + kAcceptPause);
  EXPECT_TRUE(gate.lacks_descriptors());
  EXPECT_FALSE(gate.wants_retry(kStart + kAcceptPause));
  ASSERT_TRUE(gate.wants_retry(kStart + 2 * kAcceptPause));
  gate.on_retry(true, kStart + 2 * kAcceptPause);
  EXPECT_TRUE(gate.accepts());
  EXPECT_FALSE(gate.sheds());
  EXPECT_FALSE(gate.lacks_descriptors());
}

TEST(AcceptGateTest, WantOfMemoryShedsButIsNoWantOfDescriptors) {
  AcceptGate gate(160);
  gate.on_failure(Failure::kMemory, kStart);
  EXPECT_FALSE(gate.accepts());
  EXPECT_TRUE(gate.sheds());
  EXPECT_FALSE(gate.lacks_descriptors());
}

TEST(AcceptGateTest, BothReasonsMustBeOver) {
  AcceptGate gate(160);
  gate.on_load(160);
  gate.on_failure(Failure::kDescriptors, kStart);
  gate.on_retry(true, kStart + kAcceptPause);
  EXPECT_FALSE(gate.accepts());
  gate.on_load(10);
  EXPECT_TRUE(gate.accepts());
}

}  // namespace
}  // namespace np::shard
