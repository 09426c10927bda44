// SPDX-License-Identifier: Apache-2.0
// Results, buffers, fields and random numbers.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "base/buffer.h"
#include "base/check.h"
#include "base/field.h"
#include "base/random.h"
#include "base/result.h"

namespace np {
namespace {

Result<int> half_of(int value) {
  if (value % 2 != 0) return Error{ErrorCode::kInvalid, "halve", "odd number", "use an even one"};
  return value / 2;
}

Result<int> quarter_of(int value) {
  NP_TRY_ASSIGN(const int half, half_of(value));
  return half_of(half);
}

TEST(Result, PassesValuesAndErrorsOn) {
  EXPECT_EQ(*quarter_of(8), 2);
  const auto failed = quarter_of(6);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().to_string(), "halve: odd number (use an even one)");
}

TEST(Result, SystemErrorNamesTheErrno) {
  EXPECT_EQ(system_error(ENOENT, "open x").to_string(), "open x: No such file or directory");
}

class CountingOwner : public BufferOwner {
 public:
  void recycle(Buffer* /*buffer*/) override { ++recycled; }
  int recycled = 0;
};

TEST(Buffer, GoesBackOnceWhenTheLastReferenceIsDropped) {
  CountingOwner owner;
  Buffer buffer{.owner = &owner};
  {
    const BufferRef first(&buffer);
    BufferRef second = first;
    const BufferRef third = std::move(second);
    EXPECT_EQ(buffer.references, 2U);
    second = third;
    EXPECT_EQ(buffer.references, 3U);
    EXPECT_EQ(owner.recycled, 0);
  }
  EXPECT_EQ(owner.recycled, 1);
}

TEST(Field, NamesCompareWithoutCase) {
  const std::array<Field, 2> fields = {Field{"End-User", "jason"}, Field{"end-user", "other"}};
  const Field* found = find_field(fields, "END-USER");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->value, "jason");
  EXPECT_EQ(find_field(fields, "end-use"), nullptr);
}

TEST(Rng, RepeatsFromItsSeedAndStaysInBounds) {
  Rng first(7);
  Rng second(7);
  std::array<int, 10> seen{};
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t value = first.below(10);
    ASSERT_EQ(value, second.below(10));
    ASSERT_LT(value, 10U);
    ++seen[value];
  }
  for (const int count : seen) EXPECT_NEAR(count, 10'000, 500);
  EXPECT_TRUE(first.chance(1, 1));
  EXPECT_FALSE(first.chance(0, 1'000'000));
}

TEST(CheckDeathTest, AbortsWithTheCondition) {
  EXPECT_DEATH(NP_CHECK(1 + 1 == 3), "check failed: 1 \\+ 1 == 3");
}

TEST(CountIf, CountsAndYieldsTheCondition) {
  const uint64_t before = g_unexpected_count.load();
  EXPECT_TRUE(NP_COUNT_IF(true));
  EXPECT_FALSE(NP_COUNT_IF(false));
  EXPECT_EQ(g_unexpected_count.load(), before + 1);
}

}  // namespace
}  // namespace np
