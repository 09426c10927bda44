// SPDX-License-Identifier: Apache-2.0
// Idle connections to endpoints that one engine lends to another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/node_state.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kLendGet = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
constexpr const char* kLendOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr uint32_t kNobody = proxy::ConnectTarget::kNobody;

class EngineLend : public ::testing::Test {
 protected:
  EngineLend() {
    cluster = &policy.add_cluster("r", {"10.1.0.1:9080"});
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", &policy.add_route(cluster)});
    policy.capture(kService, &table);
    begin();
  }
  void begin() {
    here.use(policy);
    there.use(policy);
  }
  static Socket& ask(EngineRig& rig) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, kLendGet);
    return client;
  }
  // What the latest request waits for.
  static Socket& latest(EngineRig& rig) { return *rig.upstreams().back(); }
  static void answer(EngineRig& rig, Socket& client, Socket& upstream) {
    rig.send(upstream, kLendOk);
    EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  }
  // `here` keeps one, and has not needed it for a while.
  Socket& kept() {
    Socket& client = ask(here);
    Socket& upstream = latest(here);
    here.open(upstream);
    answer(here, client, upstream);
    pass(milliseconds(20));
    return upstream;
  }
  // The socket that asks gets what `here` keeps.
  void borrow(Socket& asking) {
    proxy::Lent lent;
    ASSERT_TRUE(here.give_up(*here.to_lend(asking.target), &lent));
    there.lend(asking, &lent);
  }
  void pass(Duration time) {
    here.advance(time);
    there.advance(time);
  }
  uint64_t sum(uint64_t proxy::EngineCounters::*which) {
    return here.counters().*which + there.counters().*which;
  }
  proxy::AdmissionGroup::Counts group() { return node.admission(cluster->id, 0).counts(); }

  proxy::NodeState node{2, {}};
  PolicyFixture policy;
  policy::Cluster* cluster;
  EngineRig here{EngineRig::Borrows(), &node, 0}, there{EngineRig::Borrows(), &node, 1};
};

TEST_F(EngineLend, ServesTheOtherShard) {
  Socket& kept_one = kept();
  const Instant opened = here.now() - milliseconds(20);
  Socket& client = ask(there);
  Socket& asking = latest(there);
  ASSERT_EQ(asking.target.lender, 0U);
  Socket* given = here.to_lend(asking.target);
  ASSERT_EQ(given, &kept_one);
  EXPECT_EQ(here.to_lend(asking.target), nullptr);  // not twice
  proxy::Lent lent;
  ASSERT_TRUE(here.give_up(*given, &lent));
  EXPECT_FALSE(given->closed);
  EXPECT_EQ(lent.requests, 1U);
  EXPECT_EQ(lent.opened, opened);
  EXPECT_FALSE(here.give_up(*given, &lent));
  there.lend(asking, &lent);
  EXPECT_THAT(there.take(asking), HasSubstr("GET / HTTP/1.1"));
  answer(there, client, asking);
  // One connection for two requests, whoever carried it.
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_total), 1U);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_open), 1U);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_destroy), 0U);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_rq_completed), 2U);
  EXPECT_EQ(here.engine().open_upstream() + there.engine().open_upstream(), 0U);  // it is idle
  pass(cluster->pool.idle_timeout + seconds(1));
  EXPECT_TRUE(asking.closed);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_destroy), 1U);
}

TEST_F(EngineLend, NobodyIsAskedWhoKeepsNone) {
  ask(there);
  EXPECT_EQ(latest(there).target.lender, kNobody);
  Socket& kept_one = kept();
  here.finish(kept_one);
  EXPECT_TRUE(kept_one.closed);
  ask(there);
  EXPECT_EQ(latest(there).target.lender, kNobody);
}

// One is kept: the second request does not ask for it, too.
TEST_F(EngineLend, NoMoreAreAskedForThanAreKept) {
  kept();
  ask(there);
  EXPECT_EQ(latest(there).target.lender, 0U);
  ask(there);
  EXPECT_EQ(latest(there).target.lender, kNobody);
  EXPECT_EQ(there.counters().upstream_cx_total, 1U);
}

TEST_F(EngineLend, WhatIsInUseAllTheTimeStays) {
  Socket& kept_one = kept();
  Socket& client = ask(here);
  answer(here, client, kept_one);
  pass(milliseconds(9));
  ask(there);
  Socket& asking = latest(there);
  EXPECT_EQ(asking.target.lender, 0U);
  EXPECT_EQ(here.to_lend(asking.target), nullptr);
  EXPECT_EQ(there.counters().upstream_cx_total, 0U);
  there.lend(asking, nullptr);
  EXPECT_EQ(there.counters().upstream_cx_total, 1U);
  there.open(asking);
  EXPECT_EQ(there.counters().upstream_cx_open, 1U);
  EXPECT_THAT(there.take(asking), HasSubstr("GET / HTTP/1.1"));
}

