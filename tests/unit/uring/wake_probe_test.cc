// SPDX-License-Identifier: Apache-2.0
// A probe tells bytes that come while it waits from bytes that do not.
#include "uring/wake_probe.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "base/fd.h"

namespace np::uring {
namespace {

constexpr Duration kShort = std::chrono::milliseconds(20);
constexpr Duration kLong = std::chrono::seconds(5);

class WakeProbeTest : public ::testing::Test {
 protected:
  WakeProbeTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    one_ = Fd(ends[0]);
    other_ = Fd(ends[1]);
  }
  void send(const char* text) { EXPECT_GT(::send(one_.get(), text, 5, 0), 0); }

  Fd one_, other_;
};

TEST_F(WakeProbeTest, EachKindWaitsAndIsWoken) {
  for (const auto kind :
       {WakeProbe::Kind::kReceive, WakeProbe::Kind::kReceiveMultishot, WakeProbe::Kind::kPoll}) {
    const auto probe = WakeProbe::arm(other_.get(), kind);
    ASSERT_TRUE(probe.has_value()) << probe.error().to_string();
    EXPECT_FALSE((*probe)->wait(kShort).has_value());
    send("first");
    const auto got = (*probe)->wait(kLong);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(*got, kind == WakeProbe::Kind::kPoll ? POLLIN : 5);
  }
}

TEST_F(WakeProbeTest, MultishotGoesOn) {
  const auto probe = WakeProbe::arm(other_.get(), WakeProbe::Kind::kReceiveMultishot);
  ASSERT_TRUE(probe.has_value());
  for (const char* text : {"first", "again"}) {
    send(text);
    EXPECT_EQ((*probe)->wait(kLong), 5);
  }
  EXPECT_FALSE((*probe)->wait(kShort).has_value());
}

TEST_F(WakeProbeTest, WhatIsNoSocketIsTold) {
  const auto probe = WakeProbe::arm(-1, WakeProbe::Kind::kReceive);
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ((*probe)->wait(kLong), -EBADF);
}

}  // namespace
}  // namespace np::uring
