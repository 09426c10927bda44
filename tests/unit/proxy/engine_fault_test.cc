// SPDX-License-Identifier: Apache-2.0
// Faults, timeouts and repeats, on the exact clock of the rig.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

class EngineFault : public ::testing::Test {
 protected:
  EngineFault() {
    cluster = &policy.add_cluster("ratings", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
  }
  void delay(Duration fixed) {
    if (!route->fault) route->fault.emplace();
    route->fault->delay = policy::Fault::Delay{fixed, policy::kPerMillion};
  }
  void abort(uint16_t status) {
    if (!route->fault) route->fault.emplace();
    route->fault->abort = policy::Fault::Abort{status, policy::kPerMillion};
  }
  void retry(uint32_t attempts, uint32_t on) {
    route->retry.attempts = attempts;
    route->retry.on = on;
  }
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;
  EngineRig rig;
};

TEST_F(EngineFault, DelayIsExactAndNeverEarly) {
  delay(seconds(7));
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.advance(seconds(7) - Duration(1));
  EXPECT_TRUE(rig.upstreams().empty());
  rig.advance(Duration(1));
  ASSERT_EQ(rig.upstreams().size(), 1U);
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0), kOk);
  EXPECT_TRUE(rig.take(client).ends_with("ok"));
  EXPECT_EQ(rig.counters().fault_delays_injected, 1U);
  EXPECT_EQ(rig.record.delays, 1U);
}

TEST_F(EngineFault, DelayThenAbortAndNeitherTouchesTheUpstream) {
  delay(seconds(2));
  abort(418);
  route->timeout = seconds(1);  // begins after the delay only
  retry(3, policy::kRetry5xx);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kPost);
  rig.advance(seconds(2) - Duration(1));
  EXPECT_EQ(rig.take(client), "");
  rig.advance(Duration(1));
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 418 "));
  EXPECT_THAT(answer, HasSubstr("content-type: text/plain"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\nfault filter abort"));
  EXPECT_TRUE(rig.upstreams().empty());
  EXPECT_EQ(rig.record.fault_aborts, 1U);
  EXPECT_FALSE(client.closed || client.fin);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineFault, AbortBeforeTheBodyIsReadClosesInTwoSteps) {
  abort(500);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 100000\r\n\r\nab");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 500 "));
  EXPECT_TRUE(client.fin);
  EXPECT_FALSE(client.closed);
  rig.send(client, std::string(1000, 'x'));
  rig.advance(seconds(1));
  EXPECT_TRUE(client.closed);
}

