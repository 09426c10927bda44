// SPDX-License-Identifier: Apache-2.0
#include "kernel/stall_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <thread>

namespace np::kernel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class StallWatchTest : public ::testing::Test {
 protected:
  // Looks for `length`, while the shards of `going` go on; the first stall that is found.
  std::optional<StallWatch::Stall> pass(Duration length, std::initializer_list<uint32_t> going) {
    for (const Instant end = now_ + length; now_ < end;) {
      now_ += watch_.interval();
      for (const uint32_t shard : going) write_word(page_.shards[shard].progress_ns, to_ns(now_));
      if (const auto stall = watch_.look(page_, now_)) return stall;
    }
    return std::nullopt;
  }
  LifePage page_{};
  StallWatch watch_{seconds(2)};
  Instant now_{seconds(50)};
};

TEST_F(StallWatchTest, WhoGoesOnIsLeftAlone) {
  EXPECT_FALSE(pass(seconds(60), {0, 1}));
}

TEST_F(StallWatchTest, FindsTheOneThatStandsStill) {
  EXPECT_FALSE(pass(seconds(5), {0, 1, 2}));
  const auto stall = pass(seconds(5), {0, 2});
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->shard, 1U);
  EXPECT_GE(stall->length, seconds(2));
  EXPECT_LE(stall->length, seconds(2) + watch_.interval());
}

TEST_F(StallWatchTest, APauseBelowTheLimitIsNoStall) {
  EXPECT_FALSE(pass(seconds(5), {0}));
  EXPECT_FALSE(pass(milliseconds(1700), {}));
  EXPECT_FALSE(pass(seconds(1), {0}));
  EXPECT_FALSE(pass(milliseconds(1700), {}));
}

TEST_F(StallWatchTest, NothingThatHasNotBegunOrHasEndedIsWatched) {
  EXPECT_FALSE(pass(seconds(10), {}));
  EXPECT_FALSE(pass(seconds(1), {0}));
  write_word(page_.shards[0].progress_ns, 0);
  EXPECT_FALSE(pass(seconds(10), {}));
}

// Both were stopped, or the machine slept: the watcher's own look is as late as the shard.
TEST_F(StallWatchTest, TimeInWhichItDidNotRunItselfCountsForNobody) {
  EXPECT_FALSE(pass(seconds(1), {0}));
  now_ += seconds(3600);
  EXPECT_FALSE(watch_.look(page_, now_));
  EXPECT_FALSE(pass(milliseconds(1700), {}));
  EXPECT_TRUE(pass(milliseconds(600), {})) << "it still stands";
}

TEST_F(StallWatchTest, AnotherWorkerBeginsAnew) {
  EXPECT_FALSE(pass(seconds(1), {0}));
  EXPECT_TRUE(pass(seconds(3), {}));
  watch_.begin();
  EXPECT_FALSE(pass(milliseconds(1900), {}));
}

TEST_F(StallWatchTest, LooksOftenEnoughForItsLimit) {
  EXPECT_EQ(StallWatch(seconds(2)).interval(), milliseconds(250));
  EXPECT_EQ(StallWatch(milliseconds(200)).interval(), milliseconds(25));
  EXPECT_EQ(StallWatch(seconds(600)).interval(), milliseconds(250));
}

TEST(DescribeShardThread, SaysWhatItDoes) {
  std::thread thread([] {
    ::pthread_setname_np(::pthread_self(), "np-shard-7");
    ::usleep(500'000);
  });
  ::usleep(100'000);
  EXPECT_THAT(describe_shard_thread(::getpid(), 7),
              testing::StartsWith("np-shard-7, state S (sleeping)"));
  EXPECT_EQ(describe_shard_thread(::getpid(), 8), "np-shard-8, not found");
  thread.join();
}

}  // namespace
}  // namespace np::kernel
