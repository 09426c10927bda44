// SPDX-License-Identifier: Apache-2.0
// ServiceHealth: the rules of traffic-semantics 3.4 one by one, decisions D6, D11 and D16, and
// seeded runs against a plain model written from the rules.
#include <gtest/gtest.h>

#include <map>

#include "base/random.h"
#include "proxy/node_state.h"
#include "tests/support/policy_fixture.h"

namespace np::test {
namespace {

using proxy::EjectionCause;
using proxy::EjectionEvent;
using proxy::EjectionStore;
using proxy::EndpointHealth;
using proxy::NodeState;
using proxy::ServiceHealth;
using proxy::TryResult;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Permit = ServiceHealth::Permit;

class MemoryStore : public EjectionStore {
 public:
  void put(uint32_t, const SocketAddress& endpoint, const Record& record) override {
    records[endpoint] = record;
  }
  void erase(uint32_t, const SocketAddress& endpoint) override { records.erase(endpoint); }
  std::map<SocketAddress, Record> records;
};

class Ejection : public ::testing::Test {
 protected:
  void use(size_t endpoints) {
    std::vector<std::string> addresses;
    for (size_t i = 1; i <= endpoints; ++i) {
      addresses.push_back("10.0.0." + std::to_string(i) + ":80");
    }
    cluster = &fixture.add_cluster("c", addresses);
    cluster->service_id = 7;
    cluster->outlier.emplace();
    cluster->outlier->consecutive_5xx = 1;
    cluster->outlier->max_ejection_percent = 100;
    health = &node.health(7);
    health->adopt(*cluster, now, 0);
  }
  EndpointHealth& at(size_t i) { return health->endpoint(cluster->endpoints[i].address); }
  ServiceHealth::Verdict answer(size_t i, uint16_t status, bool probation = false) {
    health->adopt(*cluster, now, 0);  // the rules may have been changed by the test
    return health->report(at(i), *cluster, {TryResult::Kind::kAnswered, status}, probation, now, 0);
  }
  ServiceHealth::Verdict fail(size_t i, TryResult::Kind kind) {
    health->adopt(*cluster, now, 0);
    return health->report(at(i), *cluster, {kind, 0}, false, now, 0);
  }
  ServiceHealth::Standing standing() {
    ServiceHealth::Standing result;
    for (size_t i = 0; i < cluster->endpoints.size(); ++i) {
      ++result.endpoints;
      if (at(i).is_ejected()) ++result.ejected;
    }
    return result;
  }
  Permit ask(size_t i) { return health->ask(at(i), *cluster->outlier, standing()); }
  void advance(Duration by) {
    const Instant end = now + by;
    for (Instant next = health->next_sweep(); next <= end; next = health->sweep(now, 0).next) {
      now = std::max(now, next);
    }
    now = end;
  }

  MemoryStore store;
  NodeState::Seams seams{nullptr, &store, {}};
  NodeState node{2, seams};
  PolicyFixture fixture;
  policy::Cluster* cluster = nullptr;
  ServiceHealth* health = nullptr;
  Instant now{seconds(1000)};
};

TEST_F(Ejection, FiveInARowByDefault) {
  use(2);
  cluster->outlier = policy::Outlier{};
  cluster->outlier->max_ejection_percent = 50;
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(answer(0, 500).ejected);
  answer(0, 200);  // the row is broken
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(answer(0, 500).ejected);
  const auto verdict = answer(0, 500);
  EXPECT_TRUE(verdict.ejected);
  EXPECT_EQ(verdict.cause, EjectionCause::kConsecutive5xx);
}

TEST_F(Ejection, GatewayErrorsAreARowOfTheirOwn) {
  use(2);
  cluster->outlier->consecutive_5xx = 0;
  cluster->outlier->consecutive_gateway_errors = 2;
  answer(0, 503);
  answer(0, 500);  // no gateway error: the row begins anew
  EXPECT_FALSE(answer(0, 502).ejected);
  const auto verdict = answer(0, 504);
  EXPECT_TRUE(verdict.ejected);
  EXPECT_EQ(verdict.cause, EjectionCause::kConsecutiveGateway);
}

// A 500 is no gateway error: where only these count, an endpoint that answers so is as good as any
// and takes as many requests at once.
TEST_F(Ejection, WhatNoRuleCountsHoldsBackNobody) {
  use(2);
  cluster->outlier->consecutive_5xx = 0;
  cluster->outlier->consecutive_gateway_errors = 2;
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kNoRoom);
  EXPECT_FALSE(answer(0, 500, true).ejected);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ask(0), Permit::kPlain);
  EXPECT_FALSE(answer(0, 500, true).ejected);
  answer(0, 502);
  EXPECT_TRUE(answer(0, 503).ejected);
}

