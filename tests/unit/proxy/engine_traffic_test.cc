// SPDX-License-Identifier: Apache-2.0
// What a TrafficPolicy does to requests: shapes of delays, resets, slow answers, faults within the
// route's timeout and retries, sticky splits, shadow mode, half-open, rules of whole intervals, and
// health checks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/fault.h"
#include "proxy/node_state.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using policy::DelayShape;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

class OnHeader : public policy::RequestMatcher {
 public:
  bool holds(const policy::RequestView& request, const policy::CallerView&) const override {
    return find_field(request.fields, "x-slow") != nullptr;
  }
};

class EngineTraffic : public ::testing::Test {
 protected:
  EngineTraffic() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080", "10.1.0.2:9080"});
    cluster->service_id = 1;
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
  }
  policy::HostFault& add_fault() { return cluster->faults.emplace_back(); }
  Socket& ask(const std::string& request = kGet) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, request);
    return client;
  }
  void open_all() {
    for (Socket* origin : rig.upstreams()) {
      if (!origin->opened && !origin->closed) rig.open(*origin);
    }
  }
  // Answers everything that was asked; `broken` is the last part of an address.
  size_t answer_all(uint8_t broken = 0) {
    size_t count = 0;
    open_all();
    for (Socket* origin : rig.upstreams()) {
      if (origin->closed || rig.take(*origin).empty()) continue;
      const bool is_broken = origin->target.remote.ip.bytes[15] == broken;
      count += is_broken || broken == 0 ? 1 : 0;
      rig.send(*origin, is_broken ? kBroken : kOk);
    }
    return count;
  }
  PolicyFixture policy;
  policy::Cluster* cluster = nullptr;
  policy::Route* route = nullptr;
  EngineRig rig;
};

// ---- faults ------------------------------------------------------------------------------------

TEST(DrawDelay, ShapesHaveTheirMeanAndBounds) {
  Rng rng(1);
  const auto mean_of = [&](const DelayShape& shape, Duration least, Duration most) {
    double sum = 0;
    constexpr int kDraws = 20'000;
    for (int i = 0; i < kDraws; ++i) {
      const Duration drawn = proxy::draw_delay(shape, rng);
      EXPECT_GE(drawn, least);
      EXPECT_LE(drawn, most);
      sum += std::chrono::duration<double, std::milli>(drawn).count();
    }
    return sum / kDraws;
  };
  using Kind = DelayShape::Kind;
  EXPECT_EQ(proxy::draw_delay(DelayShape(seconds(7)), rng), seconds(7));
  EXPECT_NEAR(mean_of({Kind::kUniform, milliseconds(100), milliseconds(300)}, milliseconds(100),
                      milliseconds(300)),
              200, 3);
  EXPECT_NEAR(mean_of({Kind::kNormal, milliseconds(100), milliseconds(20)}, Duration::zero(),
                      milliseconds(300)),
              100, 2);
  EXPECT_NEAR(
      mean_of({Kind::kExponential, milliseconds(100), Duration()}, Duration::zero(), seconds(5)),
      100, 4);
  EXPECT_LE(proxy::draw_delay(DelayShape(std::chrono::hours(9)), rng), policy::kDelayMax);
}

