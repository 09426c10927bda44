// SPDX-License-Identifier: Apache-2.0
// The parts that need no engine: paths, authorities, timers, picks, pipes, back-off.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "policy/request_target.h"
#include "proxy/counters.h"
#include "proxy/node_state.h"
#include "proxy/pick.h"
#include "proxy/pipe.h"
#include "proxy/retry.h"
#include "proxy/timer_wheel.h"
#include "tests/support/policy_fixture.h"

namespace np::test {
namespace {

std::string normal(std::string_view target) {
  std::string scratch;
  const policy::TargetParts parts = policy::normalize_target(target, scratch);
  if (!parts.valid) return "400";
  return std::string(parts.path) + (parts.has_query ? "?" + std::string(parts.query) : "");
}

TEST(Path, Base) {
  EXPECT_EQ(normal("/"), "/");
  EXPECT_EQ(normal("/a/b"), "/a/b");
  EXPECT_EQ(normal("/a/./b/../c"), "/a/c");
  EXPECT_EQ(normal("/../../x"), "/x");
  EXPECT_EQ(normal("/a/.."), "/");
  EXPECT_EQ(normal("/a/b/."), "/a/b/");
  EXPECT_EQ(normal("/a/b/.."), "/a/");
  EXPECT_EQ(normal("/a\\..\\b"), "/b");
  EXPECT_EQ(normal("/%61%2E%2e/x%2fy"), "/a../x%2fy");
  EXPECT_EQ(normal("/x/%2e%2e/y"), "/y");
  EXPECT_EQ(normal("/%252e%252e/y"), "/%252e%252e/y");  // decoded once
  EXPECT_EQ(normal("//a//b"), "//a//b");                // BASE does not merge
  EXPECT_EQ(normal("/a/..;/b"), "/a/..;/b");
  EXPECT_EQ(normal("/a%zz%4"), "/a%zz%4");
  EXPECT_EQ(normal("/a%00b"), "400");
  EXPECT_EQ(normal(std::string_view("/a\0b", 4)), "400");
  EXPECT_EQ(normal("a/b"), "400");
  EXPECT_EQ(normal(""), "400");
  EXPECT_EQ(normal("*"), "*");
  EXPECT_EQ(normal("/a?b=../c#frag"), "/a?b=../c");
  EXPECT_EQ(normal("/a#f?x"), "/a");
  EXPECT_EQ(normal("/...//.a"), "/...//.a");
}

TEST(Path, NormalisingTwiceChangesNothing) {
  Rng rng(5);
  static constexpr std::string_view kPieces[] = {"/", ".",  "..",  "%2e", "%2F",
                                                 "a", "\\", "%41", ";"};
  for (int i = 0; i < 20'000; ++i) {
    std::string target = "/";
    for (uint32_t n = rng.below(10); n > 0; --n) target += kPieces[rng.below(9)];
    const std::string once = normal(target);
    EXPECT_EQ(normal(once), once) << target;
    EXPECT_EQ(once.find("/../"), std::string::npos) << target;
  }
}

TEST(Path, Authority) {
  std::string scratch;
  const auto canonical = [&](std::string_view text) {
    return std::string(policy::canonical_authority(text, "http", scratch));
  };
  EXPECT_EQ(canonical("Shop.Example:80"), "shop.example");
  EXPECT_EQ(canonical("shop.example."), "shop.example");
  EXPECT_EQ(canonical("shop.example.:8080"), "shop.example:8080");
  EXPECT_EQ(canonical("shop.example:8080"), "shop.example:8080");
  EXPECT_EQ(canonical("[::1]:80"), "[::1]");
  EXPECT_EQ(canonical(""), "");
}

TEST(TimerWheel, AgainstASortedSet) {
  Rng rng(11);
  for (int round = 0; round < 20; ++round) {
    proxy::TimerWheel wheel;
    std::vector<proxy::Timer> timers(500);
    std::multimap<Instant, proxy::Timer*> model;
    Instant now{Duration(static_cast<int64_t>(rng.next() % 1'000'000'000'000))};
    const auto remove = [&](proxy::Timer* timer) {
      for (auto it = model.begin(); it != model.end(); ++it) {
        if (it->second == timer) {
          model.erase(it);
          return;
        }
      }
    };
    for (int step = 0; step < 3000; ++step) {
      proxy::Timer& timer = timers[rng.below(500)];
      switch (rng.below(3)) {
        case 0: {
          static constexpr int64_t kRanges[] = {1'000'000, 300'000'000, 90'000'000'000,
                                                7'200'000'000'000};
          const Instant at = now + Duration(static_cast<int64_t>(
                                       rng.next() % static_cast<uint64_t>(kRanges[rng.below(4)])));
          remove(&timer);
          wheel.arm(timer, at);
          model.emplace(at, &timer);
          break;
        }
        case 1:
          remove(&timer);
          wheel.disarm(timer);
          break;
        case 2: {
          const Instant promise = wheel.next_deadline();
          if (!model.empty()) {
            EXPECT_LE(promise, model.begin()->first);
          }
          now = rng.below(2) == 0 && promise != kNever
                    ? std::max(now, promise)
                    : now + Duration(static_cast<int64_t>(rng.next() % 2'000'000'000));
          while (proxy::Timer* due = wheel.pop_due(now)) {
            ASSERT_LE(due->deadline, now);
            remove(due);
          }
          if (!model.empty()) {
            ASSERT_GT(model.begin()->first, now);
          }
          break;
        }
      }
      ASSERT_EQ(wheel.size(), model.size());
    }
  }
}

TEST(TimerWheel, FollowingItsPromisesReachesTheExactDeadline) {
  proxy::TimerWheel wheel;
  proxy::Timer timer;
  const Instant start{Duration(123'456'789'012)};
  wheel.arm(timer, start + std::chrono::hours(26) + Duration(1));
  int calls = 0;
  Instant now = start;
  while (true) {
    now = std::max(now, wheel.next_deadline());
    if (wheel.pop_due(now) != nullptr) break;
    ASSERT_LT(++calls, 10);
  }
  EXPECT_EQ(now, start + std::chrono::hours(26) + Duration(1));
}

class PickTest : public ::testing::Test {
 protected:
  PickTest() : cluster(fixture.add_cluster("c", {"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"})) {}
  std::map<uint16_t, int> count(int picks) {
    std::map<uint16_t, int> result;
    proxy::Picker::Request request;
    request.cluster = &cluster;
    request.snapshot = 1;
    for (int i = 0; i < picks; ++i) {
      const proxy::Pick pick = picker.pick(request, now);
      ++result[pick.endpoint->address.ip.bytes[15]];
    }
    return result;
  }
  PolicyFixture fixture;
  policy::Cluster& cluster;
  Rng rng{3};
  proxy::NodeState node{1, {}};
  proxy::Picker picker{rng, node, 0};
  Instant now{std::chrono::seconds(50)};
};

TEST_F(PickTest, RoundRobinIsEven) {
  auto counts = count(300);
  EXPECT_EQ(counts[1], 100);
  EXPECT_EQ(counts[2], 100);
  EXPECT_EQ(counts[3], 100);
}

TEST_F(PickTest, WeightedRoundRobinFollowsTheWeights) {
  cluster.endpoints[0].weight = 1;
  cluster.endpoints[1].weight = 2;
  cluster.endpoints[2].weight = 5;
  auto counts = count(800);
  EXPECT_NEAR(counts[1], 100, 1);
  EXPECT_NEAR(counts[2], 200, 1);
  EXPECT_NEAR(counts[3], 500, 1);
}

TEST_F(PickTest, RandomIsFair) {
  cluster.load_balancing.kind = policy::LoadBalancing::Kind::kRandom;
  auto counts = count(30'000);
  for (uint16_t i = 1; i <= 3; ++i) EXPECT_NEAR(counts[i], 10'000, 500);
}

TEST_F(PickTest, LeastRequestAvoidsTheBusyOne) {
  cluster.load_balancing.kind = policy::LoadBalancing::Kind::kLeastRequest;
  proxy::Picker::Request request;
  request.cluster = &cluster;
  request.snapshot = 1;
  for (int i = 0; i < 100; ++i) {
    const proxy::Pick pick = picker.pick(request, now);
    if (pick.endpoint->address.ip.bytes[15] == 2) pick.state->active = 50;
  }
  EXPECT_EQ(count(300)[2], 0);
}

TEST_F(PickTest, SlowStartHoldsANewcomerBack) {
  cluster.load_balancing.warmup = std::chrono::seconds(10);
  cluster.endpoints[2].joined = now;  // the others are old
  auto counts = count(2100);
  EXPECT_NEAR(counts[3], 100, 5);  // 10 % against two of 100 %
  now += std::chrono::seconds(10);
  counts = count(3000);
  EXPECT_NEAR(counts[3], 1000, 15);
}

TEST_F(PickTest, LiveStateSurvivesANewSnapshot) {
  proxy::Picker::Request request;
  request.cluster = &cluster;
  request.snapshot = 1;
  proxy::EndpointState* state = picker.pick(request, now).state;
  state->active = 1;
  cluster.endpoints.erase(cluster.endpoints.begin(), cluster.endpoints.end());
  request.snapshot = 2;
  EXPECT_EQ(picker.pick(request, now).endpoint, nullptr);
  EXPECT_EQ(state->active, 1U);
}

// A hostile client sends its body byte by byte and each byte is handed on at once.
TEST(Pipe, TinyPiecesThatAreKeptShareABlockAndHaveALimit) {
  proxy::BlockPool blocks;
  proxy::Pipe pipe;
  pipe.keep(64 * 1024);
  size_t most = 0;
  for (int i = 0; i < 60'000; ++i) {
    pipe.append({{}, "x"}, true, blocks);
    EXPECT_EQ(pipe.take().bytes, "x");
    most = std::max(most, blocks.in_use());
  }
  EXPECT_LE(most, 2U);
  EXPECT_FALSE(pipe.can_replay());
}

TEST(Pipe, KeepsForARepeatUpToTheLimit) {
  proxy::BlockPool blocks;
  proxy::Pipe pipe;
  pipe.keep(10);
  pipe.append({{}, "hello"}, true, blocks);
  EXPECT_EQ(pipe.take().bytes, "hello");
  pipe.append({{}, "again"}, true, blocks);
  EXPECT_TRUE(pipe.can_replay());
  pipe.rewind();
  EXPECT_EQ(pipe.unsent_bytes(), 10U);
  std::string all;
  while (pipe.has_unsent()) all += pipe.take().bytes;
  EXPECT_EQ(all, "helloagain");
  pipe.append({{}, "!"}, true, blocks);
  EXPECT_FALSE(pipe.can_replay());
  EXPECT_EQ(pipe.take().bytes, "!");
  EXPECT_EQ(blocks.in_use(), 0U);
}

TEST(ByteQueue, SmallPiecesShareBlocks) {
  proxy::BlockPool blocks;
  proxy::ByteQueue queue;
  for (int i = 0; i < 1000; ++i) queue.append({{}, "x"}, blocks);
  EXPECT_EQ(queue.size_bytes(), 1000U);
  EXPECT_EQ(queue.charged_bytes(), proxy::BlockPool::kBlockBytes);
  queue.consume(999);
  EXPECT_EQ(queue.front().bytes, "x");
  queue.consume(1);
  EXPECT_EQ(blocks.in_use(), 0U);
}

TEST(Backoff, GrowsAndIsCapped) {
  policy::Retry retry;
  Rng rng(1);
  for (uint32_t n = 1; n < 40; ++n) {
    for (int i = 0; i < 50; ++i) {
      const Duration wait = proxy::backoff(retry, n, rng);
      EXPECT_GE(wait, Duration::zero());
      EXPECT_LT(wait, std::min<Duration>(retry.backoff_base * ((1LL << std::min(n, 20U)) - 1),
                                         retry.backoff_max));
    }
  }
}

}  // namespace
}  // namespace np::test
