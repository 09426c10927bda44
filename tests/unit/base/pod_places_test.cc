// SPDX-License-Identifier: Apache-2.0
// Places of pods: nobody shares one, whoever comes and goes, against a plain map.
#include "base/pod_places.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "base/random.h"

namespace np {
namespace {

class PodPlacesTest : public testing::Test {
 protected:
  std::vector<uint32_t> memory_ = std::vector<uint32_t>(PodPlaces::kPlaces);
  PodPlaces places_{memory_};
  std::vector<uint32_t> wiped_;

  void keep(const std::unordered_set<uint32_t>& pods) {
    wiped_.clear();
    places_.keep(pods, [this](uint32_t place) { wiped_.push_back(place); });
  }
};

TEST_F(PodPlacesTest, IdsThatPointToOnePlaceHaveOneEach) {
  // Equal modulo the number of places, which once was what chose.
  const std::unordered_set<uint32_t> pods = {7, 7 + 4096, 7 + 2 * 4096, 7U + (1U << 31U)};
  keep(pods);
  std::set<uint32_t> seen;
  for (const uint32_t pod : pods) seen.insert(places_.place_of(pod));
  EXPECT_EQ(seen.size(), pods.size());
  EXPECT_FALSE(seen.contains(0));
  EXPECT_EQ(wiped_.size(), pods.size());
}

TEST_F(PodPlacesTest, WhoLeftGoesOnWhenItComesBack) {
  keep({1, 2});
  const uint32_t place = places_.place_of(1);
  keep({2});
  EXPECT_TRUE(wiped_.empty()) << "who stays is not counted from zero again";
  keep({1, 2});
  EXPECT_EQ(places_.place_of(1), place);
  EXPECT_TRUE(wiped_.empty());
  EXPECT_EQ(places_.place_of(3), 0U);
}

TEST_F(PodPlacesTest, WhoLeftMakesRoomAndTheNextOwnerBeginsAtZero) {
  std::unordered_set<uint32_t> all;
  for (uint32_t id = 1; id <= 2 * PodPlaces::kPlaces; ++id) all.insert(id);
  keep(all);
  const uint32_t newcomer = 3 * PodPlaces::kPlaces;
  keep({newcomer});
  const uint32_t place = places_.place_of(newcomer);
  EXPECT_NE(place, 0U);
  EXPECT_EQ(wiped_, std::vector<uint32_t>{place});
}

TEST_F(PodPlacesTest, NoPodHasNone) {
  keep({0});
  EXPECT_EQ(places_.place_of(0), 0U);
  EXPECT_TRUE(wiped_.empty());
}

TEST_F(PodPlacesTest, AWorkerFindsThePlacesOfTheOneBefore) {
  keep({11, 12, 13});
  const PodPlaces later(memory_);
  for (const uint32_t pod : {11U, 12U, 13U}) {
    EXPECT_EQ(later.place_of(pod), places_.place_of(pod));
  }
}

TEST_F(PodPlacesTest, PodsComeAndGo) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Rng rng(seed);
    std::unordered_set<uint32_t> pods;
    std::map<uint32_t, uint32_t> before;
    for (int round = 0; round < 200; ++round) {
      while (pods.size() > 700) pods.erase(pods.begin());
      for (int i = 0; i < 100; ++i) pods.insert(static_cast<uint32_t>(rng.next()) | 1U);
      keep(pods);
      std::map<uint32_t, uint32_t> owner_of;
      for (const uint32_t pod : pods) {
        const uint32_t place = places_.place_of(pod);
        ASSERT_NE(place, 0U) << "seed " << seed << ", round " << round;
        ASSERT_TRUE(owner_of.emplace(place, pod).second) << "shared: seed " << seed;
        const auto known = before.find(pod);
        ASSERT_TRUE(known == before.end() || known->second == place) << "moved: seed " << seed;
      }
      before.clear();
      for (const auto& [place, pod] : owner_of) before.emplace(pod, place);
    }
  }
}

TEST_F(PodPlacesTest, WithoutRoomItIsThePlaceOfAll) {
  std::unordered_set<uint32_t> pods;
  for (uint32_t id = 1; id <= 2 * PodPlaces::kPlaces; ++id) pods.insert(id);
  keep(pods);
  std::set<uint32_t> given;
  uint32_t without = 0;
  for (const uint32_t pod : pods) {
    const uint32_t place = places_.place_of(pod);
    if (place == 0) {
      ++without;
    } else {
      EXPECT_TRUE(given.insert(place).second);
    }
  }
  EXPECT_EQ(given.size() + without, pods.size());
  EXPECT_GT(given.size(), PodPlaces::kPlaces / 2);
}

}  // namespace
}  // namespace np