// What only says that it cannot be reached has not shown that it answers well.
TEST_F(Ejection, AConnectThatFailedProvesNothing) {
  use(2);
  cluster->outlier->split_local_origin = true;
  cluster->outlier->consecutive_local_origin_failures = 0;
  fail(0, TryResult::Kind::kConnectFailed);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kNoRoom);
}

TEST_F(Ejection, LocalFailuresCountAsGatewayErrorsUnlessSplit) {
  use(3);
  cluster->outlier->consecutive_5xx = 0;
  cluster->outlier->consecutive_gateway_errors = 3;
  fail(0, TryResult::Kind::kConnectFailed);
  fail(0, TryResult::Kind::kReset);
  EXPECT_EQ(fail(0, TryResult::Kind::kTimedOut).cause, EjectionCause::kConsecutiveGateway);
  cluster->outlier->split_local_origin = true;
  cluster->outlier->consecutive_local_origin_failures = 2;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(answer(1, 502).ejected && i < 2);
  fail(2, TryResult::Kind::kConnectFailed);
  EXPECT_EQ(fail(2, TryResult::Kind::kReset).cause, EjectionCause::kConsecutiveLocal);
}

TEST_F(Ejection, OldAndNewPercentRuleD6) {
  use(2);
  cluster->outlier->max_ejection_percent = 10;
  const auto refused = answer(0, 500);
  EXPECT_FALSE(refused.ejected);
  EXPECT_TRUE(refused.overflow);
  cluster->outlier->old_percent_rule = true;
  EXPECT_TRUE(answer(0, 500).ejected);   // none was out before
  EXPECT_TRUE(answer(1, 500).overflow);  // half are
}

TEST_F(Ejection, LastsItsTimeRoundedUpToTheSweep) {
  use(2);
  cluster->outlier->base_ejection_time = seconds(25);
  now += seconds(3);
  EXPECT_TRUE(answer(0, 500).ejected);
  advance(seconds(26));  // sweeps at 10 and 20: its time is over at 28
  EXPECT_TRUE(at(0).is_ejected());
  advance(seconds(1));  // 30
  EXPECT_FALSE(at(0).is_ejected());
}

TEST_F(Ejection, GrowsWithEachAndShrinksWithGoodIntervals) {
  use(2);
  cluster->outlier->base_ejection_time = seconds(30);
  cluster->outlier->max_ejection_time = seconds(70);
  const auto lasts = [&] {
    EXPECT_TRUE(answer(0, 500).ejected);
    const Duration time = at(0).until - now;
    advance(seconds(100));
    return time;
  };
  answer(0, 200);
  EXPECT_EQ(lasts(), seconds(30));
  EXPECT_EQ(at(0).multiplier, 0U);  // 30 s out, then good intervals
  answer(0, 500);
  advance(at(0).until - now);
  EXPECT_TRUE(answer(0, 500).ejected);
  EXPECT_EQ(at(0).until - now, seconds(60));
  advance(at(0).until - now);
  EXPECT_TRUE(answer(0, 500).ejected);
  EXPECT_EQ(at(0).until - now, seconds(70));  // the cap
}

