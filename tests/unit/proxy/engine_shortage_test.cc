// SPDX-License-Identifier: Apache-2.0
// No descriptor is left for a connect, and nothing idle can give way: the request waits for one
// that comes free, and fails only where there is none to wait for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;

constexpr char kLast[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

class EngineShortage : public ::testing::Test {
 protected:
  EngineShortage() {
    cluster = &policy.add_cluster("reviews", {"10.1.0.1:9080"});
    cluster->pool.connect_timeout = std::chrono::seconds(2);
    table = &policy.add_table();
    table->entries.push_back({"/", &policy.add_route(cluster)});
    policy.capture(kService, table);
    rig.use(policy);
  }

  Socket& ask() {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, kGet);
    return client;
  }
  // A request that is under way at its endpoint.
  Socket& ask_and_open() {
    Socket& client = ask();
    rig.open(*rig.upstreams().back());
    return client;
  }
  void run_out() { rig.fail(*rig.upstreams().back(), proxy::Failure::kExhausted); }

  PolicyFixture policy;
  policy::Cluster* cluster;
  PrefixTable* table;
  EngineRig rig;
};

TEST_F(EngineShortage, ARequestWaitsForAConnectionOfItsPool) {
  Socket& first = ask_and_open();
  Socket& second = ask();
  run_out();
  EXPECT_EQ(rig.take(second), "");
  EXPECT_EQ(rig.upstreams().size(), 2U);  // not tried again as long as nothing has changed
  EXPECT_EQ(rig.counters().upstream_cx_waited, 1U);
  rig.take(rig.upstream(0));
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(first), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(rig.take(rig.upstream(0)), StartsWith("GET /x "));
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(second), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.upstreams().size(), 2U);
  EXPECT_EQ(rig.counters().upstream_cx_connect_fail, 0U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineShortage, WhatIsClosedGivesItsPlaceToTheNext) {
  Socket& first = ask_and_open();
  Socket& second = ask();
  run_out();
  Socket& third = ask();
  run_out();
  rig.send(rig.upstream(0), kLast);
  EXPECT_THAT(rig.take(first), StartsWith("HTTP/1.1 200"));
  ASSERT_EQ(rig.upstreams().size(), 4U);  // one place, one connect
  rig.open(rig.upstream(3));
  EXPECT_THAT(rig.take(rig.upstream(3)), StartsWith("GET /x "));
  rig.send(rig.upstream(3), kOk);
  EXPECT_THAT(rig.take(second), StartsWith("HTTP/1.1 200"));
  rig.send(rig.upstream(3), kOk);
  EXPECT_THAT(rig.take(third), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineShortage, APlaceThatSomebodyElseTookIsWaitedForAgain) {
  ask_and_open();
  Socket& leaving = rig.connect_captured(kService);
  Socket& second = ask();
  run_out();
  rig.fail(leaving);
  ASSERT_EQ(rig.upstreams().size(), 3U);
  run_out();
  EXPECT_EQ(rig.upstreams().size(), 3U);
  EXPECT_EQ(rig.take(second), "");
  EXPECT_EQ(rig.counters().upstream_cx_waited, 2U);
}

TEST_F(EngineShortage, ItWaitsNoLongerThanAConnectMayTake) {
  cluster->service_id = 7;
  cluster->outlier.emplace();
  cluster->outlier->consecutive_5xx = 2;
  cluster->outlier->max_ejection_percent = 100;
  rig.use(policy);
  Socket& first = ask_and_open();
  Socket& leaving = rig.connect_captured(kService);
  Socket& second = ask();
  rig.advance(std::chrono::seconds(1));
  run_out();
  rig.fail(leaving);
  run_out();
  rig.advance(std::chrono::seconds(1) - Duration(1));
  EXPECT_EQ(rig.take(second), "");
  rig.advance(Duration(1));
  EXPECT_THAT(rig.take(second), HasSubstr("reset reason: connection timeout"));
  // The endpoint was not dialled, so it has not failed: the first failure is its own answer.
  rig.send(rig.upstream(0), kFail);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 0U);
  rig.send(first, kGet);
  rig.send(rig.upstream(0), kFail);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 1U);
}

TEST_F(EngineShortage, WhoLeavesWaitsForNothing) {
  ask_and_open();
  Socket& second = ask();
  run_out();
  rig.fail(second);
  rig.send(rig.upstream(0), kLast);
  EXPECT_EQ(rig.upstreams().size(), 2U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineShortage, WhoWasServedTakesNoPlace) {
  ask_and_open();
  Socket& leaving = rig.connect_captured(kService);
  ask();
  run_out();
  rig.send(rig.upstream(0), kOk);  // its connection serves who waits
  rig.fail(leaving);
  EXPECT_EQ(rig.upstreams().size(), 2U);
}

TEST_F(EngineShortage, WhereNoneOfThePoolIsAtWorkItFails) {
  policy::Cluster& other = policy.add_cluster("other", {"10.1.0.2:9080"});
  table->entries.insert(table->entries.begin(), {"/other", &policy.add_route(&other)});
  rig.use(policy);
  ask_and_open();
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /other HTTP/1.1\r\nHost: r\r\n\r\n");
  run_out();
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(rig.counters().upstream_cx_waited, 0U);
}

}  // namespace
}  // namespace np::test
