// SPDX-License-Identifier: Apache-2.0
// Shadow mode: limits that look on beside those in force, and what the log is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/node_state.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using proxy::ShadowKind;
using proxy::ShadowLog;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

// ---- ShadowLog ---------------------------------------------------------------------------------

TEST(ShadowLog, OneLineInTenSecondsAndNothingIsLeftOut) {
  ShadowLog log;
  Instant now{seconds(100)};
  EXPECT_EQ(log.next_due(), kNever);
  EXPECT_TRUE(log.note(ShadowKind::kLimit, "a", now));
  EXPECT_EQ(log.next_due(), now);
  auto notes = log.take(now);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].object, "a");
  EXPECT_EQ(notes[0].count, 1U);
  EXPECT_TRUE(log.note(ShadowKind::kLimit, "a", now));
  for (int i = 1; i < 500; ++i) EXPECT_FALSE(log.note(ShadowKind::kLimit, "a", now));
  EXPECT_THAT(log.take(now + seconds(9)), IsEmpty());
  EXPECT_EQ(log.next_due(), now + seconds(10));
  notes = log.take(now + seconds(10));
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].count, 500U);
  EXPECT_EQ(log.next_due(), kNever);
}

TEST(ShadowLog, EachObjectAndKindHasItsOwn) {
  ShadowLog log;
  const Instant now{seconds(100)};
  (void)log.note(ShadowKind::kLimit, "a", now);
  (void)log.take(now);
  EXPECT_TRUE(log.note(ShadowKind::kRetry, "a", now));
  EXPECT_TRUE(log.note(ShadowKind::kLimit, "b", now));
  EXPECT_EQ(log.take(now).size(), 2U);
}

TEST(ShadowLog, ManyObjectsTakeNoMoreThanTheirRoom) {
  ShadowLog log;
  Instant now{seconds(100)};
  for (size_t i = 0; i < 2 * ShadowLog::kEntriesMax; ++i) {
    EXPECT_EQ(log.note(ShadowKind::kFault, std::to_string(i), now), i < ShadowLog::kEntriesMax);
  }
  EXPECT_EQ(log.take(now).size(), ShadowLog::kEntriesMax);
  now += seconds(10);
  EXPECT_THAT(log.take(now), IsEmpty());
  EXPECT_TRUE(log.note(ShadowKind::kFault, "another", now));  // those that are over gave way
}

// ---- the engine --------------------------------------------------------------------------------

class Watcher : public proxy::WakeSink {
 public:
  void wake(uint32_t) override {}
  void wake_watcher() override { ++woken; }
  int woken = 0;
};

class EngineShadow : public ::testing::Test {
 protected:
  EngineShadow() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    cluster->service_id = 1;
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
    cluster->shadow_limits.emplace().object = "TrafficPolicy default/few";
    shadow = &cluster->shadow_limits->pool;
  }
  static Socket& ask(EngineRig& shard) {
    Socket& client = shard.connect_captured(kService);
    shard.send(client, kGet);
    for (Socket* origin : shard.upstreams()) {
      if (!origin->opened && !origin->closed) shard.open(*origin);
    }
    return client;
  }
  void answer_all() {
    for (Socket* origin : rig.upstreams()) {
      if (!origin->closed && !rig.take(*origin).empty()) rig.send(*origin, kOk);
    }
  }
  // "KIND COUNT" of every line.
  std::vector<std::string> told() {
    std::vector<std::string> lines;
    for (const ShadowLog::Note& note : node.shadow_log().take(rig.now())) {
      EXPECT_EQ(note.object, "TrafficPolicy default/few");
      static constexpr const char* kKinds[] = {"fault", "limit", "retry"};
      lines.push_back(kKinds[static_cast<size_t>(note.kind)] + (" " + std::to_string(note.count)));
    }
    return lines;
  }

  PolicyFixture policy;
  policy::Cluster* cluster = nullptr;
  policy::Route* route = nullptr;
  policy::ConnectionPool* shadow = nullptr;
  Watcher watcher;
  proxy::NodeState node{2, {&watcher, nullptr, {}}};
  EngineRig rig{&node, 0};
  EngineRig other{&node, 1};
};