TEST_F(Ejection, ProbationForgivesWhatThePolicyForgives) {
  use(2);
  cluster->outlier->consecutive_5xx = 3;
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kNoRoom);
  answer(0, 500, true);
  EXPECT_EQ(ask(0), Permit::kNoRoom);  // one of three is used up, two are unanswered
  answer(0, 200, true);
  EXPECT_EQ(ask(0), Permit::kPlain);  // it has answered well
}

TEST_F(Ejection, ProbationEndsWhereEjectionWouldChangeNothing) {
  use(1);
  cluster->outlier->panic_percent = 50;  // D16: a lone endpoint is used whatever it does
  EXPECT_EQ(ask(0), Permit::kPlain);
  cluster->outlier->panic_percent = 0;
  EXPECT_EQ(ask(0), Permit::kProbation);
  cluster->outlier->max_ejection_percent = 10;
  EXPECT_EQ(ask(0), Permit::kPlain);
}

TEST_F(Ejection, WhoComesBackIsOnProbationAgain) {
  use(2);
  cluster->outlier->base_ejection_time = seconds(10);
  answer(0, 200);
  EXPECT_EQ(ask(0), Permit::kPlain);
  answer(0, 503);
  advance(seconds(20));
  EXPECT_FALSE(at(0).is_ejected());
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(0), Permit::kNoRoom);
  health->forget(at(0), 0);  // the client left: neither good nor bad
  EXPECT_EQ(ask(0), Permit::kProbation);
}

TEST_F(Ejection, WaitingRequestsHearOfEveryChange) {
  use(2);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(ask(1), Permit::kProbation);
  const uint64_t epoch = health->epoch();
  proxy::WaitNode waiting;
  waiting.shard = 1;
  EXPECT_TRUE(health->wait(waiting, epoch));
  answer(1, 200, true);
  EXPECT_EQ(node.mailbox(1).take(), &waiting);
  health->arrived(waiting);
  EXPECT_FALSE(health->wait(waiting, epoch));  // what was seen then is no longer so
}

TEST_F(Ejection, UnejectByHand) {
  use(2);
  answer(0, 500);
  EXPECT_TRUE(health->uneject(cluster->endpoints[0].address, now));
  EXPECT_FALSE(at(0).is_ejected());
  EXPECT_FALSE(health->uneject(cluster->endpoints[0].address, now));
  const auto events = node.take_events();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, EjectionEvent::Kind::kEjected);
  EXPECT_EQ(events[0].last->status, 500);
  EXPECT_EQ(events[1].kind, EjectionEvent::Kind::kUnejected);
}

// ---- what outlives the worker (design.md 8.7) --------------------------------------------------

TEST_F(Ejection, IsWrittenBeforeTheRequestGoesOut) {
  use(2);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_EQ(store.records[cluster->endpoints[0].address].unanswered, 1U);
  answer(0, 200, true);
  EXPECT_TRUE(store.records.empty());
  answer(0, 500);
  EXPECT_TRUE(store.records[cluster->endpoints[0].address].ejected);
}

TEST_F(Ejection, UnansweredAtTheKillIsAFailure) {
  use(2);
  const SocketAddress broken = cluster->endpoints[0].address;
  NodeState successor(1, seams);
  ServiceHealth& next = successor.health(7);
  ServiceHealth::Restored record;
  record.unanswered = 1;
  next.restore(broken, record, now);
  next.adopt(*cluster, now, 0);
  EXPECT_TRUE(next.endpoint(broken).is_ejected());
  EXPECT_TRUE(store.records[broken].ejected);
}

