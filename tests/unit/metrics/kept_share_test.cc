// SPDX-License-Identifier: Apache-2.0
#include "metrics/kept_share.h"

#include <gtest/gtest.h>

namespace np::metrics {
namespace {

using std::chrono::seconds;

constexpr Instant kNow{seconds(1000)};

uint32_t taken_of(KeptShare& share, uint32_t place, Instant at, uint32_t requests) {
  uint32_t taken = 0;
  for (uint32_t i = 0; i < requests; ++i) taken += share.take(place, at) ? 1 : 0;
  return taken;
}

TEST(KeptShare, ABurstThenSoManyPerSecond) {
  KeptShare share;
  EXPECT_EQ(taken_of(share, 1, kNow, 1000), KeptShare::kAtOnce);
  EXPECT_EQ(taken_of(share, 1, kNow + seconds(1), 1000), seconds(1) / KeptShare::kPause);
  EXPECT_EQ(taken_of(share, 1, kNow + seconds(600), 1000), KeptShare::kAtOnce) << "and no more";
}

TEST(KeptShare, EachPodHasItsOwn) {
  KeptShare share;
  EXPECT_EQ(taken_of(share, 1, kNow, 1000), KeptShare::kAtOnce);
  EXPECT_EQ(taken_of(share, 2, kNow, 1000), KeptShare::kAtOnce);
  EXPECT_EQ(taken_of(share, 0, kNow, 1), 1U);
  EXPECT_EQ(taken_of(share, PodPlaces::kPlaces - 1, kNow, 1), 1U);
}

TEST(KeptShare, RequestsOutOfOrderGetNoMore) {
  KeptShare share;
  EXPECT_EQ(taken_of(share, 1, kNow, 1000), KeptShare::kAtOnce);
  EXPECT_EQ(taken_of(share, 1, kNow - seconds(5), 1000), 0U);
  EXPECT_EQ(taken_of(share, 1, kNow + seconds(1), 1000), seconds(1) / KeptShare::kPause);
}

}  // namespace
}  // namespace np::metrics