TEST_F(EngineTraffic, TheFirstFaultThatMatchesReplacesTheRoutes) {
  route->fault.emplace().abort = policy::Fault::Abort{418, policy::kPerMillion};
  policy::HostFault& fault = add_fault();
  fault.matcher = std::make_shared<OnHeader>();
  fault.fault.abort = policy::Fault::Abort{503, policy::kPerMillion};
  rig.use(policy);
  EXPECT_THAT(rig.take(ask("GET /x HTTP/1.1\r\nHost: r\r\nx-slow: 1\r\n\r\n")),
              StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(rig.take(ask()), StartsWith("HTTP/1.1 418"));
}

TEST_F(EngineTraffic, AFaultEndsByItself) {
  policy::HostFault& fault = add_fault();
  fault.fault.abort = policy::Fault::Abort{503, policy::kPerMillion};
  fault.ends = rig.now() + seconds(600);
  rig.use(policy);
  EXPECT_THAT(rig.take(ask()), StartsWith("HTTP/1.1 503"));
  rig.advance(seconds(600));
  Socket& client = ask();
  EXPECT_EQ(answer_all(), 1U);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
}

TEST_F(EngineTraffic, AResetIsSeenAsOne) {
  add_fault().fault.abort = policy::Fault::Abort{0, policy::kPerMillion};
  rig.use(policy);
  Socket& client = ask();
  EXPECT_TRUE(client.aborted);
  EXPECT_EQ(rig.counters().fault_resets_injected, 1U);
  EXPECT_EQ(rig.counters().ended_fault_reset, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineTraffic, WithinTheTimeoutADelayIsCutShort) {
  route->timeout = seconds(1);
  add_fault().fault.delay = policy::Fault::Delay{seconds(7), policy::kPerMillion};
  rig.use(policy);
  Socket& slow = ask();
  rig.advance(seconds(6));
  EXPECT_EQ(rig.take(slow), "");  // otherwise the timeout leaves faults alone
  cluster->faults[0].fault.within_limits = true;
  rig.use(policy);
  Socket& cut = ask();
  rig.advance(seconds(1));
  EXPECT_THAT(rig.take(cut), StartsWith("HTTP/1.1 504"));
}

TEST_F(EngineTraffic, WithinTheRetriesAnAbortIsRepeated) {
  route->retry.attempts = 1;
  route->retry.on = policy::kRetry5xx;
  add_fault().fault.abort = policy::Fault::Abort{503, policy::kPerMillion};
  rig.use(policy);
  EXPECT_THAT(rig.take(ask()), StartsWith("HTTP/1.1 503"));
  cluster->faults[0].fault.within_limits = true;
  rig.use(policy);
  Socket& client = ask();
  EXPECT_EQ(rig.take(client), "");
  rig.advance(seconds(1));
  EXPECT_EQ(answer_all(), 1U);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().upstream_rq_retry, 1U);
}

TEST_F(EngineTraffic, ASlowAnswerFlowsAtItsRate) {
  add_fault().fault.bandwidth = policy::Fault::Bandwidth{1000, policy::kPerMillion};
  rig.use(policy);
  Socket& client = ask();
  open_all();
  const std::string body(5000, 'x');
  rig.send(rig.upstream(0), "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
  rig.send(rig.upstream(0), body);
  size_t got = rig.take(client).size();
  for (int second = 1; second <= 4; ++second) {
    rig.advance(seconds(1));
    got += rig.take(client).size();
    EXPECT_NEAR(static_cast<double>(got), 1000.0 * second, 250.0) << second;
  }
  rig.advance(seconds(2));
  EXPECT_EQ(rig.counters().downstream_rq_completed, 1U);
  EXPECT_EQ(rig.counters().fault_bandwidth_injected, 1U);
  EXPECT_FALSE(client.closed);
}

// What comes in one piece with the head is no head start.
TEST_F(EngineTraffic, ASmallAnswerIsSlowedDownFromItsFirstByte) {
  add_fault().fault.bandwidth = policy::Fault::Bandwidth{1000, policy::kPerMillion};
  rig.use(policy);
  Socket& client = ask();
  open_all();
  rig.send(rig.upstream(0), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Pad: ");
  EXPECT_EQ(rig.take(client), "");
  rig.send(rig.upstream(0), "1\r\nContent-Length: 500\r\n\r\n" + std::string(500, 'x'));
  const std::string head = rig.take(client);
  EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
  size_t got = 0;
  for (int tenth = 1; tenth <= 4; ++tenth) {
    rig.advance(milliseconds(100));
    got += rig.take(client).size();
    EXPECT_NEAR(static_cast<double>(got), 100.0 * tenth, 25.0) << tenth;
  }
  EXPECT_EQ(rig.counters().downstream_rq_completed, 0U);
  rig.advance(milliseconds(120));
  EXPECT_EQ(rig.counters().downstream_rq_completed, 1U);
  EXPECT_FALSE(rig.upstream(0).closed);  // nothing was left over
}

TEST_F(EngineTraffic, AnAnswerThatIsNotDrawnIsNotSlowedDown) {
  add_fault().fault.bandwidth = policy::Fault::Bandwidth{1000, 0};
  rig.use(policy);
  Socket& client = ask();
  open_all();
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(rig.counters().downstream_rq_completed, 1U);
  EXPECT_EQ(rig.counters().fault_bandwidth_injected, 0U);
}

// ---- splits ------------------------------------------------------------------------------------

TEST_F(EngineTraffic, APersonKeepsItsSideWhileWeightsMove) {
  policy::Cluster& canary = policy.add_cluster("canary", {"10.1.0.9:9080"});
  auto sticky = std::make_shared<policy::StickySplit>();
  sticky->balancing.hash_on = policy::LoadBalancing::HashOn::kHeader;
  sticky->balancing.hash_name = "x-user";
  route->sticky = sticky;
  route->clusters.push_back(route->clusters.front());
  route->clusters.back().cluster = &canary;
  const auto side_of = [&](int user) {
    const size_t before = rig.upstreams().size();
    ask("GET /x HTTP/1.1\r\nHost: r\r\nx-user: " + std::to_string(user) + "\r\n\r\n");
    const bool is_canary = rig.upstreams().at(before)->target.remote.ip.bytes[15] == 9;
    rig.fail(*rig.upstreams().at(before));
    return is_canary;
  };
  std::vector<std::vector<bool>> sides;
  for (const uint32_t share : {10U, 30U, 60U}) {
    route->clusters[0].weight = 100 - share;
    route->clusters[1].weight = share;
    route->total_weight = 100;
    rig.use(policy);
    std::vector<bool>& now = sides.emplace_back();
    for (int user = 0; user < 400; ++user) now.push_back(side_of(user));
    const auto count = std::count(now.begin(), now.end(), true);
    EXPECT_NEAR(static_cast<double>(count) / 4.0, share, 6.0);
    EXPECT_EQ(side_of(7), now[7]);
  }
  for (size_t user = 0; user < 400; ++user) {
    EXPECT_LE(sides[0][user], sides[1][user]);
    EXPECT_LE(sides[1][user], sides[2][user]);
  }
}

// ---- shadow mode -------------------------------------------------------------------------------

TEST_F(EngineTraffic, ShadowModeCountsAndDoesNothing) {
  policy::ConnectionPool& limits = cluster->shadow_limits.emplace().pool;
  limits.max_connections = 1;
  limits.max_pending_requests = 0;
  cluster->shadow_outlier.emplace().consecutive_5xx = 1;
  cluster->shadow_outlier->max_ejection_percent = 100;
  policy::HostFault& fault = add_fault();
  fault.fault.abort = policy::Fault::Abort{503, policy::kPerMillion};
  fault.shadow = true;
  rig.use(policy);
  for (int i = 0; i < 4; ++i) ask();
  EXPECT_EQ(answer_all(2), 2U);
  for (int i = 0; i < 4; ++i) ask();
  EXPECT_EQ(answer_all(2), 2U);
  EXPECT_GT(rig.counters().limit_shadow, 0U);
  EXPECT_EQ(rig.counters().fault_shadow, 8U);
  EXPECT_EQ(rig.counters().outlier_ejections_shadow, 4U);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 0U);
  EXPECT_EQ(rig.counters().downstream_rq_refused, 0U);
}

TEST_F(EngineTraffic, AShadowFaultIsCountedAsOftenAsItWouldHit) {
  policy::HostFault& fault = add_fault();
  fault.shadow = true;
  fault.fault.delay = policy::Fault::Delay{seconds(1), policy::kPerMillion / 10};
  fault.fault.abort = policy::Fault::Abort{503, policy::kPerMillion / 10};
  rig.use(policy);
  Socket& client = ask();
  for (int i = 1; i < 10'000; ++i) {
    answer_all();
    rig.send(client, kGet);
  }
  answer_all();
  EXPECT_EQ(rig.counters().downstream_rq_completed, 10'000U);
  // Either or both: 19 %; six standard deviations.
  EXPECT_NEAR(static_cast<double>(rig.counters().fault_shadow), 1900, 235);
}

// ---- ejection ----------------------------------------------------------------------------------

TEST_F(EngineTraffic, HalfOpenTriesOneRequest) {
  cluster->outlier.emplace().consecutive_5xx = 3;
  cluster->outlier->max_ejection_percent = 100;
  cluster->outlier->half_open = true;
  rig.use(policy);
  for (int i = 0; i < 6; ++i) ask();
  for (int i = 0; i < 3; ++i) answer_all(2);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 1U);
  rig.advance(seconds(40));
  for (int i = 0; i < 8; ++i) ask();
  EXPECT_EQ(answer_all(2), 1U);  // not the three that are forgiven at first
}

TEST_F(EngineTraffic, ASlowEndpointIsEjectedByItsLatency) {
  cluster->outlier.emplace().consecutive_5xx = 0;
  cluster->outlier->max_ejection_percent = 50;
  policy::LatencyRule& rule = cluster->outlier->latency.emplace();
  rule.threshold = milliseconds(200);
  rule.percentile = 90;
  rule.request_volume = 5;
  rig.use(policy);
  for (int i = 0; i < 12; ++i) {
    ask();
    open_all();
    for (Socket* origin : rig.upstreams()) {
      if (origin->closed || rig.take(*origin).empty()) continue;
      if (origin->target.remote.ip.bytes[15] == 2) rig.advance(milliseconds(300));
      rig.send(*origin, kOk);
    }
  }
  rig.advance(seconds(10));
  const size_t before = rig.upstreams().size();
  for (int i = 0; i < 10; ++i) ask();
  open_all();
  size_t slow = 0;
  for (Socket* origin : rig.upstreams()) {
    if (!rig.take(*origin).empty() && origin->target.remote.ip.bytes[15] == 2) ++slow;
  }
  EXPECT_EQ(slow, 0U);
  EXPECT_GE(rig.upstreams().size(), before);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 1U);
  EXPECT_EQ(rig.counters().outlier_ejections_latency, 1U);
}

TEST_F(EngineTraffic, RulesOfIntervalsAreCountedInShadowModeToo) {
  cluster->shadow_outlier.emplace().consecutive_5xx = 0;
  cluster->shadow_outlier->max_ejection_percent = 50;
  cluster->shadow_outlier->failure_percentage.emplace().minimum_hosts = 2;
  cluster->shadow_outlier->failure_percentage->request_volume = 3;
  rig.use(policy);
  for (int i = 0; i < 8; ++i) {
    ask();
    answer_all(2);
  }
  rig.advance(seconds(10));
  EXPECT_EQ(rig.counters().outlier_ejections_shadow, 1U);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 0U);
}

