// SPDX-License-Identifier: Apache-2.0
// Limits, ejection and repeats through the engine: what clients see, what endpoints get, and two
// engines that share one node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/node_state.h"
#include "proxy/retry.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

class Wakes : public proxy::WakeSink {
 public:
  void wake(uint32_t shard) override { asked.push_back(shard); }
  std::vector<uint32_t> asked;
};

class EngineAdmission : public ::testing::Test {
 protected:
  EngineAdmission() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    cluster->service_id = 1;
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
    tcp_cluster = &policy.add_cluster("db", {"10.1.0.5:3306"});
    PrefixTable& tcp = policy.add_table();
    tcp.entries.push_back({"", &policy.add_route(tcp_cluster)});
    policy.capture(kTcp, &tcp, policy::Protocol::kTcp);
  }
  void add_endpoint(const std::string& address) {
    policy::Endpoint endpoint = cluster->endpoints.front();
    endpoint.id += static_cast<uint32_t>(cluster->endpoints.size());
    endpoint.address = SocketAddress::parse(address).value();
    cluster->endpoints.push_back(endpoint);
  }
  void limit(uint32_t connections, uint32_t pending) {
    cluster->pool.max_connections = connections;
    cluster->pool.max_pending_requests = pending;
  }
  static Socket& ask(EngineRig& rig) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, kGet);
    return client;
  }
  // Upstream sockets that are open and were asked, but have not been answered.
  static void open_all(EngineRig& rig) {
    for (Socket* origin : rig.upstreams()) {
      if (!origin->opened && !origin->closed) rig.open(*origin);
    }
  }

  PolicyFixture policy;
  policy::Cluster* cluster = nullptr;
  policy::Cluster* tcp_cluster = nullptr;
  policy::Route* route = nullptr;
  Wakes wakes;
  proxy::NodeState node{2, {&wakes, nullptr, {}}};
  EngineRig first{&node, 0};
  EngineRig second{&node, 1};
};

// Whether it has left or only closed its half: it is served, unless its place is needed.
TEST_F(EngineAdmission, WhoSendsFinInTheLineGivesWay) {
  limit(1, 2);
  first.use(policy);
  second.use(policy);
  Socket& a = ask(first);
  open_all(first);
  Socket& b = ask(first);
  Socket& c = ask(first);
  first.finish(c);
  first.finish(a);  // runs, and may read on
  EXPECT_EQ(first.take(c), "");
  Socket& d = ask(second);  // finds the line full
  EXPECT_EQ(second.take(d), "");
  EXPECT_EQ(wakes.asked, std::vector<uint32_t>{0});
  first.wake();
  const std::string refusal = first.take(c);
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refusal, HasSubstr("x-envoy-overloaded: true"));
  EXPECT_TRUE(c.closed && !c.aborted);
  EXPECT_EQ(first.counters().upstream_rq_pending_overflow, 1U);
  EXPECT_THAT(second.take(ask(second)), StartsWith("HTTP/1.1 503 "));  // nobody gives way any more
  first.finish(b);
  first.send(first.upstream(0), kOk);
  EXPECT_THAT(first.take(a), StartsWith("HTTP/1.1 200"));
  first.send(first.upstream(0), kOk);
  EXPECT_THAT(first.take(b), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(first.is_balanced());
}

TEST_F(EngineAdmission, OneRunsOneWaitsTheRestGet503AtOnce) {
  limit(1, 1);
  first.use(policy);
  Socket& a = ask(first);
  open_all(first);
  Socket& b = ask(first);
  Socket& c = ask(first);
  const std::string refusal = first.take(c);
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refusal, HasSubstr("x-envoy-overloaded: true\r\n"));
  EXPECT_THAT(refusal, HasSubstr("reset reason: overflow"));
  EXPECT_FALSE(c.closed);
  EXPECT_EQ(first.counters().upstream_rq_pending_overflow, 1U);
  EXPECT_EQ(first.counters().ended_overflow, 1U);
  EXPECT_EQ(first.take(b), "");
  first.send(first.upstream(0), kOk);
  EXPECT_THAT(first.take(a), StartsWith("HTTP/1.1 200 "));
  first.send(first.upstream(0), kOk);  // the next in line, on the same connection
  EXPECT_THAT(first.take(b), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(first.upstreams().size(), 1U);
  EXPECT_TRUE(first.is_balanced());
}

