// SPDX-License-Identifier: Apache-2.0
// RateLimit of nodeproxy.dev/v1: what is read, and what is said about mistakes.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

const std::string kLimitApi = "nodeproxy.dev/v1";

Loaded load_limit(const std::string& spec) {
  return load(object_of(kLimitApi, "RateLimit", spec), "shop");
}

TEST(PolicyLoadRateLimit, Everything) {
  const Loaded got = load_limit(
      "services:\n- host: web\n- {host: \"*.example.com\", labels: {version: v2}}\nmode: shadow\n"
      "rules:\n- name: per-user\n  match:\n  - uri: {prefix: /api}\n    method: {exact: POST}\n"
      "    cookies: {Session: {}, tier: {exact: free}}\n    sourceService: front\n"
      "  - headers: {X-Tier: {exact: free}}\n"
      "  countBy:\n  - header: X-User\n  - cookie: Session\n  - caller: pod\n  - callerLabel: app\n"
      "  - destinationLabel: version\n  - request: path\n  cost: 5\n"
      "  windows:\n  - {requests: 10, per: 1s}\n  - {requests: 100, per: 1m}\n"
      "  bucket: {requests: 3, per: 1s, burst: 20}\n");
  ASSERT_EQ(got.model.rate_limits.size(), 1U) << got.text();
  EXPECT_EQ(got.text(), "");
  const RateLimit& limit = got.model.rate_limits[0];
  EXPECT_TRUE(limit.is_shadow);
  ASSERT_EQ(limit.services.size(), 2U);
  EXPECT_EQ(limit.services[0].host, "web.shop.svc.cluster.local");
  EXPECT_EQ(limit.services[1].host, "*.example.com");
  EXPECT_EQ(limit.services[1].labels, (Labels{{"version", "v2"}}));
  const RateLimit::Rule& rule = limit.rules.at(0);
  EXPECT_EQ(rule.name, "per-user");
  EXPECT_EQ(rule.cost, 5);
  ASSERT_EQ(rule.matches.size(), 2U);
  EXPECT_EQ(rule.matches[0].condition.path->value, "/api");
  EXPECT_EQ(rule.matches[0].condition.source_host, "front.shop.svc.cluster.local");
  ASSERT_EQ(rule.matches[0].cookies.size(), 2U);
  EXPECT_EQ(rule.matches[0].cookies[0].name, "Session");
  EXPECT_EQ(rule.matches[0].cookies[0].match.kind, StringMatch::Kind::kPresent);
  EXPECT_EQ(rule.matches[1].condition.headers.at(0).name, "x-tier");
  const char* expected[] = {"request.headers[\"x-user\"]",
                            "request.cookies[\"Session\"]",
                            "source.uid | \"\"",
                            "source.labels[\"app\"] | \"\"",
                            "destination.labels[\"version\"] | \"\"",
                            "request.url_path"};
  ASSERT_EQ(rule.count_by.size(), std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(rule.count_by[i].text(), expected[i]);
  ASSERT_EQ(rule.limits.size(), 3U);
  EXPECT_EQ(rule.limits[0].amount, 10);
  EXPECT_EQ(rule.limits[1].window.length, std::chrono::minutes(1));
  EXPECT_EQ(rule.limits[2].amount, 20);
  EXPECT_EQ(rule.limits[2].window.kind, QuotaWindow::Kind::kBucket);
  EXPECT_EQ(rule.limits[2].window.tick, Duration(333'333'334));  // never faster than asked for
}

TEST(PolicyLoadRateLimit, MistakesNamePlaceAndRemedy) {
  Loaded got = load_limit("services: []\nrules: []\nmode: dry\n");
  EXPECT_TRUE(got.says("f.yaml:5: RateLimit shop/x: spec.services: ", "at least one service"));
  EXPECT_TRUE(got.says("f.yaml:6: RateLimit shop/x: spec.rules: ", "at least one rule"));
  EXPECT_TRUE(got.says("f.yaml:7: RateLimit shop/x: spec.mode: ", "allowed: enforce, shadow"))
      << got.text();
  got = load_limit(
      "services: [{host: web}]\nrules:\n- name: a\n- {name: a, windows: [{requests: 1, per: 1s}]}\n"
      "- {name: b, windows: [{requests: 1, per: 150ms}, {requests: -1, per: 1s}, {per: 1s}]}\n"
      "- {name: c, windows: [{requests: 1, per: 1s}, {requests: 2, per: 1000ms}]}\n"
      "- {name: D!, windows: [{requests: 1, per: 1s}]}\n"
      "- {windows: [{requests: 1, per: 1s}]}\n");
  EXPECT_TRUE(got.says("f.yaml:7: RateLimit shop/x: spec.rules[0]: limits nothing", "windows"));
  EXPECT_TRUE(got.says("f.yaml:8: RateLimit shop/x: spec.rules[1].name: ", "two rules"));
  EXPECT_TRUE(got.says("f.yaml:9: RateLimit shop/x: spec.rules[2].windows[0].per: ", "100ms"));
  EXPECT_TRUE(got.says("f.yaml:9: RateLimit shop/x: spec.rules[2].windows[1].requests: ", "-1"));
  EXPECT_TRUE(
      got.says("f.yaml:9: RateLimit shop/x: spec.rules[2].windows[2].requests: ", "missing"));
  EXPECT_TRUE(got.says("f.yaml:10: RateLimit shop/x: spec.rules[3].windows[1]: ", "this length"));
  EXPECT_TRUE(got.says("f.yaml:11: RateLimit shop/x: spec.rules[4].name: ", "found D!"));
  EXPECT_TRUE(got.says("f.yaml:12: RateLimit shop/x: spec.rules[5].name: ", "missing"))
      << got.text();
}

TEST(PolicyLoadRateLimit, WhatToCountBy) {
  const Loaded got = load_limit(
      "services: [{host: web}]\nrules:\n- name: a\n  windows: [{requests: 1, per: 1s}]\n  "
      "countBy:\n"
      "  - {header: a, cookie: b}\n  - {}\n  - jwtClaim: sub\n  - caller: user\n"
      "  - callerLabel: 'a\"b'\n  - header: 'a b'\n  - {hedder: a}\n");
  EXPECT_TRUE(got.says("f.yaml:10: ", "only one of these may be set")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:11: ", "does not say what to count by"));
  EXPECT_TRUE(got.says("f.yaml:12: RateLimit shop/x: spec.rules[0].countBy[2].jwtClaim: ",
                       "tokens are not verified yet"));
  EXPECT_TRUE(got.says("f.yaml:13: ", "allowed: pod, service, namespace, ip"));
  EXPECT_TRUE(got.says("f.yaml:14: ", "not a legal label name"));
  EXPECT_TRUE(got.says("f.yaml:15: ", "not a legal name"));
  EXPECT_TRUE(got.says("f.yaml:16: ", "header?"));
}

TEST(PolicyLoadRateLimit, MatchesAndBuckets) {
  Loaded got = load_limit(
      "services: [{host: web}]\nrules:\n- name: a\n  windows: [{requests: 3, per: 1s}]\n  cost: 4\n"
      "  match:\n  - {}\n  - gateways: [front]\n  - uri: {prefix: ''}\n");
  EXPECT_TRUE(got.says("f.yaml:9: RateLimit shop/x: spec.rules[0].cost: ", "every request"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "at least one condition"));
  EXPECT_TRUE(got.says("f.yaml:12: ", "a limit acts on the called service"));
  EXPECT_TRUE(got.says("f.yaml:13: RateLimit shop/x: spec.rules[0].match[2].uri", ""));
  got = load_limit(
      "services: [{host: web}]\nrules:\n- {name: a, bucket: {requests: 1, per: 1h, burst: 9000}}\n"
      "- {name: b, bucket: {requests: 0, per: 1s}}\n- {name: c, bucket: {requests: 5, per: 1s}}\n");
  EXPECT_TRUE(got.says("f.yaml:7: ", "more than a year")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:8: ", "found 0"));
  got =
      load_limit("services: [{host: web}]\nrules:\n- {name: c, bucket: {requests: 5, per: 1s}}\n");
  EXPECT_EQ(got.model.rate_limits.at(0).rules.at(0).limits.at(0).amount, 5);
}

TEST(PolicyLoadRateLimit, TheExamplesLoad) {
  std::ifstream file(std::string(NP_SOURCE_DIR) + "/policy/examples/rate-limits.yaml");
  ASSERT_TRUE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  const Loaded got = load(text.str());
  EXPECT_EQ(got.text(), "");
  EXPECT_GE(got.model.rate_limits.size(), 4U);
}

}  // namespace
}  // namespace np::policy