// ---- health checks -----------------------------------------------------------------------------

TEST_F(EngineTraffic, AnUnhealthyEndpointIsLeftOutUntilItRecovers) {
  policy::HealthCheck& check = cluster->health_check.emplace();
  check.path = "/healthz?full";
  check.jitter_percent = 0;
  check.healthy_threshold = 2;
  rig.use(policy);
  const auto serve_checks = [&](bool second_is_well) {
    open_all();
    for (Socket* origin : rig.upstreams()) {
      const std::string asked = origin->closed ? "" : rig.take(*origin);
      if (asked.empty()) continue;
      EXPECT_THAT(asked, StartsWith("GET /healthz?full HTTP/1.1\r\n"));
      const bool well = second_is_well || origin->target.remote.ip.bytes[15] == 1;
      rig.send(*origin, well ? kOk : kBroken);
    }
  };
  rig.advance(milliseconds(1));
  serve_checks(false);
  EXPECT_EQ(rig.counters().health_checks, 2U);
  EXPECT_EQ(rig.counters().health_checks_failed, 1U);
  const auto endpoints_asked = [&] {
    std::set<int> asked;
    for (int i = 0; i < 6; ++i) ask();
    open_all();
    for (Socket* origin : rig.upstreams()) {
      if (origin->closed || rig.take(*origin).empty()) continue;
      asked.insert(origin->target.remote.ip.bytes[15]);
      rig.send(*origin, kOk);
    }
    return asked;
  };
  EXPECT_EQ(endpoints_asked(), std::set<int>{1});
  rig.advance(seconds(10));
  serve_checks(true);
  EXPECT_EQ(endpoints_asked(), std::set<int>{1});  // one good result is not enough
  rig.advance(seconds(10));
  serve_checks(true);
  EXPECT_EQ(endpoints_asked(), (std::set<int>{1, 2}));
  EXPECT_TRUE(rig.is_balanced());
}

