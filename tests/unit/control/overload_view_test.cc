// SPDX-License-Identifier: Apache-2.0
// What status, doctor and explain say of memory, load and watchdog.
#include "control/overload_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using Level = Check::Level;

class OverloadView : public ::testing::Test {
 protected:
  OverloadView() {
    OverloadStatus& load = daemon_.load;
    load.memory_used_bytes = 100 << 20;
    load.memory_limit_bytes = 400 << 20;
    load.memory_limit_source = "--memory-limit";
    load.memory_thresholds = "92,95,98";
    load.lag_limit = std::chrono::milliseconds(500);
    load.watchdog = std::chrono::seconds(2);
  }
  std::vector<Check> checks() { return check_overload(daemon_.seams()); }
  FakeDaemon daemon_;
};

TEST_F(OverloadView, AllIsWell) {
  const auto all = checks();
  ASSERT_EQ(all.size(), 3U);
  for (const Check& check : all) {
    EXPECT_EQ(check.level, Level::kOk);
    EXPECT_EQ(check.area, "overload");
  }
  EXPECT_EQ(all[0].found, "100.0 MiB of 400.0 MiB (--memory-limit) in use, 25.0 %");
  EXPECT_EQ(all[1].found, "the loops of all shards are in time (--overload-lag 500ms)");
  EXPECT_EQ(all[2].found, "no worker had to be replaced (--watchdog 2s)");
  EXPECT_EQ(overload_note(daemon_.seams()), "");
}

TEST_F(OverloadView, EachStageHasItsEffectAndARemedy) {
  daemon_.load.memory_used_bytes = 372 << 20;
  daemon_.load.stage = MemoryStage::kDrain;
  EXPECT_EQ(checks()[0].level, Level::kWarn);
  EXPECT_THAT(checks()[0].found, HasSubstr("93.0 %; connections are not kept alive"));
  EXPECT_EQ(overload_note(daemon_.seams()), "");
  daemon_.load.stage = MemoryStage::kRefuse;
  EXPECT_EQ(checks()[0].level, Level::kFail);
  EXPECT_THAT(checks()[0].found, HasSubstr("503 (flag OM)"));
  EXPECT_THAT(checks()[0].remedy, HasSubstr("--memory-limit"));
  EXPECT_THAT(overload_note(daemon_.seams()), HasSubstr("503 now, flag OM"));
  daemon_.load.stage = MemoryStage::kReset;
  EXPECT_THAT(checks()[0].found, HasSubstr("largest exchanges are ended"));
}

TEST_F(OverloadView, LoadAndWatchdog) {
  daemon_.load.late_shards = 1;
  daemon_.load.watchdog_aborts = 3;
  EXPECT_EQ(checks()[1].level, Level::kWarn);
  EXPECT_THAT(checks()[1].found, HasSubstr("1 shard runs late"));
  EXPECT_EQ(checks()[2].level, Level::kWarn);
  EXPECT_THAT(checks()[2].found, HasSubstr("3 so far"));
}

TEST_F(OverloadView, WhatIsOffSaysSo) {
  daemon_.load.memory_limit_bytes = 0;
  daemon_.load.memory_thresholds = "off";
  daemon_.load.lag_limit = daemon_.load.watchdog = Duration::zero();
  EXPECT_EQ(checks()[0].found, "100.0 MiB in use, no limit is known; --overload-memory is off");
  EXPECT_EQ(checks()[1].found, "not looked at (--overload-lag 0s)");
  EXPECT_EQ(checks()[2].found, "off (--watchdog 0s)");
}

TEST_F(OverloadView, Status) {
  daemon_.load.stage = MemoryStage::kRefuse;
  const Json json = view_overload(daemon_.seams());
  EXPECT_EQ(json["memory_stage"], "refuse");
  EXPECT_EQ(json["memory_limit_bytes"], 400 << 20);
  EXPECT_THAT(json["text"].get<std::string>(), HasSubstr("25.0 %, stage refuse"));
  EXPECT_TRUE(view_overload({}).is_null());
  EXPECT_TRUE(check_overload({}).empty());
}

}  // namespace
}  // namespace np::control
