// SPDX-License-Identifier: Apache-2.0
// VirtualService of networking.istio.io.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

// A VirtualService for host `a` whose HTTP routes start on line 7.
Loaded http(const std::string& routes) {
  return load(
      object_of("networking.istio.io/v1", "VirtualService", "hosts: [a]\nhttp:\n" + routes));
}
const RouteRule& first(const Loaded& got) {
  return got.model.routes.at(0).http.at(0);
}
const std::string kRoute = "  route: [{destination: {host: a}}]\n";

TEST(PolicyLoadVirtualService, ObjectLevelFields) {
  Loaded got = load(object_of("networking.istio.io/v1beta1", "VirtualService",
                              "hosts: [reviews, www.example.com, \"*.example.org\"]\n"
                              "gateways: [mesh, edge, infra/edge]\nexportTo: [\".\", prod]\n"
                              "http: [{route: [{destination: {host: reviews}}]}]\n"),
                    "prod");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  const RouteSet& set = got.model.routes[0];
  EXPECT_EQ(set.hosts, (std::vector<std::string>{"reviews.prod.svc.cluster.local",
                                                 "www.example.com", "*.example.org"}));
  EXPECT_EQ(set.gateways, (std::vector<std::string>{"mesh", "prod/edge", "infra/edge"}));
  EXPECT_EQ(set.export_to, (std::vector<std::string>{".", "prod"}));
  EXPECT_EQ(http("- name: n\n" + kRoute).model.routes.at(0).gateways.at(0), "mesh");
  EXPECT_EQ(first(http("- name: n\n" + kRoute)).name, "n");
}

TEST(PolicyLoadVirtualService, Conditions) {
  Loaded got = http(R"(- match:
  - name: m
    uri: {prefix: /Foo}
    ignoreUriCase: true
    scheme: {exact: http}
    headers: {X-One: {}, x-two: {regex: "*"}, x-three: {prefix: ""}}
    withoutHeaders: {x-four: {exact: b}}
    queryParams: {q: {}, Q: {exact: "1"}}
    port: 8080
    sourceLabels: {app: b}
    sourceNamespace: prod
    gateways: [edge]
  - method: {exact: GET}
)" + kRoute);
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  ASSERT_EQ(first(got).matches.size(), 2U);
  const MatchCondition& match = first(got).matches[0];
  EXPECT_TRUE(match.path->ignore_case);
  ASSERT_EQ(match.headers.size(), 3U);
  EXPECT_EQ(match.headers[0].name, "x-one");
  EXPECT_EQ(match.headers[0].match.kind, StringMatch::Kind::kPresent);
  EXPECT_EQ(match.headers[1].match.kind, StringMatch::Kind::kPresent);
  EXPECT_EQ(match.headers[2].match.kind, StringMatch::Kind::kPrefix);
  EXPECT_EQ(match.query_params.at(1).name, "Q");
  EXPECT_EQ(match.port, 8080);
  EXPECT_EQ(match.gateways.at(0), "default/edge");
  EXPECT_EQ(match.source_namespace, "prod");
}

TEST(PolicyLoadVirtualService, RetriesAreOnByDefault) {
  Loaded got = http("- name: n\n" + kRoute);
  EXPECT_EQ(first(got).retry->attempts, 2U);
  EXPECT_EQ(first(got).retry->on, kRetryConnectFailure | kRetryRefusedStream |
                                      kRetryGrpcUnavailable | kRetryGrpcCancelled);
  EXPECT_FALSE(first(got).timeout);
  got = http("- retries: {attempts: 0}\n" + kRoute);
  EXPECT_EQ(first(got).retry->attempts, 0U) << got.text();
  got = http("- retries: {attempts: 0, perTryTimeout: 1s}\n" + kRoute);
  EXPECT_TRUE(got.says("f.yaml:7: VirtualService default/x: spec.http[0].retries.perTryTimeout: ",
                       "must stand alone"));
}