// Between being asked and giving it up: an endpoint that closes or speaks has the last word.
TEST_F(EngineLend, WhatEndsOnTheWayIsNotGivenUp) {
  for (const bool closes : {true, false}) {
    Socket& kept_one = kept();
    ask(there);
    Socket& asking = latest(there);
    Socket* given = here.to_lend(asking.target);
    ASSERT_EQ(given, &kept_one);
    if (closes) {
      here.finish(*given);
    } else {
      here.send(*given, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    }
    EXPECT_TRUE(given->closed);
    proxy::Lent lent;
    EXPECT_FALSE(here.give_up(*given, &lent));
    there.lend(asking, nullptr);
    there.fail(asking);
  }
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_total),
            sum(&proxy::EngineCounters::upstream_cx_destroy) + there.engine().open_upstream());
}

TEST_F(EngineLend, AClientThatLeavesCountsNothing) {
  kept();
  Socket& client = ask(there);
  Socket& asking = latest(there);
  there.fail(client);
  EXPECT_TRUE(asking.closed);
  EXPECT_EQ(there.counters().upstream_cx_total, 0U);
  EXPECT_EQ(there.counters().upstream_cx_destroy, 0U);
  ask(there);
  EXPECT_EQ(latest(there).target.lender, 0U);  // as if nobody had asked
}

TEST_F(EngineLend, AConnectTimeoutWhileItAsks) {
  kept();
  Socket& client = ask(there);
  Socket& asking = latest(there);
  there.advance(cluster->pool.connect_timeout + milliseconds(1));
  EXPECT_TRUE(asking.closed);
  EXPECT_THAT(there.take(client), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(there.counters().upstream_cx_connect_timeout, there.counters().upstream_cx_destroy);
  EXPECT_EQ(there.counters().upstream_cx_total, there.counters().upstream_cx_destroy);
}

// The only place that a limit leaves is the kept one's: it comes along, and nothing is closed.
TEST_F(EngineLend, TakesItsPlaceOfALimitAlong) {
  cluster->pool.max_connections = 1;
  begin();
  Socket& kept_one = kept();
  ASSERT_EQ(group().open, 1U);
  Socket& client = ask(there);
  Socket& asking = latest(there);
  ASSERT_EQ(asking.target.lender, 0U);
  EXPECT_EQ(group().open, 1U);
  here.wake();
  EXPECT_FALSE(kept_one.closed);
  proxy::Lent lent;
  ASSERT_TRUE(here.give_up(*here.to_lend(asking.target), &lent));
  EXPECT_EQ(group().open, 0U);
  there.lend(asking, &lent);
  EXPECT_EQ(group().open, 1U);
  answer(there, client, asking);
  EXPECT_FALSE(asking.closed);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_trimmed), 0U);
}

TEST_F(EngineLend, ItsAgeAndItsRequestsComeAlong) {
  cluster->pool.max_requests_per_connection = 2;
  begin();
  kept();
  Socket& client = ask(there);
  Socket& asking = latest(there);
  borrow(asking);
  answer(there, client, asking);
  EXPECT_TRUE(asking.closed);  // its second request was its last one
}

// Nobody waits for it any more: it is one connection begun, and one ended.
TEST_F(EngineLend, WhatFindsNoTakerIsCountedAsEnded) {
  kept();
  Socket& client = ask(there);
  proxy::Lent lent;
  ASSERT_TRUE(here.give_up(*here.to_lend(latest(there).target), &lent));
  there.fail(client);
  there.engine().closed_on_the_way(lent);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_total), 1U);
  EXPECT_EQ(sum(&proxy::EngineCounters::upstream_cx_destroy), 1U);
}

// A lent one was closed by its endpoint on the way: the request goes out once more, on a new one.
TEST_F(EngineLend, AStaleOneIsNotTheEndOfARequest) {
  kept();
  Socket& client = ask(there);
  Socket& asking = latest(there);
  borrow(asking);
  there.fail(asking);
  Socket& fresh = latest(there);
  ASSERT_NE(&fresh, &asking);
  EXPECT_EQ(fresh.target.lender, kNobody);
  there.open(fresh);
  answer(there, client, fresh);
}

}  // namespace
}  // namespace np::test