// Failures that the next worker finds may have been of any kind: the same count, no other.
TEST_F(Ejection, WhatTheNextWorkerFindsIsNotMoreThanItWas) {
  use(3);
  cluster->outlier->consecutive_5xx = 5;
  cluster->outlier->consecutive_gateway_errors = 2;
  cluster->outlier->split_local_origin = true;
  cluster->outlier->consecutive_local_origin_failures = 3;
  for (int i = 0; i < 4; ++i) answer(0, 500);
  fail(1, TryResult::Kind::kConnectFailed);
  fail(1, TryResult::Kind::kConnectFailed);
  NodeState successor(1, seams);
  ServiceHealth& next = successor.health(7);
  for (const auto& [address, found] : std::map(store.records)) {
    ServiceHealth::Restored record;
    record.failures = found.failures;
    record.unanswered = found.unanswered;
    next.restore(address, record, now);
  }
  next.adopt(*cluster, now, 0);
  for (const policy::Endpoint& listed : cluster->endpoints) {
    EXPECT_FALSE(next.endpoint(listed.address).is_ejected());
  }
}

// With the split a request cut off by the kill is a local failure, no 5xx.
TEST_F(Ejection, UnansweredAtTheKillIsALocalFailureWhereTheseAreSplit) {
  use(2);
  cluster->outlier->split_local_origin = true;
  cluster->outlier->consecutive_local_origin_failures = 2;
  const SocketAddress asked = cluster->endpoints[0].address;
  for (const uint32_t unanswered : {1U, 2U}) {
    NodeState successor(1, seams);
    ServiceHealth& next = successor.health(7);
    ServiceHealth::Restored record;
    record.unanswered = unanswered;
    next.restore(asked, record, now);
    next.adopt(*cluster, now, 0);
    EXPECT_EQ(next.endpoint(asked).is_ejected(), unanswered == 2);
  }
}

TEST_F(Ejection, WhoJoinsAtTheAddressOfAnotherBeginsAnew) {
  use(2);
  for (policy::Endpoint& listed : cluster->endpoints) listed.joined = now;
  health->adopt(*cluster, now, 0);
  EXPECT_TRUE(answer(0, 500).ejected);
  health->adopt(*cluster, now + seconds(1), 0);  // a reload
  EXPECT_TRUE(at(0).is_ejected());
  cluster->endpoints[0].joined = now + seconds(5);
  health->adopt(*cluster, now + seconds(5), 0);
  EXPECT_FALSE(at(0).is_ejected());
  EXPECT_TRUE(store.records.empty());
  EXPECT_EQ(health->views().front().failures.size() + health->views().back().failures.size(), 0U);
  EXPECT_EQ(ask(0), Permit::kProbation);
  EXPECT_TRUE(answer(0, 500, true).ejected);
  EXPECT_EQ(at(0).ejections, 1U);
  cluster->endpoints[0].joined = now;  // a request of an older policy
  health->adopt(*cluster, now + seconds(6), 0);
  EXPECT_TRUE(at(0).is_ejected());
}

TEST_F(Ejection, AnEjectionStandsAndEndsWhenItShould) {
  use(2);
  const SocketAddress broken = cluster->endpoints[0].address;
  NodeState successor(1, seams);
  ServiceHealth& next = successor.health(7);
  ServiceHealth::Restored record;
  record.ejected = true;
  record.until = now + seconds(12);
  record.count = 2;
  next.restore(broken, record, now);
  next.adopt(*cluster, now, 0);
  EXPECT_TRUE(next.endpoint(broken).is_ejected());
  (void)next.sweep(now + seconds(10), 0);
  EXPECT_TRUE(next.endpoint(broken).is_ejected());
  (void)next.sweep(now + seconds(20), 0);
  EXPECT_FALSE(next.endpoint(broken).is_ejected());
}

// ---- a plain model -----------------------------------------------------------------------------

// One endpoint as 3.4 tells it, with seconds as time and a sweep at every tenth.
struct PlainEndpoint {
  uint32_t row = 0, gateway_row = 0, local_row = 0;
  bool out = false;
  int64_t until = 0, since = 0;
  uint32_t times = 0;
};

