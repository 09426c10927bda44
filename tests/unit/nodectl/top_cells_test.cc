// SPDX-License-Identifier: Apache-2.0
// How `nodectl top` writes values: rounding must not tell lies.
#include "top_cells.h"

#include <gtest/gtest.h>

#include <limits>

namespace np::nodectl {
namespace {

TEST(TopCells, SomethingIsNeverNothing) {
  EXPECT_EQ(rate_text(0), "0");
  EXPECT_EQ(rate_text(1.0 / 60), "<0.1");
  EXPECT_EQ(rate_text(0.25), "0.2");
  EXPECT_EQ(rate_text(99.96), "100");
  EXPECT_EQ(bytes_text(0), "0");
  EXPECT_EQ(bytes_text(0.4), "<1");
}

TEST(TopCells, NearlyAllIsNotAll) {
  EXPECT_EQ(share_text(100), "100");
  EXPECT_EQ(share_text(99.99), "99.9");
  EXPECT_EQ(share_text(0), "0.0");
  EXPECT_EQ(share_text(-1), "-");
}

TEST(TopCells, LargeOnesGetAUnitAndLoseNoDigit) {
  EXPECT_EQ(count_text(99'999), "99999");
  EXPECT_EQ(count_text(100'000), "100k");
  EXPECT_EQ(count_text(123'456'789), "123M");
  EXPECT_EQ(rate_text(56'000'000), "56000k");
  EXPECT_EQ(bytes_text(999), "999");
  EXPECT_EQ(bytes_text(999.6), "1.0K");
  EXPECT_EQ(bytes_text(9'960), "10K");
  EXPECT_EQ(bytes_text(2.5e12), "2.5T");
}

TEST(TopCells, Latencies) {
  EXPECT_EQ(latency_text(-1), "-");
  EXPECT_EQ(latency_text(1.25), "1.2ms");
  EXPECT_EQ(latency_text(9.96), "10ms");
  EXPECT_EQ(latency_text(999.7), "1.0s");
  EXPECT_EQ(latency_text(std::numeric_limits<double>::infinity()), ">60s");
}

TEST(TopCells, Ages) {
  EXPECT_EQ(lasting_text(1'500), "1.50s");
  EXPECT_EQ(lasting_text(192'000), "3m12s");
  EXPECT_EQ(lasting_text(3 * 86'400'000ULL), "3d");
}

TEST(TopCells, OnlyPrintableAsciiIsLeft) {
  EXPECT_EQ(visible("web-1.ns"), "web-1.ns");
  EXPECT_EQ(visible("a\x1b[2J\x7f"), "a\\x1b[2J\\x7f");
  EXPECT_EQ(visible("\xc2\x9b"), "\\xc2\\x9b") << "CSI in one character";
  EXPECT_EQ(visible("\xe2\x80\xae"), "\\xe2\\x80\\xae") << "turns the direction of writing";
}

TEST(TopCells, Fits) {
  EXPECT_EQ(fitted("abc", 5, true), "abc  ");
  EXPECT_EQ(fitted("abc", 5, false), "  abc");
  EXPECT_EQ(fitted("abcdef", 5, true), "abcd~");
}

}  // namespace
}  // namespace np::nodectl
