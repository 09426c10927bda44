// SPDX-License-Identifier: Apache-2.0
// ServiceHealth beyond failures in a row: rules of whole intervals, half-open after every way of
// being out, and what shadow mode tells.
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "proxy/node_state.h"
#include "tests/support/policy_fixture.h"

namespace np::test {
namespace {

using proxy::EjectionCause;
using proxy::EndpointHealth;
using proxy::NodeState;
using proxy::ServiceHealth;
using proxy::TryResult;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Permit = ServiceHealth::Permit;

// No rule about failures in a row; what a test switches on is all there is.
class IntervalRules : public ::testing::Test {
 protected:
  IntervalRules() {
    std::vector<std::string> addresses;
    for (int i = 1; i <= 6; ++i) addresses.push_back("10.0.0." + std::to_string(i) + ":80");
    cluster = &fixture.add_cluster("c", addresses);
    cluster->service_id = 7;
    outlier = &cluster->outlier.emplace();
    outlier->consecutive_5xx = 0;
    outlier->max_ejection_percent = 50;
    outlier->base_ejection_time = seconds(10);
  }
  EndpointHealth& at(size_t i) { return health.endpoint(cluster->endpoints[i].address); }
  ServiceHealth::Verdict answer(size_t i, uint16_t status, Duration took = milliseconds(5),
                                bool probation = false) {
    const TryResult result{TryResult::Kind::kAnswered, status, took};
    return health.report(at(i), *cluster, result, probation, now, 0);
  }
  void move_to_shadow() {
    cluster->shadow_outlier = std::exchange(cluster->outlier, std::nullopt);
    outlier = &*cluster->shadow_outlier;
  }
  void move_into_force() {
    cluster->outlier = std::exchange(cluster->shadow_outlier, std::nullopt);
    outlier = &*cluster->outlier;
  }
  Permit ask(size_t i) {
    ServiceHealth::Standing standing;
    standing.endpoints = static_cast<uint32_t>(cluster->endpoints.size());
    for (size_t k = 0; k < cluster->endpoints.size(); ++k) {
      if (at(k).is_ejected()) ++standing.ejected;
    }
    return health.ask(at(i), *outlier, standing);
  }
  void use() { health.adopt(*cluster, now, 0); }
  // To the end of the interval.
  std::vector<ServiceHealth::Verdict> sweep() {
    now += seconds(10);
    return health.sweep(now, 0).verdicts;
  }
  ServiceHealth::View view(size_t i) {
    for (const ServiceHealth::View& one : health.views()) {
      if (one.address == cluster->endpoints[i].address) return one;
    }
    return {};
  }
  // Everybody answers ten times; the first endpoint as `guilty` says.
  void all_answer(const std::function<void()>& guilty) {
    for (int round = 0; round < 10; ++round) {
      guilty();
      for (size_t i = 1; i < cluster->endpoints.size(); ++i) answer(i, 200);
    }
  }

  NodeState node{1, {}};
  PolicyFixture fixture;
  policy::Cluster* cluster = nullptr;
  policy::Outlier* outlier = nullptr;
  Instant now{seconds(1000)};
  ServiceHealth& health = node.health(7);
};

// ---- what is found -----------------------------------------------------------------------------

TEST_F(IntervalRules, TellWhatTheyMeasured) {
  outlier->latency.emplace().threshold = milliseconds(100);
  outlier->latency->request_volume = 5;
  outlier->latency->percentile = 90;
  use();
  all_answer([&] { answer(0, 200, milliseconds(300)); });
  const auto verdicts = sweep();
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].ejected);
  EXPECT_EQ(verdicts[0].cause, EjectionCause::kLatency);
  EXPECT_EQ(verdicts[0].cluster_id, cluster->id);
  const auto events = node.take_events();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].why.limit, 100);
  EXPECT_EQ(events[0].why.percentile, 90);
  EXPECT_NEAR(events[0].why.found, 300, 300 / 8.0);
  EXPECT_FALSE(events[0].last);
  EXPECT_NEAR(view(0).why.found, 300, 300 / 8.0);
}

