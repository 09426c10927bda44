// SPDX-License-Identifier: Apache-2.0
// How doctor reads: areas in their order, 80 columns, commands that can be typed as they stand.
#include "tools/nodectl/doctor_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace np::nodectl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

Json check(const std::string& area, const std::string& level, const std::string& found) {
  return {{"area", area},   {"level", level}, {"subject", "it"},
          {"found", found}, {"remedy", ""},   {"commands", Json::array()}};
}

TEST(DoctorText, AreasInOrderFindingsWithRemediesAndASum) {
  Json fault = check("pins", "fail", "the pin is gone");
  fault["remedy"] = "pin it again";
  fault["commands"] = {"nodectl pod list", "bpftool map pin id 7 /x"};
  const Json checks = {check("policy", "warn", "odd"), fault, check("daemon", "ok", "well"),
                       check("news", "ok", "an area of a later version")};
  EXPECT_EQ(doctor_text(checks, "/run/other dir", false),
            "daemon\n  ok    it: well\n\n"
            "pins\n  fail  it: the pin is gone\n        -> pin it again\n"
            "        $ nodectl --run-dir '/run/other dir' pod list\n"
            "        $ bpftool map pin id 7 /x\n\n"
            "policy\n  warn  it: odd\n\n"
            "news\n  ok    it: an area of a later version\n\n"
            "4 checks: 2 ok, 1 warn, 1 fail\n");
  EXPECT_EQ(doctor_json(checks)["summary"], (Json{{"ok", 2}, {"warn", 1}, {"fail", 1}}));
}

TEST(DoctorText, LinesEndBeforeColumn80AndCommandsGoOnBehindABackslash) {
  Json long_one = check("pods", "fail", "");
  std::string words;
  for (int i = 0; i < 60; ++i) words += "word" + std::to_string(i) + " ";
  long_one["found"] = words;
  long_one["remedy"] = words;
  long_one["commands"] = {"nodectl " + words};
  std::istringstream text(doctor_text(Json::array({long_one}), "", false));
  std::string typed;
  for (std::string line; std::getline(text, line);) {
    EXPECT_LE(line.size(), 80U) << line;
    const bool is_command = line.rfind("        $ ", 0) == 0;
    const bool goes_on = typed.ends_with(" \\");
    if (goes_on) typed.resize(typed.size() - 1);
    if (is_command || goes_on) typed += line.substr(10);
  }
  while (words.back() == ' ') words.pop_back();
  EXPECT_EQ(typed, "nodectl " + words);
}

TEST(DoctorText, WhatATerminalWouldActOnIsEscaped) {
  Json hostile = check("policy", "warn", "rule \x1b[2J\r\n\xe2\x80\xae");
  hostile["subject"] = "x\ay";
  hostile["remedy"] = "\x1b]0;z";
  hostile["commands"] = {"nodectl \x1b[1m"};
  const std::string text = doctor_text(Json::array({hostile}), "", false);
  EXPECT_THAT(text, HasSubstr("x\\x07y: rule \\x1b[2J\\x0d\\x0a\\xe2\\x80\\xae\n"));
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << text;
}

TEST(DoctorText, ManyGoodOnesOfAnAreaAreCountedFaultsAreNot) {
  Json checks = Json::array();
  for (int i = 0; i < 40; ++i) checks.push_back(check("pods", "ok", "pod " + std::to_string(i)));
  checks.push_back(check("pods", "fail", "the last"));
  const std::string some = doctor_text(checks, "", false);
  EXPECT_THAT(some, HasSubstr("pod 5\n"));
  EXPECT_THAT(some, Not(HasSubstr("pod 6\n")));
  EXPECT_THAT(some, HasSubstr("  ok    34 more (-o wide shows them)\n"));
  EXPECT_THAT(some, HasSubstr("fail  it: the last\n"));
  EXPECT_THAT(doctor_text(checks, "", true), HasSubstr("pod 39\n"));
}

TEST(DoctorText, AnAnswerOfAnotherShapeIsNoFault) {
  const Json odd = {Json::object(), {{"area", 3}, {"level", "fail"}, {"commands", "x"}}};
  EXPECT_THAT(doctor_text(odd, "", false), HasSubstr("2 checks: 0 ok, 0 warn, 2 fail\n"));
}

}  // namespace
}  // namespace np::nodectl