TEST(PolicyLoadVirtualService, RetryOn) {
  Loaded got = http(
      "- retries:\n    attempts: 3\n    retryOn: gateway-error, reset,503,429\n"
      "    backoff: 100ms\n    retryIgnorePreviousHosts: false\n" +
      kRoute);
  const Retry& retry = *first(got).retry;
  EXPECT_EQ(retry.on, kRetryGatewayError | kRetryReset | kRetryStatusCodes) << got.text();
  EXPECT_EQ(retry.status_codes, (std::vector<uint16_t>{503, 429}));
  EXPECT_EQ(retry.backoff_base, std::chrono::milliseconds(100));
  EXPECT_EQ(retry.backoff_max, std::chrono::seconds(1));
  EXPECT_FALSE(retry.avoid_previous_hosts);
  got = http("- retries:\n    attempts: 1\n    retryOn: 5xx,whatever\n" + kRoute);
  EXPECT_TRUE(got.says("f.yaml:9: VirtualService default/x: spec.http[0].retries.retryOn: ",
                       "found whatever; allowed: 5xx, gateway-error"));
}

TEST(PolicyLoadVirtualService, D1PercentageAbsentMeansNone) {
  Loaded got = http("- fault:\n    abort: {httpStatus: 500}\n" + kRoute);
  EXPECT_EQ(first(got).fault->abort->per_million, 0U);
  EXPECT_TRUE(got.says("f.yaml:8: VirtualService default/x: spec.http[0].fault.abort: warning: ",
                       "means 0 here (D1)"));
  got = http("- fault: {delay: {fixedDelay: 1s, percent: 5}}\n" + kRoute);
  EXPECT_EQ(first(got).fault->delay->per_million, 50'000U);
  got = http("- fault: {delay: {fixedDelay: 1s, percentage: {value: 0.0001}}}\n" + kRoute);
  EXPECT_EQ(first(got).fault->delay->per_million, 1U);
  got = http("- fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}\n" + kRoute);
  EXPECT_TRUE(got.says("f.yaml:7: ", "finer than the step"));
  got = http("- fault: {abort: {grpcStatus: UNAVAILABLE}}\n" + kRoute);
  EXPECT_TRUE(got.says("f.yaml:7: ", "use httpStatus"));
}

TEST(PolicyLoadVirtualService, Destinations) {
  Loaded got = http(R"(- route:
  - destination: {host: a, subset: v1, port: {number: 9080}}
    weight: 90
    headers: {request: {set: {X-A: b}, remove: [c]}, response: {add: {d: e}}}
  - destination: {host: b.other.svc}
    weight: 10
  mirror: {host: c}
  mirrorPercentage: {value: 12.5}
)");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  const RouteRule& rule = first(got);
  EXPECT_EQ(rule.destinations.at(0).subset, "v1");
  EXPECT_EQ(rule.destinations[0].port, 9080);
  EXPECT_EQ(rule.destinations[0].request_headers.set.at(0).first, "x-a");
  EXPECT_EQ(rule.destinations[0].response_headers.add.at(0).second, "e");
  EXPECT_EQ(rule.destinations.at(1).host, "b.other.svc.cluster.local");
  EXPECT_EQ(rule.mirrors.at(0).per_million, 125'000U);
  got = http("- route: [{destination: {host: a}}, {destination: {host: b}}]\n");
  EXPECT_TRUE(got.says("f.yaml:7: VirtualService default/x: spec.http[0].route: ", "weight above"));
}

TEST(PolicyLoadVirtualService, RedirectDirectResponseRewriteCors) {
  Loaded got = http(R"(- match: [{uri: {exact: /r}}]
  redirect: {prefixRewrite: /s, scheme: https, redirectCode: 308, derivePort: FROM_REQUEST_PORT}
- match: [{uri: {exact: /d}}]
  directResponse: {status: 418, body: {bytes: aGVsbG8=}}
- route: [{destination: {host: a}}]
  rewrite: {uriRegexRewrite: {match: '^/(.)(.*)', rewrite: '/\2/\1'}, authority: b}
  corsPolicy:
    allowOrigins: [{regex: ".*[.]example[.]com"}, {exact: "*"}]
    exposeHeaders: [x, y]
    maxAge: 10s
    unmatchedPreflights: IGNORE
)");
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  const auto& rules = got.model.routes[0].http;
  EXPECT_EQ(rules.at(0).redirect->status, 308);
  EXPECT_EQ(rules[0].redirect->derive_port, Redirect::DerivePort::kFromRequestPort);
  EXPECT_EQ(rules.at(1).direct_response->body, "hello");
  EXPECT_EQ(rules.at(2).rewrite->regex_substitution, "/\\2/\\1");
  EXPECT_EQ(rules[2].cors->allow_origins.size(), 2U);
  EXPECT_EQ(rules[2].cors->expose_headers, "x,y");
  EXPECT_FALSE(rules[2].cors->forward_unmatched_preflights);
  EXPECT_EQ(first(http("- redirect: {uri: /}\n")).redirect->status, 301);  // D7
}

TEST(PolicyLoadVirtualService, TheHostHeaderIsARewrite) {
  Loaded got = http("- headers: {request: {set: {Host: b.example.com}}}\n" + kRoute);
  EXPECT_EQ(first(got).rewrite->authority, "b.example.com") << got.text();
  got = http("- headers: {request: {set: {\":authority\": b}}}\n  rewrite: {authority: c}\n" +
             kRoute);
  EXPECT_TRUE(got.says("f.yaml:7: ", "set here and in rewrite.authority")) << got.text();
}

TEST(PolicyLoadVirtualService, HeaderRulesThatWouldBreakFramingAreRefused) {
  Loaded got = http(
      "- headers:\n    request:\n      set:\n        Content-Length: \"0\"\n"
      "        a b: c\n        x: \"%REQ(y)%\"\n        z: \"a\\r\\nb: c\"\n" +
      kRoute);
  EXPECT_TRUE(got.says("f.yaml:10: ", "belongs to the proxy"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "not a legal header name"));
  EXPECT_TRUE(got.says("f.yaml:12: ", "substitutions are not supported"));
  EXPECT_TRUE(got.says("f.yaml:13: ", "control character")) << got.text();
}

TEST(PolicyLoadVirtualService, ActionsExcludeEachOther) {
  EXPECT_TRUE(http("- match: [{port: 80}]\n").says("f.yaml:7: ", "an action is required"));
  EXPECT_TRUE(http("- redirect: {uri: /}\n" + kRoute)
                  .says("f.yaml:7: VirtualService default/x: spec.http[0].redirect: ",
                        "only one of these may be set"));
  EXPECT_TRUE(http("- redirect: {uri: /}\n  timeout: 1s\n").says("f.yaml:8: ", "with route"));
  EXPECT_TRUE(http("- mirror: {host: a}\n  mirrors: []\n" + kRoute).diagnostics.size() == 1);
  EXPECT_TRUE(http("- delegate: {name: b}\n" + kRoute).says("f.yaml:7: ", "later version"));
}

TEST(PolicyLoadVirtualService, Errors) {
  Loaded got = http(R"(- match:
  - uri: {prefix: ""}
  - uri: {regex: '(?!x)'}
  - uri: {prefix: /a, exact: /b}
  - headers: {"a b": {exact: c}}
  - ur: {exact: /}
  -
  route:
  - destination: {host: "*.b"}
    weigth: 1
  - destination: {subset: v1}
  timeout: 0.5ms
  fault: {delay: {percentage: {value: 100}}}
  rewrite: {uriRegexRewrite: {match: "a", rewrite: "\\1"}}
  corsPolicy: {allowOrigins: [a]}
)");
  EXPECT_TRUE(got.says("f.yaml:8: ", "must not be empty"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "look-around"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "only one of these"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "not a legal header name"));
  EXPECT_TRUE(got.says("f.yaml:12: VirtualService default/x: spec.http[0].match[4].ur: ",
                       "did you mean uri?"));
  EXPECT_TRUE(got.says("f.yaml:", "spec.http[0].match[5]: a match with at least"));
  EXPECT_TRUE(got.says("f.yaml:15: ", "not a legal host: found *.b"));
  EXPECT_TRUE(got.says("f.yaml:16: ", "did you mean weight?"));
  EXPECT_TRUE(got.says("f.yaml:17: ", "destination.host: is required"));
  EXPECT_TRUE(got.says("f.yaml:18: ", "found 0.5ms"));
  EXPECT_TRUE(got.says("f.yaml:19: ", "fixedDelay: is required"));
  EXPECT_TRUE(got.says("f.yaml:20: ", "does not fit the regular expression"));
  EXPECT_TRUE(got.says("f.yaml:21: ", "a match is required")) << got.text();
}

TEST(PolicyLoadVirtualService, SnakeCaseIsNotTodaysSpelling) {
  Loaded got = http("- direct_response: {status: 200}\n");
  EXPECT_TRUE(got.says("f.yaml:7: ", "did you mean directResponse?")) << got.text();
}

TEST(PolicyLoadVirtualService, HostRules) {
  auto hosts = [](const std::string& text) {
    return load(object_of("networking.istio.io/v1", "VirtualService",
                          text + "http: [{route: [{destination: {host: a}}]}]\n"));
  };
  EXPECT_TRUE(hosts("hosts: ['*']\n").says("f.yaml:5: ", "only on gateways"));
  EXPECT_TRUE(hosts("hosts: ['*']\ngateways: [g]\n").model.routes.size() == 1);
  EXPECT_TRUE(hosts("hosts: [a, a.default.svc.cluster.local]\n").says("f.yaml:5: ", "given twice"));
  EXPECT_TRUE(hosts("hosts: []\n").says("f.yaml:5: ", "at least one host"));
  EXPECT_TRUE(hosts("gateways: [mesh]\n").says("f.yaml:4: ", "spec.hosts: is required"));
  EXPECT_TRUE(hosts("hosts: ['-a']\n").says("f.yaml:5: ", "not a legal host"));
}

TEST(PolicyLoadVirtualService, TcpActsAndTlsIsRefused) {
  Loaded got = load(object_of("networking.istio.io/v1", "VirtualService",
                              "hosts: [a]\ntcp:\n- match: [{port: 3306, sourceLabels: {x: y}, "
                              "destinationSubnets: [10.0.0.0/8]}]\n"
                              "  route: [{destination: {host: b, port: {number: 3307}}}]\n"));
  ASSERT_EQ(got.model.routes.size(), 1U) << got.text();
  EXPECT_EQ(got.model.routes[0].tcp.at(0).destinations.at(0).port, 3307);
  EXPECT_EQ(got.model.routes[0].tcp[0].matches.at(0).destination_subnets.size(), 1U);
  got = load(object_of("networking.istio.io/v1", "VirtualService", "hosts: [a]\ntls: [{}]\n"));
  EXPECT_TRUE(got.says("f.yaml:6: VirtualService default/x: spec.tls: ", "later version"));
}

TEST(PolicyLoadVirtualService, ACatchAllInFrontIsPointedOut) {
  Loaded got = http("- name: all\n" + kRoute + "- match: [{uri: {exact: /x}}]\n" + kRoute);
  EXPECT_TRUE(got.says("f.yaml:7: VirtualService default/x: spec.http[0]: warning: ",
                       "takes every request"));
  EXPECT_FALSE(has_errors(got.diagnostics));
}

}  // namespace
}  // namespace np::policy
