// SPDX-License-Identifier: Apache-2.0
#include "metrics/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/printable.h"
#include "base/random.h"

namespace np::metrics {
namespace {

std::string json_of(std::string_view text) {
  std::string out;
  append_json(out, text);
  return out;
}

TEST(JsonText, EscapesWhatJsonForbids) {
  EXPECT_EQ(json_of(""), "\"\"");
  EXPECT_EQ(json_of("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(json_of("\n\r\t\x01\x1f\x7f"), R"("\n\r\t\u0001\u001f\u007f")");
  EXPECT_EQ(json_of(std::string_view("\0", 1)), R"("\u0000")");
  EXPECT_EQ(json_of("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "\"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
}

// A log that is read in a terminal must not move its cursor, nor break into lines.
TEST(JsonText, EscapesWhatATerminalActsOn) {
  EXPECT_EQ(json_of("\xc2\x9b"
                    "2J\xc2\x85\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xae"),
            R"("\u009b2J\u0085\u2028\u2029\u202e")");
  EXPECT_EQ(json_of("\xc2\xa0\xe2\x80\xa7"), "\"\xc2\xa0\xe2\x80\xa7\"");
}

TEST(JsonText, WhatIsNoUtf8IsReplacedByteByByte) {
  const std::string mark = "\xef\xbf\xbd";
  EXPECT_EQ(json_of("a\xff"
                    "b"),
            "\"a" + mark + "b\"");
  EXPECT_EQ(json_of("\xc3"), "\"" + mark + "\"") << "cut short";
  EXPECT_EQ(json_of("\xc0\xaf"), "\"" + mark + mark + "\"") << "longer than needed";
  EXPECT_EQ(json_of("\xe0\x80\xaf"), "\"" + mark + mark + mark + "\"");
  EXPECT_EQ(json_of("\xed\xa0\x80"), "\"" + mark + mark + mark + "\"") << "a surrogate";
  EXPECT_EQ(json_of("\xf4\x90\x80\x80"), "\"" + mark + mark + mark + mark + "\"");
}

TEST(JsonText, ReadersAcceptWhateverComes) {
  Rng random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random.below(12), '\0');
    for (char& c : text) c = static_cast<char>(random.next());
    const auto parsed = nlohmann::json::parse(json_of(text), nullptr, false);
    ASSERT_TRUE(parsed.is_string()) << ::testing::PrintToString(text);
    ASSERT_FALSE(has_unseen(json_of(text))) << ::testing::PrintToString(text);
  }
}

TEST(JsonText, Numbers) {
  std::string out;
  append_number(out, UINT64_MAX);
  out += ' ';
  append_number(out, INT64_MIN);
  out += ' ';
  append_hex(out, 0x2a);
  out += ' ';
  append_decimal(out, 1.25, 1);
  out += ' ';
  append_decimal(out, 0, 3);
  EXPECT_EQ(out, "18446744073709551615 -9223372036854775808 000000000000002a 1.2 0.000");
}

}  // namespace
}  // namespace np::metrics
