// SPDX-License-Identifier: Apache-2.0
// Text of others neither moves a terminal's cursor nor leaves its place in a command.
#include "base/printable.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include <array>

namespace np {
namespace {

TEST(Printable, AsciiStaysTheRestIsEscaped) {
  EXPECT_EQ(printable("a b~'\"$"), "a b~'\"$");
  EXPECT_EQ(printable("\x1b[2J\n\x7f\\"), "\\x1b[2J\\x0a\\x7f\\\\");
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Unseen, WhatATerminalActsOnIsEscapedAndNothingElse) {
  EXPECT_EQ(with_unseen_escaped("\x7f\xc2\x80\xc2\x9b\xc2\x9f"), "\\u007f\\u0080\\u009b\\u009f");
  EXPECT_EQ(with_unseen_escaped("\xe2\x80\xa8\xe2\x80\xa9"), "\\u2028\\u2029");
  EXPECT_EQ(with_unseen_escaped("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8e\xd8\x9c"),
            "\\u202e\\u2066\\u200e\\u061c");
  for (const std::string text :
       {"a\n\t\x1b\\", "\xc2\xa0", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x80\x93",
        "\xff\x9b", "\xc2", "\xe2\x80", "\xe2(\xa8", "\xe0\x82\x9b", ""}) {
    EXPECT_EQ(with_unseen_escaped(text), text);
    EXPECT_FALSE(has_unseen(text)) << text;
  }
  EXPECT_TRUE(has_unseen("a\xc2\x9b"));
}

TEST(ShellWord, OnlyWhatNeedsItIsQuoted) {
  EXPECT_EQ(shell_word("veth12ab"), "veth12ab");
  EXPECT_EQ(shell_word("app=web,version=v1"), "app=web,version=v1");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("a b"), "'a b'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
}

TEST(ShellWord, AShellReadsTheSameBytes) {
  for (const std::string text : {"$(reboot)", "a'b\"c`d", "\x1b]0;x\x07", "x\n;y\\n'z", "-rf *"}) {
    const std::string command = "bash -c " + shell_word("printf %s " + shell_word(text));
    FILE* pipe = ::popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::array<char, 256> bytes{};
    const size_t size = ::fread(bytes.data(), 1, bytes.size(), pipe);
    EXPECT_EQ(::pclose(pipe), 0) << command;
    EXPECT_EQ(std::string(bytes.data(), size), text);
  }
}

}  // namespace
}  // namespace np
