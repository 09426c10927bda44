// SPDX-License-Identifier: Apache-2.0
#include "shard/busy_meter.h"

#include <gtest/gtest.h>

#include <thread>

namespace np::shard {
namespace {

using namespace std::chrono_literals;

TEST(BusyMeter, TellsWorkFromSleep) {
  BusyMeter meter;
  meter.begin(monotonic_now());
  const Instant end = monotonic_now() + 60ms;
  uint64_t turns = 0;
  while (monotonic_now() < end) ++turns;
  // However many others want the CPU: waiting for it is no sleep.
  EXPECT_GT(meter.measure(monotonic_now()), 800U) << turns;
  std::this_thread::sleep_for(100ms);
  EXPECT_LT(meter.measure(monotonic_now()), 300U);
}

}  // namespace
}  // namespace np::shard