TEST_F(EngineShadow, ALimitLooksOnWhileAnotherIsInForce) {
  cluster->pool.max_connections = 3;
  cluster->pool.max_pending_requests = 1;
  shadow->max_connections = 2;
  rig.use(policy);
  ask(rig);
  ask(rig);
  EXPECT_EQ(rig.counters().limit_shadow, 0U);
  ask(rig);
  Socket& waiting = ask(rig);
  EXPECT_EQ(rig.take(waiting), "");
  EXPECT_THAT(rig.take(ask(rig)), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(rig.counters().limit_shadow, 3U);  // one ran, one waited, one was refused
  EXPECT_EQ(rig.counters().upstream_rq_pending_overflow, 1U);
  EXPECT_THAT(told(), testing::ElementsAre("limit 3"));
  answer_all();
  answer_all();
  EXPECT_THAT(rig.take(waiting), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().limit_shadow, 3U);
  ask(rig);
  EXPECT_EQ(rig.counters().limit_shadow, 3U);  // all places were given back
}

TEST_F(EngineShadow, ShardsCountTogether) {
  shadow->max_requests = 1;
  rig.use(policy);
  other.use(policy);
  ask(rig);
  ask(other);
  EXPECT_EQ(rig.counters().limit_shadow, 0U);
  EXPECT_EQ(other.counters().limit_shadow, 1U);
  EXPECT_EQ(watcher.woken, 1);
}

TEST_F(EngineShadow, RepeatsThatWouldBeRefusedAreCounted) {
  route->retry.attempts = 1;
  route->retry.on = policy::kRetryConnectFailure;
  shadow->max_retries = 1;
  rig.use(policy);
  for (int i = 0; i < 3; ++i) rig.send(rig.connect_captured(kService), kGet);
  for (Socket* origin : rig.upstreams()) rig.fail(*origin, proxy::Failure::kRefused);
  EXPECT_EQ(rig.counters().upstream_rq_retry, 3U);
  EXPECT_EQ(rig.counters().limit_shadow, 2U);
  EXPECT_THAT(told(), testing::ElementsAre("retry 2"));
  rig.advance(seconds(1));
  for (Socket* origin : rig.upstreams()) {
    if (!origin->closed) rig.open(*origin);
  }
  answer_all();
  EXPECT_EQ(rig.counters().downstream_rq_completed, 3U);
  rig.send(rig.connect_captured(kService), kGet);
  EXPECT_EQ(rig.counters().limit_shadow, 2U);
}

// A kept connection that was closed is replaced: the request keeps its place, here as well.
TEST_F(EngineShadow, ARepeatInPlaceIsNoSecondRequest) {
  shadow->max_connections = 1;
  rig.use(policy);
  Socket& client = ask(rig);
  answer_all();
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  rig.send(client, kGet);
  rig.fail(rig.upstream(0));
  ASSERT_EQ(rig.upstreams().size(), 2U);
  rig.open(rig.upstream(1));
  answer_all();
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 1U);
  rig.send(client, kGet);
  EXPECT_EQ(rig.counters().limit_shadow, 0U);
  ask(rig);
  EXPECT_EQ(rig.counters().limit_shadow, 1U);
}

TEST_F(EngineShadow, FaultsAreTold) {
  policy::HostFault& fault = cluster->faults.emplace_back();
  fault.object = "TrafficPolicy default/few";
  fault.shadow = true;
  fault.fault.abort = policy::Fault::Abort{503, policy::kPerMillion};
  rig.use(policy);
  for (int i = 0; i < 3; ++i) ask(rig);
  EXPECT_THAT(told(), testing::ElementsAre("fault 3"));
  EXPECT_EQ(watcher.woken, 1);
}

}  // namespace
}  // namespace np::test
