// SPDX-License-Identifier: Apache-2.0
// What callers ask for in x-envoy- fields: as values, and as the engine acts on it (traffic-
// semantics 3.5, 3.6, 4.4).
#include "policy/call_terms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/retry_names.h"
#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using policy::CallTerms;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kRetriesMax = 10;
constexpr char kBind[] = "0.0.0.0:8080";

CallTerms asked(const policy::Route& route, std::vector<Field> fields) {
  return policy::terms_for_caller(route, fields, kRetriesMax);
}

TEST(CallTerms, RouteAlone) {
  policy::Route route;
  route.timeout = seconds(5);
  route.retry.per_try_timeout = seconds(5);  // not below the whole: dropped
  route.retry.on = policy::kRetry5xx;
  CallTerms terms = policy::terms_of_route(route);
  EXPECT_EQ(terms.timeout, seconds(5));
  EXPECT_EQ(terms.per_try_timeout, Duration::zero());
  EXPECT_EQ(terms.retry_on, 0U);  // without tries the conditions mean nothing
  route.retry.attempts = 2;
  route.retry.per_try_timeout = seconds(2);
  terms = policy::terms_of_route(route);
  EXPECT_EQ(terms.per_try_timeout, seconds(2));
  EXPECT_EQ(terms.retries, 2U);
  EXPECT_EQ(terms.retry_on, policy::kRetry5xx);
}

TEST(CallTerms, TimeoutsReplaceThoseOfTheRoute) {
  policy::Route route;
  route.timeout = seconds(5);
  EXPECT_EQ(asked(route, {{"x-envoy-upstream-rq-timeout-ms", "250"}}).timeout, milliseconds(250));
  EXPECT_EQ(asked(route, {{"X-Envoy-Upstream-RQ-Timeout-Ms", "7000"}}).timeout, seconds(7));
  EXPECT_EQ(asked(route, {{"x-envoy-upstream-rq-timeout-ms", "0"}}).timeout, Duration::zero());
  const CallTerms both = asked(route, {{"x-envoy-upstream-rq-per-try-timeout-ms", "100"},
                                       {"x-envoy-upstream-rq-timeout-ms", "250"}});
  EXPECT_EQ(both.per_try_timeout, milliseconds(100));
  // What the route says for a try counts again when the whole may take longer.
  route.retry.per_try_timeout = seconds(6);
  EXPECT_EQ(asked(route, {}).per_try_timeout, Duration::zero());
  EXPECT_EQ(asked(route, {{"x-envoy-upstream-rq-timeout-ms", "7000"}}).per_try_timeout, seconds(6));
}

TEST(CallTerms, RetriesJoinThoseOfTheRoute) {
  policy::Route route;
  EXPECT_EQ(asked(route, {{"x-envoy-max-retries", "3"}}).retries, 0U);  // on no condition
  CallTerms terms = asked(route, {{"x-envoy-retry-on", "5xx, connect-failure"}});
  EXPECT_EQ(terms.retry_on, policy::kRetry5xx | policy::kRetryConnectFailure);
  EXPECT_EQ(terms.retries, 1U);
  terms = asked(route, {{"x-envoy-retry-grpc-on", "unavailable"}, {"x-envoy-max-retries", "4"}});
  EXPECT_EQ(terms.retry_on, policy::kRetryGrpcUnavailable);
  EXPECT_EQ(terms.retries, 4U);
  route.retry.attempts = 2;
  route.retry.on = policy::kRetryReset;
  terms = asked(route, {{"x-envoy-retry-on", "gateway-error"}});
  EXPECT_EQ(terms.retry_on, policy::kRetryReset | policy::kRetryGatewayError);
  EXPECT_EQ(terms.retries, 2U);
  EXPECT_EQ(asked(route, {{"x-envoy-max-retries", "0"}}).retries, 0U);
  EXPECT_EQ(asked(route, {{"x-envoy-max-retries", "4294967295"}}).retries, kRetriesMax);
}

TEST(CallTerms, EveryConditionHasItsName) {
  const policy::Route route;
  for (const policy::RetryName& known : policy::kRetryNames) {
    EXPECT_EQ(asked(route, {{"x-envoy-retry-on", known.name}}).retry_on, known.bit) << known.name;
  }
}

