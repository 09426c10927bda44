// SPDX-License-Identifier: Apache-2.0
// Rate limits and denials as clients see them, on the exact clock of the rig.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/quota_windows.h"
#include "tests/support/check_fixture.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kGateway[] = "0.0.0.0:8080";
constexpr char kExhausted[] = "RESOURCE_EXHAUSTED:Quota is exhausted for: hits";

class EngineChecks : public ::testing::Test {
 protected:
  EngineChecks() {
    cluster = &policy.add_cluster("ratings", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
    policy.listen(kGateway, &table);
  }

  // Sends a request; the endpoint answers 200 whatever reaches it. Gives the whole answer.
  std::string ask(EngineRig& from, Socket& client, const std::string& request = kGet) {
    from.send(client, request);
    for (Socket* origin : from.upstreams()) {
      if (origin->closed) continue;
      if (!origin->opened) from.open(*origin);
      if (!from.take(*origin).empty()) {
        ++arrived;
        from.send(*origin, kOk);
      }
    }
    return from.take(client);
  }
  std::string ask(Socket& client, const std::string& request = kGet) {
    return ask(rig, client, request);
  }
  static std::string get(const std::string& headers, const std::string& path = "/x") {
    return "GET " + path + " HTTP/1.1\r\nHost: r\r\n" + headers + "\r\n";
  }

  PolicyFixture policy;
  CheckFixture checks{policy};
  policy::Cluster* cluster;
  policy::Route* route;
  EngineRig rig;
  int arrived = 0;
};

TEST_F(EngineChecks, AnExhaustedQuotaIs429AndNamesIt) {
  checks.quota(checks.rule(*cluster), "hits", 1);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 OK\r\n"));
  const std::string answer = ask(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 429 Too Many Requests\r\n"));
  EXPECT_THAT(answer, HasSubstr("x-envoy-ratelimited: true\r\n"));
  EXPECT_THAT(answer, HasSubstr("retry-after: 1\r\n"));
  EXPECT_THAT(answer, HasSubstr("content-type: text/plain\r\n"));
  EXPECT_THAT(answer, HasSubstr("content-length: 47\r\n"));
  EXPECT_TRUE(answer.ends_with(std::string("\r\n\r\n") + kExhausted)) << answer;
  EXPECT_EQ(arrived, 1);
  EXPECT_FALSE(client.closed || client.fin);  // the connection goes on
  EXPECT_EQ(rig.counters().ended_rate_limited, 1U);
  EXPECT_EQ(rig.counters().rate_limit_ok, 1U);
  EXPECT_EQ(rig.counters().downstream_rq_refused, 1U);
  EXPECT_EQ(rig.counters().downstream_rq_4xx, 1U);
  EXPECT_EQ(rig.record.refused, 1U);
  EXPECT_STREQ(proxy::flag_of(proxy::EndReason::kRateLimited), "RL");
  EXPECT_TRUE(rig.is_balanced());
  // The rig's clock began at a whole second, so the first request's tick leaves after 1.000 s.
  rig.advance(seconds(1) - Duration(1));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 429 "));
  rig.advance(Duration(1));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EngineChecks, RetryAfterSaysWhenItIsWorthIt) {
  policy::Quota& quota = checks.quota(checks.rule(*cluster), "hits", 1);
  quota.limit.window.ticks = 300;
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  ask(client);
  rig.advance(milliseconds(1500));
  EXPECT_THAT(ask(client), HasSubstr("retry-after: 29\r\n"));  // 28.5 s
  quota.limit = {0, {}};
  rig.use(policy);
  const std::string hopeless = ask(client);
  EXPECT_THAT(hopeless, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(hopeless, Not(HasSubstr("retry-after")));
}

TEST_F(EngineChecks, CallersAreCountedApart) {
  policy::Quota& quota =
      checks.quota(checks.rule(*cluster), "hits", 5,
                   {"source.labels[\"app\"] | \"unknown\"", "source.labels[\"version\"] | \"\""});
  quota.overrides.push_back({{{0, "reviews"}}, quota.limit});
  quota.overrides.back().limit.amount = 1;
  quota.overrides.push_back({{{0, "reviews"}, {1, "v3"}}, quota.limit});  // never reached
  checks.pod("reviews-v2", "10.0.0.2", {{"app", "reviews"}, {"version", "v2"}});
  checks.pod("reviews-v3", "10.0.0.3", {{"app", "reviews"}, {"version", "v3"}});
  rig.use(policy);
  Socket& second = rig.connect_captured(kService, "10.0.0.2:40000");
  Socket& third = rig.connect_captured(kService, "10.0.0.3:40000");
  Socket& stranger = rig.connect_captured(kService, "10.0.0.9:40000");
  EXPECT_THAT(ask(second), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(third), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(second), StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(ask(third), StartsWith("HTTP/1.1 429 "));
  for (int i = 0; i < 5; ++i) EXPECT_THAT(ask(stranger), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(stranger), StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, AnAbortWinsAndCostsNothing) {
  checks.quota(checks.rule(*cluster), "hits", 1);
  route->fault.emplace();
  route->fault->abort = policy::Fault::Abort{500, policy::kPerMillion};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 500 "));
  route->fault.reset();
  rig.use(policy);
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(rig.counters().rate_limit_ok, 1U);
}

TEST_F(EngineChecks, ADelayedRequestIsChargedWhenItGoesOn) {
  checks.quota(checks.rule(*cluster), "hits", 1);
  route->fault.emplace();
  route->fault->delay = policy::Fault::Delay{seconds(7), policy::kPerMillion};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  EXPECT_EQ(rig.counters().rate_limit_ok, 0U);
  rig.advance(seconds(7));
  EXPECT_EQ(rig.counters().rate_limit_ok, 1U);
  EXPECT_EQ(rig.upstreams().size(), 1U);
}

TEST_F(EngineChecks, SeveralQuotasAreChargedTogetherOrNotAtAll) {
  policy::CheckRule& rule = checks.rule(*cluster);
  checks.quota(rule, "wide", 3);
  checks.quota(rule, "hits", 1, {"request.headers[\"x-user\"]"});
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client, get("x-user: a\r\n")), StartsWith("HTTP/1.1 200 "));
  for (int i = 0; i < 5; ++i) {
    const std::string answer = ask(client, get("x-user: a\r\n"));
    EXPECT_TRUE(answer.ends_with(kExhausted)) << answer;
  }
  // Those five took nothing from the wide one.
  EXPECT_THAT(ask(client, get("x-user: b\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("x-user: c\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_TRUE(ask(client, get("x-user: d\r\n")).ends_with("exhausted for: wide"));
}

TEST_F(EngineChecks, ADenialComesBeforeQuotas) {
  policy::CheckRule& limited = checks.rule(*cluster);
  checks.quota(limited, "hits", 1);
  policy::CheckRule& denied = checks.rule(*cluster, "request.headers[\"x-user\"] == \"\"");
  checks.deny(denied, 403, "PERMISSION_DENIED:handler.denier.istio-system:Not allowed");
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  const std::string answer = ask(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_TRUE(
      answer.ends_with("\r\n\r\nPERMISSION_DENIED:handler.denier.istio-system:Not allowed"));
  EXPECT_THAT(answer, Not(HasSubstr("ratelimited")));
  EXPECT_EQ(rig.counters().ended_denied, 1U);
  EXPECT_EQ(rig.counters().rate_limit_ok, 0U);
  EXPECT_THAT(ask(client, get("X-User: jason\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("X-User: jason\r\n")), StartsWith("HTTP/1.1 429 "));
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineChecks, ARuleThatCannotBeDecidedIsSkippedAndCounted) {
  policy::CheckRule& rule = checks.rule(*cluster, "source.user == \"a\"");
  checks.quota(rule, "hits", 0);
  policy::CheckRule& other = checks.rule(*cluster);
  checks.quota(other, "visits", 0, {"source.labels[\"app\"]"});  // the caller is no pod
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(rig.counters().check_errors, 2U);
}

TEST_F(EngineChecks, ChargesOfASpec) {
  policy::CheckRule& rule = checks.rule(*cluster);
  checks.quota(rule, "hits", 4);
  policy::RegexCache regexes([](const std::string&, const std::string&) {});
  policy::QuotaCharge dear;
  dear.amount = 3;
  dear.matches.push_back(
      {{policy::Attribute::kRequestPath,
        policy::StringMatcher({policy::StringMatch::Kind::kPrefix, "/dear", false}, regexes)}});
  policy::QuotaCharge elsewhere;
  elsewhere.destinations = {{{"version", "v2"}}};
  rule.quotas[0].charges = {dear, elsewhere};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  for (int i = 0; i < 9; ++i) EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));  // free
  EXPECT_THAT(ask(client, get("", "/dear")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("", "/dear")), StartsWith("HTTP/1.1 429 "));  // 1 left, 3 needed
  checks.of(*cluster).destination.labels = {{"version", "v2"}};
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, ARepeatOfARequestIsNotChargedTwice) {
  checks.quota(checks.rule(*cluster), "hits", 1);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client, get("x-request-id: r1\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("x-request-id: r1\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(rig.counters().rate_limit_repeated, 1U);
  EXPECT_THAT(ask(client, get("x-request-id: r2\r\n")), StartsWith("HTTP/1.1 429 "));
  // Clients outside write what they like into the id.
  rig.advance(seconds(1));
  Socket& outside = rig.connect_gateway(kGateway);
  EXPECT_THAT(ask(outside, get("x-request-id: r9\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(outside, get("x-request-id: r9\r\n")), StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, TheIdThatARuleSeesIsTheOneThatGoesOn) {
  checks.deny(checks.rule(*cluster, "request.id == \"\""), 403, "no id");
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  const std::string sent = rig.take(rig.upstream(0));
  EXPECT_THAT(sent, HasSubstr("x-request-id: "));
  EXPECT_EQ(rig.counters().check_errors, 0U);
}

TEST_F(EngineChecks, ShardsShareTheWindows) {
  checks.quota(checks.rule(*cluster), "hits", 3);
  proxy::QuotaWindows windows(7);
  EngineRig first({}, &windows);
  EngineRig second({}, &windows);
  first.use(policy);
  second.use(policy);
  Socket& here = first.connect_captured(kService);
  Socket& there = second.connect_captured(kService);
  EXPECT_THAT(ask(first, here), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(second, there), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(first, here), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(second, there), StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(ask(first, here), StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, CountersOutliveASnapshotAndEndWithTheRule) {
  checks.quota(checks.rule(*cluster), "hits", 1);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  ask(client);
  rig.use(policy);  // the same policy again
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 429 "));
  cluster->checks = nullptr;  // the policy without the rule
  rig.use(policy);
  for (int i = 0; i < 5; ++i) EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EngineChecks, AnswersKeepTheRulesOfHttp) {
  checks.quota(checks.rule(*cluster), "hits", 0);
  route->cors.emplace();
  route->cors->allow_origins.push_back({policy::StringMatch::Kind::kExact, "http://a", false});
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  const std::string head = ask(client, "HEAD /x HTTP/1.1\r\nHost: r\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 429 "));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_THAT(ask(client, get("Origin: http://a\r\n")),
              HasSubstr("access-control-allow-origin: http://a\r\n"));
  // A body that nobody will read.
  const std::string post =
      ask(client, "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 100000\r\n\r\nab");
  EXPECT_THAT(post, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(post, HasSubstr("connection: close"));
  EXPECT_TRUE(client.fin);
  EXPECT_EQ(arrived, 0);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineChecks, ShadowCountsAndRefusesNothing) {
  policy::CheckRule& rule = checks.rule(*cluster);
  checks.quota(rule, "shadowed", 1).is_shadow = true;
  checks.quota(rule, "hits", 2);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(rig.counters().rate_limit_shadowed, 1U);
  EXPECT_TRUE(ask(client).ends_with(kExhausted));  // the other quota is in force
}

TEST_F(EngineChecks, MatchesOfARateLimit) {
  policy::RegexCache regexes([](const std::string&, const std::string&) {});
  policy::CheckRule& rule = checks.rule(*cluster);
  checks.quota(rule, "hits", 0, {"request.cookies[\"session\"]"});
  policy::MatchCondition post;
  post.method = policy::StringMatch{policy::StringMatch::Kind::kExact, "POST", false};
  rule.matches.push_back({policy::Condition(post, nullptr, regexes), {}});
  policy::RequestMatch free{policy::Condition({}, nullptr, regexes), {}};
  free.cookies.push_back(
      {"tier", policy::StringMatcher({policy::StringMatch::Kind::kExact, "free", false}, regexes)});
  rule.matches.push_back(std::move(free));
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("Cookie: a=b; tier=paid\r\n")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client, get("Cookie: a=b; tier=free\r\n")), StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(ask(client, get("Cookie: a=b\r\nCookie: tier=free\r\n")),
              StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(ask(client, "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n"),
              StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, ABucketRefillsSteadily) {
  policy::Quota& quota = checks.quota(checks.rule(*cluster), "hits", 3);
  quota.limit.window = {policy::CounterWindow::Kind::kBucket, 0, milliseconds(2500)};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client), HasSubstr("retry-after: 3\r\n"));
  rig.advance(milliseconds(2500) - Duration(1));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 429 "));
  rig.advance(Duration(1));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(client), StartsWith("HTTP/1.1 429 "));
}

TEST_F(EngineChecks, WhatGoesNowhereIsNotChecked) {
  checks.quota(checks.rule(*cluster), "hits", 0);
  route->clusters.clear();
  route->action = policy::Route::Action::kDirectResponse;
  route->direct_response = policy::DirectResponse{200, "here", ""};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_TRUE(ask(client).ends_with("here"));
}

}  // namespace
}  // namespace np::test