TEST_F(Ejection, AgreesWithThePlainModel) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Rng dice(seed);
    PolicyFixture policies;
    NodeState shared(1, {});
    std::vector<std::string> addresses;
    const uint32_t count = 1 + dice.below(6);
    for (uint32_t i = 1; i <= count; ++i) {
      addresses.push_back("10.0.0." + std::to_string(i) + ":80");
    }
    policy::Cluster& c = policies.add_cluster("c", addresses);
    policy::Outlier& rules = c.outlier.emplace();
    rules.consecutive_5xx = dice.below(4);
    rules.consecutive_gateway_errors = dice.below(4);
    rules.split_local_origin = dice.below(2) == 0;
    rules.consecutive_local_origin_failures = dice.below(4);
    rules.max_ejection_percent = dice.below(101);
    rules.old_percent_rule = dice.below(2) == 0;
    rules.base_ejection_time = seconds(1 + dice.below(40));
    rules.max_ejection_time = seconds(60);
    ServiceHealth& service = shared.health(1);
    const Instant start{seconds(1000)};
    service.adopt(c, start, 0);
    std::vector<PlainEndpoint> plain(count);
    int64_t second = 0;
    int64_t swept = 0;
    const auto outside = [&] {
      return static_cast<uint32_t>(
          std::count_if(plain.begin(), plain.end(), [](const auto& one) { return one.out; }));
    };
    for (int step = 0; step < 600; ++step) {
      second += dice.below(3);
      if (second >= swept + 10) {
        swept += (second - swept) / 10 * 10;
        (void)service.sweep(start + seconds(second), 0);
        for (PlainEndpoint& one : plain) {
          if (one.out && one.until <= second) {
            one = {0, 0, 0, false, 0, second, one.times};
          } else if (!one.out && one.times > 0 && second >= one.since + 10) {
            --one.times;
            one.since = second;
          }
        }
      }
      const uint32_t i = dice.below(count);
      PlainEndpoint& one = plain[i];
      static constexpr uint16_t kStatuses[] = {200, 404, 500, 502, 503, 504};
      const bool local = dice.below(4) == 0;
      const uint16_t status = kStatuses[dice.below(6)];
      const TryResult result = local ? TryResult{TryResult::Kind::kReset, 0}
                                     : TryResult{TryResult::Kind::kAnswered, status};
      const bool good = !local && status < 500;
      if (good) {
        one.row = one.gateway_row = one.local_row = 0;
      } else if (local && rules.split_local_origin) {
        ++one.local_row;
      } else {
        one.local_row = 0;
        ++one.row;
        one.gateway_row = local || status >= 502 ? one.gateway_row + 1 : 0;
      }
      const auto reached = [](uint32_t row, uint32_t limit) { return limit > 0 && row >= limit; };
      const bool guilty =
          !good && (reached(one.row, rules.consecutive_5xx) ||
                    reached(one.gateway_row, rules.consecutive_gateway_errors) ||
                    (rules.split_local_origin &&
                     reached(one.local_row, rules.consecutive_local_origin_failures)));
      const bool allowed = rules.old_percent_rule
                               ? outside() * 100 < rules.max_ejection_percent * count
                               : (outside() + 1) * 100 <= rules.max_ejection_percent * count;
      if (guilty && !one.out && allowed) {
        one.out = true;
        ++one.times;
        const int64_t base = std::chrono::duration_cast<seconds>(rules.base_ejection_time).count();
        one.until = second + std::min<int64_t>(base * one.times, 60);
      }
      (void)service.report(service.endpoint(c.endpoints[i].address), c, result, false,
                           start + seconds(second), 0);
      for (uint32_t k = 0; k < count; ++k) {
        ASSERT_EQ(service.endpoint(c.endpoints[k].address).is_ejected(), plain[k].out)
            << "seed " << seed << " step " << step << " endpoint " << k;
      }
    }
  }
}

}  // namespace
}  // namespace np::test