TEST_F(IntervalRules, ShareOfFailuresAndRateOfSuccess) {
  outlier->success_rate.emplace().request_volume = 5;
  outlier->failure_percentage.emplace().threshold = 70;
  outlier->failure_percentage->request_volume = 5;
  use();
  int round = 0;
  all_answer([&] { answer(0, round++ < 8 ? 500 : 200); });
  auto verdicts = sweep();
  ASSERT_EQ(verdicts.size(), 1U);  // by the first rule that it breaks
  EXPECT_EQ(verdicts[0].cause, EjectionCause::kSuccessRate);
  EXPECT_EQ(view(0).why.found, 20);
  EXPECT_LT(view(0).why.found, view(0).why.limit);
  outlier->success_rate.reset();
  sweep();
  use();
  round = 0;
  all_answer([&] { answer(0, round++ < 8 ? 500 : 200); });
  verdicts = sweep();
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0].cause, EjectionCause::kFailurePercentage);
  EXPECT_EQ(view(0).why.found, 80);
  EXPECT_EQ(view(0).why.limit, 70);
}

TEST_F(IntervalRules, OfWhichTooManyAreOutAreCountedAsOverflow) {
  outlier->failure_percentage.emplace().threshold = 60;
  outlier->failure_percentage->request_volume = 5;
  outlier->max_ejection_percent = 0;
  use();
  all_answer([&] { answer(0, 500); });
  const auto verdicts = sweep();
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].overflow);
}

// ---- shadow mode -------------------------------------------------------------------------------

// Two clusters look at the same endpoints: one would-be ejection is one.
TEST_F(IntervalRules, ShadowModeTellsOncePerInterval) {
  outlier->failure_percentage.emplace().threshold = 60;
  outlier->failure_percentage->request_volume = 5;
  move_to_shadow();
  policy::Cluster other = *cluster;
  other.id = cluster->id + 1;
  use();
  health.adopt(other, now, 0);
  all_answer([&] { answer(0, 500); });
  const auto verdicts = sweep();
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].shadow);
  EXPECT_FALSE(at(0).is_ejected());
}

// What is shown is what is: nobody is on probation where nothing is held back.
TEST_F(IntervalRules, ProbationIsShownWhereItIs) {
  outlier->consecutive_5xx = 1;
  outlier->max_ejection_percent = 100;
  use();
  EXPECT_TRUE(view(0).probation);
  move_to_shadow();
  use();
  EXPECT_FALSE(view(0).probation);
  answer(0, 500);
  EXPECT_FALSE(view(0).probation);
  EXPECT_FALSE(view(0).ejected);
  EXPECT_EQ(view(0).would.cause, EjectionCause::kConsecutive5xx);
  EXPECT_EQ(view(0).would_at, now);
  EXPECT_EQ(view(1).would.cause, EjectionCause::kNone);
  move_into_force();
  use();
  EXPECT_EQ(view(0).would.cause, EjectionCause::kNone);
  EXPECT_TRUE(view(0).probation);
  outlier->max_ejection_percent = 0;
  use();
  EXPECT_FALSE(view(0).probation);
}

// The rules in force lose nothing by rules that look on, nor do these by an ejection.
TEST_F(IntervalRules, ShadowRulesAreJudgedApart) {
  outlier->consecutive_5xx = 3;
  outlier->max_ejection_percent = 100;
  cluster->shadow_outlier = *outlier;
  cluster->shadow_outlier->consecutive_5xx = 2;
  use();
  answer(0, 200);
  EXPECT_FALSE(answer(0, 500).shadow);
  const auto second = answer(0, 500);
  EXPECT_TRUE(second.shadow);
  EXPECT_FALSE(second.ejected);
  EXPECT_EQ(view(0).would.cause, EjectionCause::kConsecutive5xx);
  const auto third = answer(0, 500);  // its row goes on, though the other one began anew
  EXPECT_TRUE(third.ejected);
  EXPECT_FALSE(third.shadow);
  EXPECT_TRUE(at(0).is_ejected());
  EXPECT_EQ(view(0).ejections, 1U);
}

