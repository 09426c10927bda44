// SPDX-License-Identifier: Apache-2.0
// Names of fields are compared eight letters at a time: against a plain comparison.
#include "base/field.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace np {
namespace {

bool plainly_equal(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

TEST(Field, EveryPairOfBytesAtEveryPlace) {
  for (const size_t size : {1U, 3U, 4U, 5U, 7U, 8U, 9U, 16U, 19U}) {
    for (size_t place = 0; place < size; ++place) {
      std::string a(size, 'x'), b(size, 'X');
      for (int first = 0; first < 256; ++first) {
        for (int second = 0; second < 256; ++second) {
          a[place] = static_cast<char>(first);
          b[place] = static_cast<char>(second);
          ASSERT_EQ(equals_ignoring_case(a, b), plainly_equal(a, b))
              << first << " and " << second << " at " << place << " of " << size;
        }
      }
    }
  }
}

TEST(Field, TextsOfAllSizes) {
  Rng rng(7);
  for (int round = 0; round < 200'000; ++round) {
    std::string a(rng.below(40), ' ');
    for (char& c : a) c = static_cast<char>('@' + rng.below(64));
    std::string b = a;
    for (char& c : b) {
      if (rng.below(3) == 0 && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c ^= 0x20;
    }
    EXPECT_TRUE(equals_ignoring_case(a, b)) << a << " " << b;
    if (b.empty()) continue;
    b[rng.below(static_cast<uint32_t>(b.size()))] ^= static_cast<char>(1 + rng.below(255));
    EXPECT_EQ(equals_ignoring_case(a, b), plainly_equal(a, b)) << a << " " << b;
  }
  EXPECT_FALSE(equals_ignoring_case("host", "hosts"));
  EXPECT_TRUE(equals_ignoring_case("", ""));
}

}  // namespace
}  // namespace np