TEST_F(EngineFault, ClientLeavingDuringTheDelayEndsIt) {
  delay(seconds(7));
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.advance(seconds(1));
  rig.fail(client);
  EXPECT_TRUE(client.closed);
  EXPECT_EQ(rig.engine().next_deadline(), kNever);
  EXPECT_EQ(rig.record.aborted, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineFault, HalfOfTheRequestsAreAborted) {
  route->fault.emplace();
  route->fault->abort = policy::Fault::Abort{500, 500'000};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  for (int i = 0; i < 10'000; ++i) {
    rig.send(client, kGet);
    if (rig.upstreams().empty()) continue;
    Socket& origin = rig.upstream(0);
    if (!origin.opened) rig.open(origin);
    if (!rig.take(origin).empty()) rig.send(origin, kOk);
  }
  // Six standard deviations of a fair coin.
  EXPECT_NEAR(static_cast<double>(rig.counters().fault_aborts_injected), 5000, 300);
  EXPECT_EQ(rig.record.started, 10'000U);
}

TEST_F(EngineFault, RouteTimeoutIs504AndFreesTheTry) {
  route->timeout = milliseconds(300);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.advance(milliseconds(300) - Duration(1));
  EXPECT_EQ(rig.take(client), "");
  rig.advance(Duration(1));
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 504 Gateway Timeout\r\n"));
  EXPECT_TRUE(answer.ends_with("upstream request timeout"));
  EXPECT_TRUE(rig.upstream(0).closed);
  EXPECT_FALSE(client.closed);
}

TEST_F(EngineFault, RouteTimeoutInTheAnswerResetsTheClient) {
  route->timeout = milliseconds(300);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
  rig.advance(milliseconds(300));
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(client.aborted);
  EXPECT_EQ(rig.counters().ended_answer_timeout, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineFault, RouteTimeoutCountsFromTheEndOfTheRequest) {
  route->timeout = seconds(1);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\na");
  rig.open(rig.upstream(0));
  rig.advance(seconds(5));
  EXPECT_EQ(rig.take(client), "");
  rig.send(client, "bc");
  rig.advance(seconds(1));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 504"));
}

TEST_F(EngineFault, StalledBodyIs408) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\na");
  rig.open(rig.upstream(0));
  rig.advance(seconds(60));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 408 "));
  EXPECT_TRUE(rig.upstream(0).closed);
}

TEST_F(EngineFault, SilentOriginIs504AfterTheIdleTime) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.advance(seconds(299));
  EXPECT_EQ(rig.take(client), "");
  rig.advance(seconds(2));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 504"));
  EXPECT_EQ(rig.counters().ended_idle_before_answer, 1U);
}

// ---- repeats ---------------------------------------------------------------------------------

TEST_F(EngineFault, AnswerWithServerErrorIsRepeatedOnTheSameCluster) {
  retry(2, policy::kRetry5xx);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  rig.take(origin);
  rig.send(origin, kFail);
  EXPECT_EQ(rig.take(client), "");
  rig.advance(milliseconds(25));                                     // the longest first back-off
  EXPECT_THAT(rig.take(origin), StartsWith("GET /x HTTP/1.1\r\n"));  // its connection was kept
  rig.send(origin, kOk);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(rig.counters().upstream_rq_retry, 1U);
  EXPECT_EQ(rig.counters().upstream_rq_retry_success, 1U);
  EXPECT_EQ(rig.record.retries, 1U);
}

TEST_F(EngineFault, LastAnswerGoesOutWhenTriesAreUsedUp) {
  retry(2, policy::kRetry5xx);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  for (int i = 0; i < 3; ++i) {
    rig.send(origin, kFail);
    rig.advance(milliseconds(250));
  }
  EXPECT_TRUE(rig.take(client).ends_with("\r\n\r\ndown"));
  EXPECT_EQ(rig.counters().upstream_rq_retry, 2U);
  EXPECT_EQ(rig.counters().upstream_rq_retry_limit_exceeded, 1U);
}

TEST_F(EngineFault, PostIsNotRepeatedOnceItWasSent) {
  retry(2, policy::kRetry5xx | policy::kRetryReset);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kPost);
  rig.open(rig.upstream(0));
  rig.fail(rig.upstream(0));
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("reset reason: connection termination"));
  EXPECT_EQ(rig.counters().upstream_rq_retry, 0U);
}

TEST_F(EngineFault, PostIsRepeatedWithItsBodyWhenNothingWasSent) {
  retry(2, policy::kRetryConnectFailure);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kPost);
  rig.fail(rig.upstream(0), proxy::Failure::kRefused);
  rig.advance(milliseconds(25));
  ASSERT_EQ(rig.upstreams().size(), 2U);
  rig.open(rig.upstream(1));
  EXPECT_TRUE(rig.take(rig.upstream(1)).ends_with("\r\n\r\nabc"));
}

TEST_F(EngineFault, PostIsRepeatedAfterSendingOnlyWhereThePolicyAllows) {
  retry(2, policy::kRetry5xx);
  route->retry.allow_non_idempotent = true;
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kPost);
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  rig.take(origin);
  rig.send(origin, kFail);
  rig.advance(milliseconds(25));
  EXPECT_TRUE(rig.take(origin).ends_with("\r\n\r\nabc"));
}