// Only what is in force is kept for the next worker, and only that holds requests back.
TEST_F(IntervalRules, ShadowRulesAloneHoldNothingBack) {
  outlier->consecutive_5xx = 1;
  outlier->max_ejection_percent = 100;
  outlier->interval = seconds(10);
  move_to_shadow();
  use();
  EXPECT_TRUE(answer(0, 500).shadow);
  EXPECT_TRUE(answer(0, 500).shadow);
  EXPECT_FALSE(at(0).is_ejected());
  EXPECT_EQ(view(0).ejections, 0U);
  EXPECT_EQ(health.next_sweep(), kNever);
}

// ---- half-open ---------------------------------------------------------------------------------

class HalfOpen : public IntervalRules {
 protected:
  HalfOpen() { outlier->half_open = true; }
  void expect_one_until(const std::function<void()>& good) {
    EXPECT_EQ(ask(0), Permit::kProbation);
    EXPECT_EQ(ask(0), Permit::kNoRoom);
    good();
    EXPECT_EQ(ask(0), Permit::kPlain);
    EXPECT_EQ(ask(0), Permit::kPlain);
  }
  void expect_a_trial(const std::function<void()>& bad, const std::function<void()>& good) {
    EXPECT_EQ(ask(0), Permit::kProbation);
    EXPECT_EQ(ask(0), Permit::kNoRoom);
    bad();
    EXPECT_TRUE(at(0).is_ejected());
    EXPECT_EQ(view(0).why.cause, EjectionCause::kTrial);
    EXPECT_EQ(view(0).ejections, 2U);
    for (int i = 0; i < 5 && at(0).is_ejected(); ++i) sweep();
    expect_one_until(good);
  }
  void answers_with(uint16_t status) { answer(0, status, milliseconds(5), true); }
};

TEST_F(HalfOpen, AfterAnEjectionForLatencyASlowAnswerIsNoGoodOne) {
  outlier->latency.emplace().threshold = milliseconds(100);
  outlier->latency->request_volume = 5;
  use();
  EXPECT_EQ(ask(0), Permit::kPlain);  // it was never out
  all_answer([&] { answer(0, 200, milliseconds(300)); });
  sweep();
  ASSERT_TRUE(at(0).is_ejected());
  sweep();
  ASSERT_FALSE(at(0).is_ejected());
  expect_a_trial([&] { answer(0, 200, milliseconds(300), true); }, [&] { answers_with(200); });
}

TEST_F(HalfOpen, AfterAnEjectionForTheShareOfFailures) {
  outlier->failure_percentage.emplace().threshold = 60;
  outlier->failure_percentage->request_volume = 5;
  use();
  all_answer([&] { answer(0, 500); });
  sweep();
  ASSERT_TRUE(at(0).is_ejected());
  sweep();
  expect_a_trial([&] { answers_with(500); }, [&] { answers_with(200); });
}

TEST_F(HalfOpen, AfterAnEjectionForTheRateOfSuccess) {
  outlier->success_rate.emplace().request_volume = 5;
  use();
  all_answer([&] { answer(0, 500); });
  sweep();
  ASSERT_TRUE(at(0).is_ejected());
  sweep();
  expect_a_trial([&] { answers_with(500); }, [&] { answers_with(200); });
}

// Health checks know no maxEjectionPercent: half-open holds where others are there to be asked, and
// who fails its trial is not ejected beyond it.
TEST_F(HalfOpen, WhenHealthChecksLetItBackIn) {
  outlier->consecutive_5xx = 3;
  outlier->max_ejection_percent = 0;
  use();
  answer(0, 200);
  const SocketAddress address = cluster->endpoints[0].address;
  health.set_checked(address, false, now, 0);
  EXPECT_TRUE(at(0).is_unhealthy());
  health.set_checked(address, true, now, 0);
  EXPECT_EQ(ask(0), Permit::kProbation);
  answers_with(500);
  EXPECT_FALSE(at(0).is_ejected());
  expect_one_until([&] { answers_with(200); });
}

TEST_F(HalfOpen, NotForALoneEndpointThatCannotBeEjected) {
  cluster->endpoints.resize(1);
  outlier->max_ejection_percent = 0;
  use();
  const SocketAddress address = cluster->endpoints[0].address;
  health.set_checked(address, false, now, 0);
  health.set_checked(address, true, now, 0);
  EXPECT_EQ(ask(0), Permit::kPlain);
}

}  // namespace
}  // namespace np::test
