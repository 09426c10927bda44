// SPDX-License-Identifier: Apache-2.0
// RouteRule and DestinationPolicy of config.istio.io, with the project's decisions.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

const std::string kApi = "config.istio.io/v1alpha2";

Loaded route_rule(const std::string& spec) {
  return load(object_of(kApi, "RouteRule", spec));
}
const RouteRule& only_rule(const Loaded& got) {
  return got.model.routes.at(0).http.at(0);
}

TEST(PolicyLoadRouteRule, EveryFieldArrives) {
  Loaded got = route_rule(R"(destination: {name: reviews, namespace: prod}
precedence: 7
match:
  source: {name: productpage, labels: {version: v1}}
  request:
    headers:
      uri: {prefix: /api}
      method: {exact: GET}
      end-user: {regex: "j.*"}
route:
- labels: {version: v1}
  weight: 25
- destination: {service: other.example.com}
  weight: 75
rewrite: {uri: /v2, authority: other}
websocketUpgrade: true
httpReqTimeout: {simpleTimeout: {timeout: 1.5s}}
httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 500ms}}
httpFault:
  delay: {percent: 10.9, fixedDelay: 2s}
  abort: {percent: 0, httpStatus: 503}
mirror: {name: shadow, labels: {version: v9}}
corsPolicy: {allowOrigin: ["*"], allowMethods: [GET, POST], maxAge: 24h, allowCredentials: true}
appendHeaders: {x-a: b}
)");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  const RouteSet& set = got.model.routes[0];
  EXPECT_EQ(set.hosts.at(0), "reviews.prod.svc.cluster.local");
  EXPECT_EQ(set.precedence, 7);
  EXPECT_TRUE(set.tcp.empty());
  const RouteRule& rule = only_rule(got);
  EXPECT_EQ(rule.name, "x");
  const MatchCondition& match = rule.matches.at(0);
  EXPECT_EQ(match.source_host, "productpage.default.svc.cluster.local");
  EXPECT_EQ(match.source_labels.at("version"), "v1");
  EXPECT_EQ(match.path->kind, StringMatch::Kind::kPrefix);
  EXPECT_EQ(match.method->value, "GET");
  EXPECT_EQ(match.headers.at(0).name, "end-user");
  ASSERT_EQ(rule.destinations.size(), 2U);
  EXPECT_EQ(rule.destinations[0].host, set.hosts[0]);
  EXPECT_EQ(rule.destinations[0].weight, 25U);
  EXPECT_EQ(rule.destinations[0].line, 15);
  EXPECT_EQ(rule.destinations[1].host, "other.example.com");
  EXPECT_EQ(rule.rewrite->uri, "/v2");
  EXPECT_TRUE(rule.websocket);
  EXPECT_EQ(rule.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(rule.retry->attempts, 3U);
  EXPECT_EQ(rule.retry->on, kRetry5xx | kRetryConnectFailure | kRetryRefusedStream);
  EXPECT_EQ(rule.fault->delay->per_million, 100'000U);  // the fraction is cut off
  EXPECT_EQ(rule.fault->abort->per_million, 0U);
  EXPECT_EQ(rule.mirrors.at(0).destination.labels.at("version"), "v9");
  EXPECT_EQ(rule.cors->allow_methods, "GET,POST");
  EXPECT_EQ(rule.cors->max_age, std::chrono::hours(24));
  EXPECT_EQ(rule.request_headers.add.at(0).first, "x-a");
}

TEST(PolicyLoadRouteRule, BothSpellingsAreLegalEvenMixed) {
  Loaded got = route_rule(R"(destination: {name: a}
http_req_timeout: {simpleTimeout: {timeout: 2s}}
httpFault: {delay: {fixed_delay: 7.000s, percent: 100}}
)");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  EXPECT_EQ(only_rule(got).timeout, std::chrono::seconds(2));
  EXPECT_EQ(only_rule(got).fault->delay->shape.a, std::chrono::seconds(7));
  got = route_rule("destination: {name: a}\nhttpFault: {}\nhttp_fault: {}\n");
  EXPECT_TRUE(got.says("f.yaml:7: RouteRule default/x: spec.http_fault: ", "given twice"))
      << got.text();
}

TEST(PolicyLoadRouteRule, DefaultsAreNoTimeoutNoRetryAndTheWholeDestination) {
  Loaded got = route_rule("destination: {name: a}\nmatch: {}\n");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  const RouteRule& rule = only_rule(got);
  EXPECT_TRUE(rule.matches.empty());
  EXPECT_FALSE(rule.timeout);  // D5
  EXPECT_EQ(rule.retry->attempts, 0U);
  EXPECT_EQ(rule.destinations.at(0).weight, 100U);
  EXPECT_EQ(got.model.routes[0].tcp.size(), 1U);  // governs TCP ports as well
  // A single entry needs no weight.
  got = route_rule("destination: {name: a}\nroute: [{labels: {version: v1}, weight: 0}]\n");
  EXPECT_EQ(only_rule(got).destinations.at(0).weight, 100U) << got.text();
}

TEST(PolicyLoadRouteRule, D1PercentAbsentMeansHundredAndSaysSo) {
  Loaded got = route_rule(
      "destination: {name: a}\nhttpFault:\n  delay:\n    fixedDelay: 1s\n  abort:\n"
      "    httpStatus: 500\n");
  EXPECT_EQ(only_rule(got).fault->delay->per_million, kPerMillion);
  EXPECT_EQ(only_rule(got).fault->abort->per_million, kPerMillion);
  EXPECT_TRUE(got.says("f.yaml:7: RouteRule default/x: spec.httpFault.delay: warning: ", "D1"));
  EXPECT_TRUE(got.says("f.yaml:9: RouteRule default/x: spec.httpFault.abort: warning: ", "D1"));
}

TEST(PolicyLoadRouteRule, D3RetryWithoutTryTimeoutIsAccepted) {
  Loaded got = route_rule("destination: {name: a}\nhttpReqRetries: {simpleRetry: {attempts: 2}}\n");
  EXPECT_EQ(only_rule(got).retry->attempts, 2U) << got.text();
  EXPECT_EQ(only_rule(got).retry->per_try_timeout, Duration{});
}

TEST(PolicyLoadRouteRule, D7RedirectAnswers301) {
  Loaded got = route_rule("destination: {name: a}\nredirect: {uri: /b, authority: c}\n");
  EXPECT_EQ(only_rule(got).redirect->status, 301);
  EXPECT_EQ(only_rule(got).redirect->path, "/b");
  EXPECT_TRUE(only_rule(got).destinations.empty());
}

TEST(PolicyLoadRouteRule, D12WhatRe2CannotDoIsRefused) {
  auto with = [](const std::string& regex) {
    return route_rule(
        "destination: {name: a}\nmatch:\n  request:\n    headers:\n      x:\n"
        "        regex: '" +
        regex + "'\n");
  };
  const std::string at = "f.yaml:10: RouteRule default/x: spec.match.request.headers.x.regex: ";
  EXPECT_TRUE(with("(?=a)").says(at, "uses look-around"));
  EXPECT_TRUE(with("(a)\\1").says(at, "uses a back-reference")) << with("(a)\\1").text();
  EXPECT_TRUE(with("(a").says(at, "not a legal regular expression"));
  EXPECT_FALSE(has_errors(with("^(.*?;)?(user=jason)(;.*)?$").diagnostics));
}

TEST(PolicyLoadRouteRule, TheUriRegexSeesTheQuery) {
  Loaded got = route_rule(
      "destination: {name: a}\nmatch: {request: {headers: {uri: {regex: '/a[?]b=.*'}}}}\n");
  EXPECT_TRUE(only_rule(got).matches.at(0).path_and_query) << got.text();
  EXPECT_FALSE(only_rule(got).matches.at(0).path);
}

TEST(PolicyLoadRouteRule, TheCookieTrapIsPointedOut) {
  Loaded got = route_rule(
      "destination: {name: a}\nmatch:\n  request:\n    headers:\n"
      "      cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}\n");
  EXPECT_TRUE(got.says("f.yaml:9: RouteRule default/x: spec.match.request.headers.cookie: warning",
                       "blank comes after the semicolon"));
}

TEST(PolicyLoadRouteRule, WeightsMustAddUpToHundred) {
  Loaded got = route_rule("destination: {name: a}\nroute:\n- weight: 50\n- weight: 49\n");
  EXPECT_TRUE(got.says("f.yaml:6: RouteRule default/x: spec.route: ", "found 99; allowed: 100"));
  EXPECT_TRUE(got.model.routes.empty());
  got = route_rule("destination: {name: a}\nroute:\n- weight: 101\n");
  EXPECT_TRUE(got.says("f.yaml:7: RouteRule default/x: spec.route[0].weight: ",
                       "found 101; allowed: 0..100"));
}

TEST(PolicyLoadRouteRule, SeveralErrorsAreListedEachWithItsLine) {
  Loaded got = route_rule(R"(destination:
  name: a
  labels: {v: w}
precedance: 3
route:
- wieght: 50
httpReqTimeout:
  simpleTimeout:
    timeout: 15
httpFault:
  abort:
    httpStatus: abc
    percent: 101
  delay:
    exponentialDelay: 1s
    fixedDelay: 1500us
l4Fault: {terminate: {percent: 1}}
match:
  udp: {}
  request:
    headers:
      User-Agent: {exact: a}
      uri: {exact: ""}
      x: {exact: a, prefix: b}
      y: plain
      z: {}
)");
  const std::string who = " RouteRule default/x: ";
  EXPECT_TRUE(got.says("f.yaml:7:" + who + "spec.destination.labels: ", "not legal here"));
  EXPECT_TRUE(got.says("f.yaml:8:" + who + "spec.precedance: ", "did you mean precedence?"));
  EXPECT_TRUE(got.says("f.yaml:10:" + who + "spec.route[0].wieght: ",
                       "did you mean weight?: found wieght; allowed: destination, labels, weight"));
  EXPECT_TRUE(got.says("f.yaml:13:" + who + "spec.httpReqTimeout.simpleTimeout.timeout: ",
                       "needs a unit: found 15"));
  EXPECT_TRUE(got.says("f.yaml:16:" + who + "spec.httpFault.abort.httpStatus: ", "found abc"));
  EXPECT_TRUE(got.says("f.yaml:17:" + who + "spec.httpFault.abort.percent: ", "allowed: 0..100"));
  EXPECT_TRUE(got.says("f.yaml:19:" + who, "exponential delays are not supported"));
  EXPECT_TRUE(got.says("f.yaml:20:" + who + "spec.httpFault.delay.fixedDelay: ", "found 1500us"));
  EXPECT_TRUE(got.says("f.yaml:21:" + who + "spec.l4Fault: ", "not supported"));
  EXPECT_TRUE(got.says("f.yaml:26:" + who, "lower case: found User-Agent"));
  EXPECT_TRUE(got.says("f.yaml:27:" + who, "must not be empty"));
  EXPECT_TRUE(got.says("f.yaml:28:" + who, "only one of these may be set"));
  EXPECT_TRUE(got.says("f.yaml:29:" + who, "a match is required"));
  EXPECT_TRUE(got.says("f.yaml:30:" + who, "a match is required")) << got.text();
  EXPECT_TRUE(got.model.routes.empty());
  for (size_t i = 1; i < got.diagnostics.size(); ++i) {
    EXPECT_LE(got.diagnostics[i - 1].line, got.diagnostics[i].line);
  }
}

TEST(PolicyLoadRouteRule, RedirectStandsAlone) {
  Loaded got = route_rule(
      "destination: {name: a}\nredirect: {uri: /b}\nroute: [{}]\nhttpFault: {}\n"
      "rewrite: {uri: /}\nwebsocketUpgrade: true\nhttpReqTimeout: {}\n");
  for (int line = 7; line <= 11; ++line) {
    EXPECT_TRUE(got.says("f.yaml:" + std::to_string(line) + ": ", "together with redirect"))
        << line << got.text();
  }
}

TEST(PolicyLoadRouteRule, NamesOfServices) {
  auto error = [](const std::string& destination) {
    return route_rule("destination: " + destination + "\n").text();
  };
  EXPECT_NE(error("{}").find("one of name and service is required"), std::string::npos);
  EXPECT_NE(error("{name: a, service: b}").find("only one of name"), std::string::npos);
  EXPECT_NE(error("{name: a.b}").find("not a short service name"), std::string::npos);
  EXPECT_NE(error("{service: a.b, domain: c}").find("excludes namespace and domain"),
            std::string::npos);
  EXPECT_NE(load(object_of(kApi, "RouteRule", "precedence: 1\n"))
                .text()
                .find("f.yaml:4: RouteRule default/x: spec.destination: is required"),
            std::string::npos);
  EXPECT_EQ(route_rule("destination: {name: a, namespace: b, domain: c.d}\n")
                .model.routes.at(0)
                .hosts.at(0),
            "a.b.svc.c.d");
  EXPECT_EQ(route_rule("destination: {service: x.service.consul}\n").model.routes.at(0).hosts.at(0),
            "x.service.consul");
}

TEST(PolicyLoadRouteRule, IgnoredFieldsDrawAWarning) {
  Loaded got = route_rule(
      "destination: {name: a}\nhttpReqTimeout:\n  simpleTimeout:\n    timeout: 1s\n"
      "    overrideHeaderName: x\n");
  EXPECT_TRUE(
      got.says("f.yaml:9: RouteRule default/x: "
               "spec.httpReqTimeout.simpleTimeout.overrideHeaderName: warning: ",
               "never had an effect"));
  EXPECT_EQ(got.model.routes.size(), 1U);
}

TEST(PolicyLoadRouteRule, TcpConditionsMakeATcpRule) {
  Loaded got =
      route_rule("destination: {name: a}\nmatch: {tcp: {sourceSubnet: [10.0.0.0/8, 10.1.1.1]}}\n");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  EXPECT_TRUE(got.model.routes[0].http.empty());
  EXPECT_EQ(got.model.routes[0].tcp.at(0).matches.at(0).source_subnets.size(), 2U);
  got = route_rule("destination: {name: a}\nmatch:\n  tcp:\n    sourceSubnet: [10.0.0.1/8]\n");
  EXPECT_TRUE(got.says("f.yaml:8: ", "not an address or CIDR block")) << got.text();
}

TEST(PolicyLoadDestinationPolicy, D3DefaultsOfTheBreaker) {
  Loaded got = load(object_of(kApi, "DestinationPolicy",
                              "destination: {name: a, labels: {version: v1}}\n"
                              "loadBalancing: {name: LEAST_CONN}\n"
                              "circuitBreaker: {simpleCb: {httpConsecutiveErrors: 1}}\n"));
  ASSERT_EQ(got.model.destinations.size(), 1U) << got.text();
  const TrafficPolicy& policy = got.model.destinations[0].policy;
  EXPECT_EQ(policy.load_balancing->kind, LoadBalancing::Kind::kLeastRequest);
  EXPECT_EQ(policy.pool->max_connections, 1024U);
  EXPECT_EQ(policy.pool->max_retries, 3U);
  EXPECT_EQ(policy.pool->max_requests_per_connection, 0U);
  EXPECT_EQ(policy.outlier->consecutive_5xx, 1U);
  EXPECT_EQ(policy.outlier->base_ejection_time, std::chrono::seconds(30));
  EXPECT_EQ(policy.outlier->interval, std::chrono::seconds(10));
  EXPECT_EQ(policy.outlier->max_ejection_percent, 10U);
  EXPECT_EQ(policy.outlier->panic_percent, 50U);  // D16
  EXPECT_TRUE(policy.outlier->old_percent_rule);  // D6
  EXPECT_TRUE(got.diagnostics.empty()) << got.text();
}

TEST(PolicyLoadDestinationPolicy, Errors) {
  Loaded got = load(object_of(kApi, "DestinationPolicy",
                              "destination: {name: a}\nsource: {name: b}\n"
                              "loadBalancing: {name: FASTEST}\n"
                              "circuitBreaker:\n  simpleCb:\n    maxConections: 1\n"
                              "    sleepWindow: forever\n"));
  EXPECT_TRUE(got.says("f.yaml:6: DestinationPolicy default/x: spec.source: ", "not supported"));
  EXPECT_TRUE(got.says("f.yaml:7: ", "found FASTEST; allowed: ROUND_ROBIN, LEAST_CONN, RANDOM"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "did you mean maxConnections?"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "not a duration: found forever")) << got.text();
}

}  // namespace
}  // namespace np::policy