TEST_F(EngineFault, LongBodyGivesTheRepeatUp) {
  retry(2, policy::kRetry5xx);
  route->retry.allow_non_idempotent = true;
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 80000\r\n\r\n");
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  rig.take(origin);
  for (int i = 0; i < 20; ++i) rig.send(client, std::string(4000, 'b'));
  EXPECT_EQ(rig.take(origin).size(), 80'000U);
  EXPECT_EQ(rig.counters().retry_or_shadow_abandoned, 1U);
  rig.send(origin, kFail);
  EXPECT_TRUE(rig.take(client).ends_with("down"));
}

TEST_F(EngineFault, PerTryTimeoutRepeatsOnAnotherEndpoint) {
  cluster = &policy.add_cluster("two", {"10.1.0.1:80", "10.1.0.2:80"});
  route->clusters[0].cluster = cluster;
  retry(1, policy::kRetry5xx);
  route->retry.per_try_timeout = milliseconds(100);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.advance(milliseconds(125));
  ASSERT_EQ(rig.upstreams().size(), 2U);
  EXPECT_TRUE(rig.upstream(0).closed);
  EXPECT_NE(rig.upstream(0).target.remote, rig.upstream(1).target.remote);
  rig.open(rig.upstream(1));
  rig.advance(milliseconds(100));
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 504"));
  EXPECT_EQ(rig.counters().upstream_rq_per_try_timeout, 2U);
}

// The rest of the request comes while the repeat is still waited for: its time begins with it.
TEST_F(EngineFault, PerTryTimeoutDoesNotRunBetweenTries) {
  retry(1, policy::kRetryConnectFailure | policy::kRetry5xx);
  route->retry.per_try_timeout = milliseconds(100);
  route->retry.backoff_base = route->retry.backoff_max = seconds(10);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 2\r\n\r\na");
  rig.fail(rig.upstream(0), proxy::Failure::kRefused);
  rig.send(client, "b");
  for (int i = 0; i < 1000 && rig.upstreams().size() < 2; ++i) rig.advance(milliseconds(10));
  ASSERT_EQ(rig.upstreams().size(), 2U);
  EXPECT_EQ(rig.counters().upstream_rq_per_try_timeout, 0U);
  rig.open(rig.upstream(1));
  rig.advance(milliseconds(80));
  EXPECT_EQ(rig.take(client), "");
  rig.advance(milliseconds(20));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 504"));
}

TEST_F(EngineFault, RetryBudgetBoundsTheRepeats) {
  retry(1, policy::kRetryConnectFailure);
  rig.use(policy);
  for (int i = 0; i < 10; ++i) rig.send(rig.connect_captured(kService), kGet);
  for (Socket* origin : rig.upstreams()) rig.fail(*origin, proxy::Failure::kRefused);
  EXPECT_EQ(rig.counters().upstream_rq_retry, 3U);  // the minimum; 20 % of 10 is less
  EXPECT_EQ(rig.counters().upstream_rq_retry_overflow, 7U);
  EXPECT_EQ(rig.counters().downstream_rq_5xx, 7U);
}

TEST_F(EngineFault, ClusterBoundsItsRepeats) {
  retry(1, policy::kRetryConnectFailure);
  cluster->pool.max_retries = 1;
  rig.use(policy);
  for (int i = 0; i < 3; ++i) rig.send(rig.connect_captured(kService), kGet);
  for (Socket* origin : rig.upstreams()) rig.fail(*origin, proxy::Failure::kRefused);
  EXPECT_EQ(rig.counters().upstream_rq_retry, 1U);
}

// In place of the daemon's own budget, which would allow 3. Who waits for its repeat has no request
// under way, so five of ten are all of those that are.
TEST_F(EngineFault, RetryBudgetOfThePolicyReplacesTheDaemonsOwn) {
  retry(1, policy::kRetryConnectFailure);
  cluster->pool.retry_budget = {100, 1};
  rig.use(policy);
  for (int i = 0; i < 10; ++i) rig.send(rig.connect_captured(kService), kGet);
  for (Socket* origin : rig.upstreams()) rig.fail(*origin, proxy::Failure::kRefused);
  EXPECT_GT(rig.counters().upstream_rq_retry, 3U);
  EXPECT_LE(rig.counters().upstream_rq_retry, 5U);
  EXPECT_EQ(rig.counters().upstream_rq_retry + rig.counters().upstream_rq_retry_overflow, 10U);
}

TEST_F(EngineFault, OverloadedAnswerIsNotRepeated) {
  retry(2, policy::kRetry5xx);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0),
           "HTTP/1.1 503 No\r\nx-envoy-overloaded: true\r\nContent-Length: 0\r\n\r\n");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 503"));
}

}  // namespace
}  // namespace np::test
