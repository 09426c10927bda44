// SPDX-License-Identifier: Apache-2.0
// What the worker's signs of life come to, and that nobody is told to kill a stranger.
#include "kernel/node_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/time.h"

namespace np::kernel {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Level = control::Check::Level;

constexpr uint64_t kSecond = 1'000'000'000;

NodeView view_with_beat(uint64_t age_ns) {
  NodeView view;
  view.maps.fill(-1);
  view.config.hb_timeout_ns = kSecond;
  view.live.heartbeat_ns = to_ns(monotonic_now()) - age_ns;
  return view;
}

Checks life_of(const NodeView& view) {
  Checks checks;
  check_life(view, checks);
  return checks;
}

TEST(NodeChecks, AFreshHeartbeatIsEnough) {
  const Checks checks = life_of(view_with_beat(0));
  ASSERT_EQ(checks.size(), 1U);
  EXPECT_EQ(checks[0].level, Level::kOk);
}

TEST(NodeChecks, AnOldOneWithoutAWorkerNamesTheRemedyAndNoProcess) {
  // None; this test; process 1; one that cannot exist: the number may be anything that a worker
  // wrote.
  for (const uint32_t pid : {0U, static_cast<uint32_t>(::getpid()), 1U, 0xffffffffU}) {
    NodeView view = view_with_beat(7 * kSecond);
    view.live.daemon_pid = pid;
    const Checks checks = life_of(view);
    ASSERT_EQ(checks.size(), 1U);
    EXPECT_EQ(checks[0].level, Level::kFail);
    EXPECT_THAT(checks[0].found, HasSubstr("the last sign of life was 7.0 s ago"));
    EXPECT_THAT(checks[0].remedy, HasSubstr("start nodeproxyd"));
    EXPECT_THAT(checks[0].commands, IsEmpty()) << pid;
  }
}

TEST(NodeChecks, EachFlagIsTold) {
  NodeView view = view_with_beat(0);
  view.live.flags = NP_LIVE_OVERLOAD | NP_LIVE_DRAIN | NP_LIVE_KILLSWITCH | NP_LIVE_EVENTS;
  std::string told;
  for (const control::Check& check : life_of(view)) {
    if (check.level == Level::kOk) continue;
    EXPECT_EQ(check.level, Level::kWarn);
    EXPECT_FALSE(check.remedy.empty());
    told += check.subject + " ";
  }
  EXPECT_EQ(told, "killswitch drain overload ");
}

TEST(NodeChecks, NothingPinnedIsNoFault) {
  NodeView view;
  view.maps.fill(-1);
  view.names.pin_base = "/sys/fs/bpf/none";
  const Checks checks = check_node(view);
  ASSERT_FALSE(checks.empty());
  EXPECT_EQ(checks.back().area, "pins");
  EXPECT_EQ(checks.back().level, Level::kOk);
}

TEST(NodeChecks, AnInstanceThatCannotBeIsRefused) {
  const std::vector<std::string> lines = inspect_instance("../x", "/sys/fs/bpf");
  ASSERT_EQ(lines.size(), 1U);
  const auto check = control::parse_check(lines.front());
  ASSERT_TRUE(check);
  EXPECT_EQ(check->level, Level::kFail);
  EXPECT_THAT(check->remedy, HasSubstr("--instance"));
}

}  // namespace
}  // namespace np::kernel
