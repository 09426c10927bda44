// SPDX-License-Identifier: Apache-2.0
// Whatever a policy says, reading it in a terminal moves no cursor and turns no text around.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "output.h"
#include "tests/unit/nodectl/nodectl_fixture.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

// CSI in one character, the end of a line, and writing from right to left.
constexpr char kHostile[] =
    "\xc2\x9b"
    "2J\xe2\x80\xa8\xe2\x80\xae";

std::string hostile_rule() {
  return replaced(
      replaced(kRule, "  name: reviews-default\n",
               std::string("  name: reviews-default\n  annotations:\n    note: \"h\xc3\xa9 ") +
                   kHostile + "\"\n"),
      "# everything", std::string("# ") + kHostile);
}

TEST_F(NodectlTest, NothingIsPrintedThatATerminalActsOnUnseen) {
  apply(hostile_rule());
  const Json note = std::string("h\xc3\xa9 ") + kHostile;
  for (const char* form : {"json", "yaml"}) {
    const Ran ran = nodectl({"get", "rr", "reviews-default", "-o", form});
    EXPECT_EQ(ran.exit_code, 0);
    EXPECT_FALSE(has_unseen(ran.out)) << ran.out;
    EXPECT_THAT(ran.out, HasSubstr("h\xc3\xa9 \\u009b2J\\u2028\\u202e"));
    EXPECT_THAT(nodectl({"apply", "-f", "-"}, ran.out).out, HasSubstr("reviews-default"));
    const Ran again = nodectl({"get", "rr", "reviews-default", "-o", "json"});
    EXPECT_EQ(Json::parse(again.out)["metadata"]["annotations"]["note"], note) << form;
  }
  apply(hostile_rule());
  EXPECT_FALSE(has_unseen(nodectl({"describe", "rr", "reviews-default"}).out));
  const std::string other = replaced(hostile_rule(), "precedence: 1", "precedence: 2");
  EXPECT_FALSE(has_unseen(nodectl({"diff", "-f", "-"}, other).out));
}

TEST_F(NodectlTest, NorInAComplaint) {
  const Ran ran = nodectl({"apply", "-f", "-"}, replaced(kRule, "v1alpha2", kHostile));
  EXPECT_NE(ran.exit_code, 0);
  EXPECT_FALSE(ran.error.empty());
  EXPECT_FALSE(has_unseen(ran.error)) << ran.error;
}

TEST(YamlText, KeysThatAreNoWordAreQuoted) {
  EXPECT_EQ(nodectl::to_yaml({{"app.io/name", 1}, {"a: b", 2}, {"", 3}, {"#x", 4}, {"7", 5}}),
            "\"\": 3\n\"#x\": 4\n\"7\": 5\n\"a: b\": 2\napp.io/name: 1\n");
}

}  // namespace
}  // namespace np::control
