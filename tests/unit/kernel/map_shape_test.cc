// SPDX-License-Identifier: Apache-2.0
#include "kernel/map_shape.h"

#include <gtest/gtest.h>

#include <cstring>

namespace np::kernel {
namespace {

TEST(RecordCopyTest, FieldsFollowTheirNamesWhereverTheyAre) {
  const RecordFields from = {{"id", {0, 4}}, {"gone", {4, 4}}, {"name", {8, 8}}};
  const RecordFields to = {{"name", {0, 8}}, {"added", {8, 4}}, {"id", {12, 4}}};
  const char old[] = "IIIIGGGGnamename";
  char now[16] = {};
  RecordCopy(from, to).apply(old, now);
  EXPECT_EQ(std::memcmp(now, "namename\0\0\0\0IIII", sizeof(now)), 0);
}

TEST(RecordCopyTest, AFieldOfAnotherSizeIsNotGuessedAt) {
  const RecordFields from = {{"count", {0, 4}}}, to = {{"count", {0, 8}}};
  const char old[4] = {1, 2, 3, 4};
  char now[8] = {};
  RecordCopy(from, to).apply(old, now);
  for (const char c : now) EXPECT_EQ(c, 0);
}

TEST(RecordCopyTest, KeysMustMeanTheSameEntry) {
  const RecordFields own = {{"ip", {0, 16}}, {"port", {16, 2}}};
  EXPECT_TRUE(is_same_key({{"port", {0, 2}}, {"ip", {2, 16}}}, own)) << "moved, not changed";
  EXPECT_FALSE(is_same_key({{"ip", {0, 16}}}, own)) << "one entry would stand for many";
  EXPECT_FALSE(is_same_key({{"ip", {0, 16}}, {"port", {16, 2}}, {"zone", {20, 4}}}, own))
      << "many entries would become one";
  EXPECT_FALSE(is_same_key({{"ip", {0, 4}}, {"port", {16, 2}}}, own));
}

}  // namespace
}  // namespace np::kernel