TEST(CallTerms, WhatIsNoValueIsPassedOver) {
  policy::Route route;
  route.timeout = seconds(5);
  for (const char* value : {"", "x", "-1", "+1", "1.5", "1s", "0x10", "1 2", "1,2", "4294967296",
                            "99999999999999999999999"}) {
    EXPECT_EQ(asked(route, {{"x-envoy-upstream-rq-timeout-ms", value}}).timeout, seconds(5))
        << value;
    EXPECT_EQ(asked(route, {{"x-envoy-upstream-rq-per-try-timeout-ms", value}}).per_try_timeout,
              Duration::zero());
    EXPECT_EQ(asked(route, {{"x-envoy-retry-on", "5xx"}, {"x-envoy-max-retries", value}}).retries,
              1U);
  }
  for (const char* value : {"", ",", "5XX", "5xxx", "five", "503", "5xx;reset"}) {
    EXPECT_EQ(asked(route, {{"x-envoy-retry-on", value}}).retry_on, 0U) << value;
  }
  EXPECT_EQ(asked(route, {{"x-envoy-retry-on", "nonsense,,reset\t, 5xx"}}).retry_on,
            policy::kRetryReset | policy::kRetry5xx);
  const CallTerms first = asked(route, {{"x-envoy-upstream-rq-timeout-ms", "bad"},
                                        {"x-envoy-upstream-rq-timeout-ms", "100"},
                                        {"x-envoy-upstream-rq-timeout-ms", "200"}});
  EXPECT_EQ(first.timeout, milliseconds(100));
}

TEST(CallTerms, OnlyFieldsThatAskForSomethingEndHere) {
  EXPECT_TRUE(policy::is_call_term("X-Envoy-Max-Retries"));
  EXPECT_TRUE(policy::is_call_term("x-envoy-retry-grpc-on"));
  for (const char* name : {"x-envoy-", "x-envoy-max-retries2", "x-envoy-attempt-count", "x", "",
                           "y-envoy-max-retries", "x-envoy-overloaded"}) {
    EXPECT_FALSE(policy::is_call_term(name)) << name;
  }
}

// ---- in the engine ---------------------------------------------------------------------------

class EngineTerms : public ::testing::Test {
 protected:
  EngineTerms() {
    route = &policy.add_route(&policy.add_cluster("ratings", {"10.1.0.1:9080"}));
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
    policy.listen(kBind, &table);
  }
  // The request as it reaches the endpoint.
  std::string forwarded(const std::string& fields, bool captured = true) {
    Socket& client = captured ? rig.connect_captured(kService) : rig.connect_gateway(kBind);
    last_client = &client;
    rig.send(client, "GET /x HTTP/1.1\r\nHost: r\r\n" + fields + "\r\n");
    Socket& origin = *rig.upstreams().back();
    if (!origin.opened) rig.open(origin);
    return rig.take(origin);
  }
  PolicyFixture policy;
  policy::Route* route;
  EngineRig rig;
  Socket* last_client = nullptr;
};

TEST_F(EngineTerms, CallerSetsTheTimeoutAndTheEndpointIsToldWhatIsLeft) {
  rig.use(policy);
  const std::string request = forwarded("x-envoy-upstream-rq-timeout-ms: 300\r\n");
  EXPECT_THAT(request, HasSubstr("\r\nx-envoy-expected-rq-timeout-ms: 300\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("upstream-rq-timeout")));
  rig.advance(milliseconds(300) - Duration(1));
  EXPECT_EQ(rig.take(*last_client), "");
  rig.advance(Duration(1));
  EXPECT_THAT(rig.take(*last_client), StartsWith("HTTP/1.1 504"));
}

TEST_F(EngineTerms, ExpectedTimeoutShrinksFromTryToTry) {
  route->timeout = seconds(1);
  route->retry.attempts = 3;
  route->retry.on = policy::kRetry5xx;
  route->retry.per_try_timeout = milliseconds(400);
  route->retry.backoff_base = route->retry.backoff_max = Duration::zero();
  rig.use(policy);
  EXPECT_THAT(forwarded("x-envoy-expected-rq-timeout-ms: 9\r\nx-envoy-attempt-count: 7\r\n"),
              AllOf(HasSubstr("\r\nx-envoy-expected-rq-timeout-ms: 400\r\n"),
                    HasSubstr("\r\nx-envoy-attempt-count: 1\r\n"), Not(HasSubstr(": 9\r\n")),
                    Not(HasSubstr(": 7\r\n"))));
  rig.advance(milliseconds(400));
  rig.open(rig.upstream(1));
  EXPECT_THAT(rig.take(rig.upstream(1)), AllOf(HasSubstr("x-envoy-expected-rq-timeout-ms: 400\r\n"),
                                               HasSubstr("x-envoy-attempt-count: 2\r\n")));
  rig.advance(milliseconds(400));
  rig.open(rig.upstream(2));
  EXPECT_THAT(rig.take(rig.upstream(2)), AllOf(HasSubstr("x-envoy-expected-rq-timeout-ms: 200\r\n"),
                                               HasSubstr("x-envoy-attempt-count: 3\r\n")));
}

TEST_F(EngineTerms, NothingIsSaidWithoutTimeoutAndRetries) {
  rig.use(policy);
  // The caller's own go on: a proxy before us may have set them.
  const std::string request = forwarded("x-envoy-expected-rq-timeout-ms: 9\r\n");
  EXPECT_THAT(request, HasSubstr("x-envoy-expected-rq-timeout-ms: 9\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("attempt-count")));
}

TEST_F(EngineTerms, CallerAsksForRetries) {
  rig.use(policy);
  forwarded("x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 2\r\n");
  Socket& origin = *rig.upstreams().back();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rig.take(*last_client), "");
    rig.send(origin, kFail);
    rig.advance(milliseconds(250));
  }
  EXPECT_TRUE(rig.take(*last_client).ends_with("down"));
  EXPECT_EQ(rig.counters().upstream_rq_retry, 2U);
}

TEST_F(EngineTerms, CallerKeepsABodyForItsRetries) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client,
           "PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\nx-envoy-retry-on: 5xx\r\n\r\nabc");
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  rig.take(origin);
  rig.send(origin, kFail);
  rig.advance(milliseconds(25));
  EXPECT_TRUE(rig.take(origin).ends_with("\r\n\r\nabc"));
}

