// SPDX-License-Identifier: Apache-2.0
// What a pod is charged follows what its work cost, not what the shard does without work.
#include "shard/work_meter.h"

#include <gtest/gtest.h>

namespace np::shard {
namespace {

constexpr uint64_t kNsPerUnit = 2'000;
constexpr uint64_t kIdleNs = 40'000;  // of a tick without work: the loop's own

TEST(WorkMeter, ABusyTickSetsTheRate) {
  WorkMeter meter;
  const uint64_t at_first = meter.ns_per_unit();
  EXPECT_EQ(meter.charge(100), 100 * at_first);
  meter.measure(100 * kNsPerUnit);
  EXPECT_EQ(meter.ns_per_unit(), kNsPerUnit);
  EXPECT_EQ(meter.charge(3), 3 * kNsPerUnit);
}

// Many quiet ticks, then a burst: the quiet ones' time is not the burst's.
TEST(WorkMeter, TheTimeOfQuietTicksIsNobodys) {
  WorkMeter meter;
  uint64_t cpu_ns = 0;
  for (int tick = 0; tick < 1'000; ++tick) meter.measure(cpu_ns += kIdleNs);
  meter.charge(100);
  meter.measure(cpu_ns += 100 * kNsPerUnit);
  EXPECT_EQ(meter.ns_per_unit(), kNsPerUnit);
}

TEST(WorkMeter, AFewUnitsChangeNoRate) {
  WorkMeter meter;
  meter.charge(100);
  uint64_t cpu_ns = 100 * kNsPerUnit;
  meter.measure(cpu_ns);
  for (int tick = 0; tick < 100; ++tick) {
    meter.charge(2);
    meter.measure(cpu_ns += kIdleNs);
  }
  EXPECT_EQ(meter.ns_per_unit(), kNsPerUnit);
  // Nor are the units of those ticks part of the next measure.
  meter.charge(100);
  meter.measure(cpu_ns += 100 * 3 * kNsPerUnit);
  EXPECT_EQ(meter.ns_per_unit(), 3 * kNsPerUnit);
}

// A clock that stands or goes back must not charge anybody for years.
TEST(WorkMeter, TheRateIsBounded) {
  WorkMeter meter;
  meter.measure(1'000'000'000);
  meter.charge(64);
  meter.measure(5);
  EXPECT_EQ(meter.ns_per_unit(), 0U);
  meter.charge(64);
  meter.measure(UINT64_MAX);
  EXPECT_LE(meter.ns_per_unit(), 1'000'000U);
}

}  // namespace
}  // namespace np::shard