TEST_F(EngineAdmission, AClientThatLeavesTheLineFreesItsPlaceAtOnce) {
  limit(1, 1);
  first.use(policy);
  ask(first);
  open_all(first);
  Socket& waiting = ask(first);
  first.fail(waiting);
  Socket& next = ask(first);
  EXPECT_EQ(first.take(next), "");
  first.send(first.upstream(0), kOk);
  first.send(first.upstream(0), kOk);
  EXPECT_THAT(first.take(next), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EngineAdmission, NothingOverflowsIntoRetries) {
  limit(1, 0);
  route->retry.attempts = 3;
  route->retry.on = policy::kRetry5xx | policy::kRetryGatewayError | policy::kRetryReset;
  first.use(policy);
  ask(first);
  open_all(first);
  EXPECT_THAT(first.take(ask(first)), HasSubstr("x-envoy-overloaded"));
  EXPECT_EQ(first.counters().upstream_rq_retry, 0U);
}

TEST_F(EngineAdmission, RequestsUnderWayHaveALimitToo) {
  cluster->pool.max_requests = 1;
  first.use(policy);
  ask(first);
  EXPECT_THAT(first.take(ask(first)), HasSubstr("x-envoy-overloaded"));
  EXPECT_EQ(first.counters().upstream_rq_overflow, 1U);
}

TEST_F(EngineAdmission, OpaqueConnectionsAboveTheLimitAreReset) {
  tcp_cluster->pool.max_connections = 1;
  first.use(policy);
  first.connect_captured(kTcp);
  open_all(first);
  Socket& refused = first.connect_captured(kTcp);
  EXPECT_TRUE(refused.aborted);
  EXPECT_EQ(first.counters().ended_tcp_overflow, 1U);
  first.fail(first.upstream(0));
  Socket& next = first.connect_captured(kTcp);
  EXPECT_FALSE(next.closed);
}

TEST_F(EngineAdmission, CallersHaveLimitsOfTheirOwnUnlessTheyShareThem) {
  limit(1, 0);
  for (uint32_t i = 1; i <= 2; ++i) {
    auto entry = std::make_unique<policy::Snapshot::PodEntry>();
    entry->id = i;
    entry->workload_id = i;
    policy.snapshot->pod_by_ip[IpAddress::parse("10.2.0." + std::to_string(i)).value()] =
        entry.get();
    policy.snapshot->pods.push_back(std::move(entry));
  }
  first.use(policy);
  const auto ask_as = [&](const char* peer) -> Socket& {
    Socket& client = first.connect_captured(kService, peer);
    first.send(client, kGet);
    return client;
  };
  ask_as("10.2.0.1:1");
  EXPECT_EQ(first.take(ask_as("10.2.0.2:1")), "");
  EXPECT_THAT(first.take(ask_as("10.2.0.1:2")), HasSubstr("overflow"));
  cluster->pool.scope_node = true;
  first.use(policy);
  ask_as("10.2.0.1:3");
  EXPECT_THAT(first.take(ask_as("10.2.0.2:3")), HasSubstr("overflow"));
}

// It has its place: who came after it does not overtake it, nor take the last place in the line.
TEST_F(EngineAdmission, AKeptConnectionThatHasEndedCostsNobodyThePlace) {
  limit(1, 1);
  first.use(policy);
  const auto ask_for = [&](const char* path) -> Socket& {
    Socket& client = first.connect_captured(kService);
    first.send(client, "GET " + std::string(path) + " HTTP/1.1\r\nHost: r\r\n\r\n");
    return client;
  };
  ask_for("/a");
  open_all(first);
  first.send(first.upstream(0), kOk);
  Socket& b = ask_for("/b");  // on the kept connection
  Socket& c = ask_for("/c");
  first.fail(first.upstream(0));
  open_all(first);
  ASSERT_EQ(first.upstreams().size(), 2U);
  EXPECT_THAT(first.take(first.upstream(1)), StartsWith("GET /b "));
  EXPECT_THAT(first.take(ask_for("/d")), HasSubstr("overflow")) << "one waits still";
  first.send(first.upstream(1), kOk);
  EXPECT_THAT(first.take(b), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(first.take(first.upstream(1)), StartsWith("GET /c "));
  first.send(first.upstream(1), kOk);
  EXPECT_THAT(first.take(c), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(first.counters().upstream_rq_retry_stale, 1U);
}

// The first of its group on a shard may be an Exchange of yesterday's policy.
TEST_F(EngineAdmission, ADelayedRequestOfAnOlderPolicyBringsBackNoOldLimit) {
  limit(1, 0);
  route->fault.emplace();
  route->fault->delay = policy::Fault::Delay{seconds(1), policy::kPerMillion};
  first.use(policy);
  ask(first);
  PolicyFixture newer;
  policy::Cluster& same = newer.add_cluster("web", {"10.1.0.1:9080"});
  same.service_id = cluster->service_id;
  same.pool.max_connections = 3;
  same.pool.max_pending_requests = 0;
  PrefixTable& table = newer.add_table();
  table.entries.push_back({"/", &newer.add_route(&same)});
  newer.capture(kService, &table);
  first.use(newer);
  second.use(newer);
  ask(second);
  first.advance(seconds(2));
  ask(second);
  EXPECT_EQ(second.counters().ended_overflow, 0U);
  EXPECT_THAT(second.take(ask(second)), HasSubstr("overflow"));
}

// ---- two engines -------------------------------------------------------------------------------

TEST_F(EngineAdmission, ALimitHoldsOverShardsAndTheLineIsOne) {
  limit(1, 2);
  first.use(policy);
  second.use(policy);
  Socket& a = ask(first);
  open_all(first);
  Socket& b = ask(second);
  Socket& c = ask(first);
  EXPECT_THAT(second.take(ask(second)), HasSubstr("overflow"));
  EXPECT_TRUE(second.upstreams().empty());
  first.send(first.upstream(0), kOk);
  EXPECT_THAT(first.take(a), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(wakes.asked, std::vector<uint32_t>{1});
  second.wake();  // b came before c
  open_all(second);
  EXPECT_EQ(first.take(c), "");
  second.send(second.upstream(0), kOk);
  EXPECT_THAT(second.take(b), StartsWith("HTTP/1.1 200 "));
  first.wake();
  open_all(first);
  first.send(*first.upstreams().back(), kOk);
  EXPECT_THAT(first.take(c), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EngineAdmission, AnIdleConnectionOnAnotherShardMakesRoom) {
  limit(1, 1);
  first.use(policy);
  second.use(policy);
  ask(first);
  open_all(first);
  first.send(first.upstream(0), kOk);  // idle now, and kept
  EXPECT_FALSE(first.upstream(0).closed);
  Socket& client = ask(second);
  EXPECT_EQ(wakes.asked, std::vector<uint32_t>{0});
  first.wake();
  EXPECT_TRUE(first.upstream(0).closed);
  open_all(second);
  second.send(second.upstream(0), kOk);
  EXPECT_THAT(second.take(client), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EngineAdmission, AnIdleConnectionToAnotherEndpointMakesRoom) {
  limit(1, 1);
  add_endpoint("10.1.0.2:9080");
  first.use(policy);
  for (int i = 0; i < 6; ++i) {
    Socket& client = ask(first);
    open_all(first);
    first.send(*first.upstreams().back(), kOk);
    EXPECT_THAT(first.take(client), StartsWith("HTTP/1.1 200 "));
    size_t open = 0;
    for (Socket* origin : first.upstreams()) open += origin->closed ? 0 : 1;
    EXPECT_EQ(open, 1U);
  }
  EXPECT_EQ(first.counters().upstream_cx_trimmed, 5U);
}

// ---- ejection ----------------------------------------------------------------------------------

class EngineEjection : public EngineAdmission {
 protected:
  EngineEjection() {
    add_endpoint("10.1.0.2:9080");
    cluster->outlier.emplace();
    cluster->outlier->consecutive_5xx = 1;
    cluster->outlier->max_ejection_percent = 100;
    cluster->outlier->base_ejection_time = seconds(30);
  }
  // Answers what each origin was asked; returns how many requests the broken one got.
  size_t answer_all(EngineRig& rig) {
    size_t broken = 0;
    for (bool busy = true; busy;) {
      busy = false;
      open_all(rig);
      for (Socket* origin : rig.upstreams()) {
        if (origin->closed || rig.take(*origin).empty()) continue;
        const bool is_broken = origin->target.remote.ip.bytes[15] == 2;
        broken += is_broken ? 1 : 0;
        rig.send(*origin, is_broken ? kBroken : kOk);
        busy = true;
      }
    }
    return broken;
  }
};

TEST_F(EngineEjection, OfEightAtOnceTheBrokenEndpointGetsOne) {
  first.use(policy);
  std::vector<Socket*> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(&ask(first));
  EXPECT_EQ(answer_all(first), 1U);
  size_t good = 0;
  for (Socket* client : clients) good += first.take(*client).starts_with("HTTP/1.1 200") ? 1 : 0;
  EXPECT_EQ(good, 7U);
  EXPECT_EQ(first.counters().outlier_ejections_enforced_total, 1U);
  for (int i = 0; i < 20; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 0U);
  first.use(policy);  // a reload resets nothing
  for (int i = 0; i < 20; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 0U);
  first.advance(seconds(40));
  for (int i = 0; i < 8; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 1U);  // it came back, and was tried once
  EXPECT_TRUE(first.is_balanced());
}

TEST_F(EngineEjection, AShorterIntervalHoldsForWhoIsOutAlready) {
  cluster->outlier->interval = seconds(60);
  cluster->outlier->base_ejection_time = seconds(1);
  first.use(policy);
  for (int i = 0; i < 8; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 1U);
  cluster->outlier->interval = seconds(1);
  first.use(policy);
  first.advance(seconds(3));
  for (int i = 0; i < 8; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 1U);
}

TEST_F(EngineEjection, TheWholeNodeLearnsFromOneFailure) {
  first.use(policy);
  second.use(policy);
  for (int i = 0; i < 4; ++i) {
    ask(first);
    ask(second);
  }
  size_t broken = 0;
  for (int i = 0; i < 4; ++i) {
    broken += answer_all(first);
    second.wake();
    broken += answer_all(second);
    first.wake();
  }
  EXPECT_EQ(broken, 1U);
  EXPECT_EQ(first.counters().downstream_rq_2xx + second.counters().downstream_rq_2xx, 7U);
}

TEST_F(EngineEjection, BothBrokenIsPanicForTheOldApiAndNobodyForTodays) {
  cluster->outlier->consecutive_5xx = 1;
  cluster->endpoints[0].address = SocketAddress::parse("10.1.1.2:9080").value();
  first.use(policy);
  for (int i = 0; i < 8; ++i) ask(first);
  EXPECT_EQ(answer_all(first), 2U);
  EXPECT_THAT(first.take(ask(first)), HasSubstr("no healthy upstream"));
  cluster->outlier->panic_percent = 50;
  first.use(policy);
  ask(first);
  EXPECT_EQ(answer_all(first), 1U);
  EXPECT_GT(first.counters().lb_healthy_panic, 0U);
}

TEST_F(EngineEjection, OverflowsOfOursEjectNobody) {
  limit(1, 0);
  first.use(policy);
  ask(first);
  for (int i = 0; i < 10; ++i) ask(first);
  EXPECT_EQ(first.counters().upstream_rq_pending_overflow, 10U);
  EXPECT_EQ(first.counters().outlier_ejections_enforced_total, 0U);
}

TEST_F(EngineEjection, AConnectThatFailsEjectsAndTheRetryGoesElsewhere) {
  route->retry.attempts = 1;
  route->retry.on = policy::kRetryConnectFailure;
  first.use(policy);
  Socket& client = ask(first);
  const auto dead = first.upstream(0).target.remote;
  first.fail(first.upstream(0), proxy::Failure::kRefused);
  first.advance(seconds(1));
  ASSERT_EQ(first.upstreams().size(), 2U);
  EXPECT_NE(first.upstream(1).target.remote, dead);
  first.open(first.upstream(1));
  first.send(first.upstream(1), kOk);
  EXPECT_THAT(first.take(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(first.counters().outlier_ejections_consecutive_5xx, 1U);
}

TEST_F(EngineEjection, AClientThatLeavesWhileWaitingForAnEndpointIsForgotten) {
  first.use(policy);
  ask(first);
  ask(first);
  Socket& waiting = ask(first);
  EXPECT_EQ(first.counters().upstream_rq_probation_waits, 1U);
  first.fail(waiting);
  EXPECT_EQ(answer_all(first), 1U);
  EXPECT_TRUE(first.is_balanced());
}

// ---- retries -----------------------------------------------------------------------------------

TEST_F(EngineAdmission, AFailingUpstreamCostsAtMostAFifthMore) {
  route->retry.attempts = 3;
  route->retry.on = policy::kRetry5xx;
  first.use(policy);
  uint64_t asked = 0;
  for (int i = 0; i < 500; ++i) {
    Socket& client = ask(first);
    for (int turn = 0; turn < 8; ++turn) {
      open_all(first);
      for (Socket* origin : first.upstreams()) {
        if (origin->closed || first.take(*origin).empty()) continue;
        ++asked;
        first.send(*origin, kBroken);
      }
      first.advance(std::chrono::milliseconds(1));
    }
    first.advance(std::chrono::milliseconds(300));
    for (Socket* origin : first.upstreams()) {
      if (origin->closed || first.take(*origin).empty()) continue;
      ++asked;
      first.send(*origin, kBroken);
    }
    first.fail(client);
  }
  // Here 500 requests take 154 s: about 32 in each window, of which a fifth is less than the 10
  // repeats that are always allowed. What is allowed in a window is the bound.
  const uint64_t windows = 500 * 308 / 10'000 + 1;
  EXPECT_LE(asked, 500 + windows * 10);
  EXPECT_GT(first.counters().upstream_rq_retry_overflow, 0U);
}

TEST(RetryBudget, AFifthOfTheWindowsRequests) {
  proxy::RetryBudget budget;
  Instant now{seconds(100)};
  uint32_t granted = 0;
  for (int i = 0; i < 10'000; ++i) {
    budget.count_request(now);
    if (budget.take(now, 20, 10)) ++granted;
    now += std::chrono::milliseconds(1);
  }
  EXPECT_LE(granted, 2000U);
  EXPECT_GE(granted, 1990U);
  now += seconds(11);
  EXPECT_TRUE(budget.take(now, 20, 10));  // the old window is forgotten
}

}  // namespace
}  // namespace np::test