TEST_F(EngineTerms, NonsenseIsNoError) {
  route->timeout = seconds(2);
  rig.use(policy);
  const std::string request = forwarded(
      "x-envoy-upstream-rq-timeout-ms: soon\r\nx-envoy-max-retries: many\r\nx-envoy-retry-on: "
      "always\r\n");
  EXPECT_THAT(request, HasSubstr("x-envoy-expected-rq-timeout-ms: 2000\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("soon")));
  rig.send(*rig.upstreams().back(), kOk);
  EXPECT_THAT(rig.take(*last_client), StartsWith("HTTP/1.1 200"));
}

// Clients outside ask for nothing, and say nothing to endpoints or policy in our name.
TEST_F(EngineTerms, FieldsOfClientsOutsideEndAtTheEdge) {
  route->timeout = seconds(2);
  rig.use(policy);
  const std::string request = forwarded(
      "x-envoy-upstream-rq-timeout-ms: 1\r\nX-Envoy-Retry-On: 5xx\r\nx-envoy-max-retries: 5\r\n"
      "x-envoy-expected-rq-timeout-ms: 5\r\nx-envoy-attempt-count: 4\r\nX-NodeCtl-Trace: 1\r\n"
      "x-envoy-fault-abort-request: 500\r\nx-user: 1\r\n",
      false);
  EXPECT_THAT(request, HasSubstr("x-envoy-expected-rq-timeout-ms: 2000\r\n"));
  EXPECT_THAT(request, HasSubstr("x-user: 1\r\n"));
  for (const char* gone : {"upstream-rq", "etry-", "attempt-count", "odeCtl", "fault", ": 5\r\n"}) {
    EXPECT_THAT(request, Not(HasSubstr(gone)));
  }
  rig.send(*rig.upstreams().back(), kFail);
  EXPECT_TRUE(rig.take(*last_client).ends_with("down"));
}

// A rule that matches by such a field means one that was set inside.
class SeesField : public policy::RouteTable {
 public:
  policy::RouteMatch match(const policy::RequestView& request,
                           const policy::CallerView&) const override {
    for (const char* name : {"x-forwarded-for", "forwarded", "x-envoy-internal", "x-nodectl-a"}) {
      const Field* field = find_field(request.fields, name);
      if (field != nullptr) seen.push_back(std::string(name) + "=" + std::string(field->value));
    }
    return {route, 1};
  }
  mutable std::vector<std::string> seen;
  const policy::Route* route = nullptr;
};

TEST_F(EngineTerms, PolicyDoesNotSeeForgedFields) {
  SeesField table;
  table.route = route;
  policy.snapshot->by_address.clear();
  policy.snapshot->listeners.clear();
  policy.capture(kService, &table);
  policy.listen(kBind, &table);
  rig.use(policy);
  const std::string forged =
      "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Envoy-Internal: true\r\n"
      "x-nodectl-a: 1\r\n";
  forwarded(forged, false);
  EXPECT_EQ(table.seen, std::vector<std::string>{"x-forwarded-for=192.0.2.7"});
  table.seen.clear();
  rig.send(*rig.upstreams().back(), kOk);
  forwarded(forged);
  EXPECT_EQ(table.seen, (std::vector<std::string>{"x-forwarded-for=10.0.0.9",
                                                  "x-envoy-internal=true", "x-nodectl-a=1"}));
}

}  // namespace
}  // namespace np::test
