// SPDX-License-Identifier: Apache-2.0
#include "overload/memory_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/overload/file_tree.h"

namespace np::overload {
namespace {

constexpr uint64_t kMebibyte = 1024 * 1024;

class MemoryWatchTest : public testing::Test {
 protected:
  MemoryWatchTest() {
    tree_.write("proc/meminfo", "MemTotal: 8388608 kB\n");
    set_resident(10);
  }
  void set_resident(uint64_t mebis) const {
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    tree_.write("proc/self/statm",
                "999999 " + std::to_string(mebis * kMebibyte / page) + " 5 1 0\n");
  }
  std::unique_ptr<MemoryWatch> make(uint64_t limit_mebis) {
    MemoryWatchOptions options;
    options.limit_bytes = limit_mebis * kMebibyte;
    options.thresholds.emplace();
    options.life = &life_;
    options.files = tree_.files();
    return MemoryWatch::create(options).value();
  }
  FileTree tree_;
  LifePage life_{};
  Instant now_{std::chrono::seconds(50)};
};

TEST_F(MemoryWatchTest, PublishesStagesOfTheResidentMemory) {
  const auto watch = make(100);
  EXPECT_EQ(watch->look(now_), kLookFar);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kNormal);
  set_resident(80);
  EXPECT_EQ(watch->look(now_), kLookNear) << "from 15 % below the first threshold on";
  set_resident(96);
  EXPECT_EQ(watch->look(now_), kLookNear);
  const MemoryPressure first = watch->signal().read();
  EXPECT_EQ(first.stage, MemoryStage::kRefuse);
  (void)watch->look(now_);
  EXPECT_EQ(watch->signal().read().look, first.look + 1) << "each look asks the shards again";
  const MemoryState state = watch->state();
  EXPECT_EQ(state.used_bytes, 96 * kMebibyte);
  EXPECT_EQ(state.limit_bytes, 100 * kMebibyte);
  EXPECT_EQ(state.limit_source, "--memory-limit");
  EXPECT_EQ(state.stage, MemoryStage::kRefuse);
  EXPECT_EQ(life_.stages_begun[static_cast<size_t>(MemoryStage::kRefuse)], 1U);
  EXPECT_EQ(life_.stages_begun[static_cast<size_t>(MemoryStage::kDrain)], 0U);
  EXPECT_EQ(state.since, now_);
}

// A trim takes long, and nobody looks meanwhile: where the use rises fast the doors close first,
// for what comes until it has ended.
TEST_F(MemoryWatchTest, AFastRiseIsMetBeforeTheTrim) {
  const auto watch = make(100);
  (void)watch->look(now_);
  now_ += std::chrono::milliseconds(250);
  set_resident(69);  // 118 MiB/s, smoothed: 92.6 % after 200 ms, 104 % after 300
  (void)watch->look(now_);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kRefuse);
}

TEST_F(MemoryWatchTest, ASlowRiseIsTrimmedFirst) {
  const auto watch = make(100);
  set_resident(90);
  (void)watch->look(now_);
  now_ += std::chrono::seconds(5);
  (void)watch->look(now_);
  now_ += std::chrono::seconds(5);
  set_resident(92);
  (void)watch->look(now_);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kDrain) << "the trim freed nothing";
}

TEST_F(MemoryWatchTest, WhatTheCgroupIsChargedCounts) {
  tree_.write("proc/self/cgroup", "0::/\n");
  tree_.write("cgroup/memory.max", std::to_string(100 * kMebibyte));
  tree_.write("cgroup/memory.current", std::to_string(97 * kMebibyte));
  tree_.write("cgroup/memory.stat", "inactive_file " + std::to_string(50 * kMebibyte) + "\n");
  const auto watch = make(0);
  EXPECT_EQ(watch->state().used_bytes, 47 * kMebibyte);
  tree_.write("cgroup/memory.stat", "inactive_file 0\n");
  (void)watch->look(now_);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kRefuse);
  // The process's own memory, when that is more.
  set_resident(99);
  (void)watch->look(now_);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kReset);
}

TEST_F(MemoryWatchTest, ANamedLimitLooksAtNoCgroup) {
  tree_.write("proc/self/cgroup", "0::/\n");
  tree_.write("cgroup/memory.max", std::to_string(20 * kMebibyte));
  tree_.write("cgroup/memory.current", std::to_string(20 * kMebibyte));
  const auto watch = make(100);
  EXPECT_EQ(watch->state().used_bytes, 10 * kMebibyte);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kNormal);
}

TEST_F(MemoryWatchTest, WithoutThresholdsItOnlyReads) {
  MemoryWatchOptions options;
  options.limit_bytes = kMebibyte;
  options.files = tree_.files();
  const auto watch = MemoryWatch::create(options).value();
  EXPECT_EQ(watch->look(now_), kLookFar);
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kNormal);
  EXPECT_EQ(watch->state().used_bytes, 10 * kMebibyte);
}

TEST_F(MemoryWatchTest, ItsThreadLooks) {
  const auto watch = make(100);
  set_resident(99);
  watch->start();
  for (int i = 0; i < 100 && watch->signal().read().stage == MemoryStage::kNormal; ++i) {
    ::usleep(20'000);
  }
  EXPECT_EQ(watch->signal().read().stage, MemoryStage::kReset);
}

// A process grows while it is built: as fast as a flood, and it ends.
TEST_F(MemoryWatchTest, WhatItGrewByBeforeItsStartIsNoTrend) {
  const auto watch = make(100);
  set_resident(40);
  watch->start();
  for (int i = 0; i < 100 && watch->state().used_bytes != 40 * kMebibyte; ++i) ::usleep(20'000);
  const MemoryState state = watch->state();
  EXPECT_EQ(state.used_bytes, 40 * kMebibyte);
  EXPECT_EQ(state.bytes_per_second, 0U);
  EXPECT_EQ(state.stage, MemoryStage::kNormal);
}

TEST_F(MemoryWatchTest, OfThisProcess) {
  MemoryWatchOptions options;
  const auto watch = MemoryWatch::create(options).value();
  EXPECT_GT(watch->state().used_bytes, kMebibyte);
  EXPECT_GT(watch->state().limit_bytes, watch->state().used_bytes);
}

TEST_F(MemoryWatchTest, WithoutProcItSaysSo) {
  MemoryWatchOptions options;
  options.files.proc = tree_.path("none");
  EXPECT_FALSE(MemoryWatch::create(options));
}

}  // namespace
}  // namespace np::overload