// Ejections in shadow mode keep nobody out; health checks are not meant by that.
TEST_F(EngineTraffic, ShadowEjectionLeavesHealthChecksInForce) {
  cluster->health_check.emplace().jitter_percent = 0;
  cluster->shadow_outlier.emplace().consecutive_5xx = 1;
  cluster->shadow_outlier->max_ejection_percent = 100;
  rig.use(policy);
  rig.advance(milliseconds(1));
  EXPECT_EQ(answer_all(2), 1U);  // the checks
  const size_t before = rig.upstreams().size();
  for (int i = 0; i < 6; ++i) ask();
  for (size_t i = before; i < rig.upstreams().size(); ++i) {
    EXPECT_EQ(rig.upstream(i).target.remote.ip.bytes[15], 1);
  }
  EXPECT_EQ(answer_all(), 6U);
  EXPECT_EQ(rig.counters().downstream_rq_completed, 6U);
}

TEST_F(EngineTraffic, ATcpCheckThatFailsCountsToItsThreshold) {
  policy::HealthCheck& check = cluster->health_check.emplace();
  check.http = false;
  check.jitter_percent = 0;
  check.unhealthy_threshold = 2;
  cluster->endpoints.resize(1);
  rig.use(policy);
  rig.advance(milliseconds(1));
  rig.open(rig.upstream(0));
  EXPECT_TRUE(rig.upstream(0).closed);
  EXPECT_FALSE(rig.upstream(0).aborted);
  for (size_t i = 1; i <= 2; ++i) {
    EXPECT_EQ(rig.take(ask()), "");
    rig.fail(*rig.upstreams().back());
    rig.advance(seconds(10));
    rig.fail(*rig.upstreams().back(), proxy::Failure::kRefused);
  }
  EXPECT_THAT(rig.take(ask()), HasSubstr("no healthy upstream"));
}

TEST_F(EngineTraffic, ChecksEndWithTheirPolicy) {
  cluster->health_check.emplace().jitter_percent = 0;
  rig.use(policy);
  rig.advance(milliseconds(1));
  open_all();
  for (Socket* origin : rig.upstreams()) rig.send(*origin, kBroken);
  EXPECT_THAT(rig.take(ask()), HasSubstr("no healthy upstream"));
  cluster->health_check.reset();
  rig.use(policy);
  EXPECT_EQ(rig.take(ask()), "");
  rig.advance(seconds(60));
  EXPECT_EQ(rig.counters().health_checks, 2U);
}

}  // namespace
}  // namespace np::test
