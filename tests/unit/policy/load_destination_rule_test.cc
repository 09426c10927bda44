// SPDX-License-Identifier: Apache-2.0
// DestinationRule of networking.istio.io.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

Loaded rule(const std::string& spec) {
  return load(object_of("networking.istio.io/v1", "DestinationRule", spec));
}
const TrafficPolicy& policy(const Loaded& got) {
  return got.model.destinations.at(0).policy;
}

TEST(PolicyLoadDestinationRule, LoadBalancers) {
  auto kind = [](const std::string& balancer) {
    Loaded got = rule("host: a\ntrafficPolicy: {loadBalancer: " + balancer + "}\n");
    EXPECT_FALSE(has_errors(got.diagnostics)) << got.text();
    return policy(got).load_balancing->kind;
  };
  EXPECT_EQ(kind("{simple: UNSPECIFIED}"), LoadBalancing::Kind::kLeastRequest);
  EXPECT_EQ(kind("{simple: LEAST_CONN}"), LoadBalancing::Kind::kLeastRequest);
  EXPECT_EQ(kind("{simple: ROUND_ROBIN}"), LoadBalancing::Kind::kRoundRobin);
  EXPECT_EQ(kind("{simple: PASSTHROUGH}"), LoadBalancing::Kind::kPassthrough);
  EXPECT_EQ(kind("{consistentHash: {useSourceIp: true}}"), LoadBalancing::Kind::kRingHash);
  EXPECT_EQ(kind("{consistentHash: {httpHeaderName: X, maglev: {}}}"),
            LoadBalancing::Kind::kMaglev);
}

TEST(PolicyLoadDestinationRule, ConsistentHash) {
  Loaded got = rule(
      "host: a\ntrafficPolicy:\n  loadBalancer:\n    consistentHash:\n"
      "      httpCookie: {name: user, path: /, ttl: 0s}\n      ringHash: {minimumRingSize: 64}\n"
      "    warmup: {duration: 30s, minimumPercent: 20, aggression: 1.5}\n");
  const LoadBalancing& balancing = *policy(got).load_balancing;
  EXPECT_EQ(balancing.hash_on, LoadBalancing::HashOn::kCookie) << got.text();
  EXPECT_EQ(balancing.cookie_ttl, Duration{});
  EXPECT_EQ(balancing.minimum_ring_size, 64U);
  EXPECT_EQ(balancing.warmup, std::chrono::seconds(30));
  EXPECT_EQ(balancing.warmup_minimum_percent, 20U);
  got = rule(
      "host: a\ntrafficPolicy:\n  loadBalancer:\n    simple: RANDOM\n    consistentHash:\n"
      "      maglev: {tableSize: 100}\n");
  EXPECT_TRUE(got.says("f.yaml:9: ", "only one of these may be set"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "what to hash is required"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "must be a prime number: found 100")) << got.text();
}

TEST(PolicyLoadDestinationRule, LimitsAndEjection) {
  Loaded got = rule(R"(host: a
trafficPolicy:
  connectionPool:
    tcp:
      maxConnections: 1
      connectTimeout: 250ms
      tcpKeepalive: {probes: 3, time: 60s, interval: 5s}
      idleTimeout: 30s
    http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 5}
  outlierDetection:
    consecutive5xxErrors: 1
    consecutiveGatewayErrors: 2
    interval: 1s
    baseEjectionTime: 3m
    maxEjectionPercent: 100
    minHealthPercent: 20
)");
  const ConnectionPool& pool = *policy(got).pool;
  EXPECT_EQ(pool.max_connections, 1U);
  EXPECT_EQ(pool.connect_timeout, std::chrono::milliseconds(250));
  EXPECT_EQ(pool.tcp_keepalive->probes, 3U);
  EXPECT_EQ(pool.max_pending_requests, 2U);
  EXPECT_EQ(pool.max_retries, kUnlimited);
  EXPECT_EQ(pool.max_requests, 3U);
  EXPECT_EQ(pool.max_requests_per_connection, 5U);
  const Outlier& outlier = *policy(got).outlier;
  EXPECT_EQ(outlier.consecutive_5xx, 1U);
  EXPECT_EQ(outlier.consecutive_gateway_errors, 2U);
  EXPECT_EQ(outlier.max_ejection_percent, 100U);
  EXPECT_EQ(outlier.panic_percent, 20U);
  EXPECT_FALSE(outlier.old_percent_rule);
  EXPECT_TRUE(got.diagnostics.empty()) << got.text();
}

TEST(PolicyLoadDestinationRule, AnEmptyOutlierDetectionHasTheDefaults) {
  Loaded got = rule("host: a\ntrafficPolicy:\n  outlierDetection: {}\n");
  ASSERT_TRUE(policy(got).outlier) << got.text();
  EXPECT_EQ(policy(got).outlier->consecutive_5xx, 5U);
  EXPECT_EQ(policy(got).outlier->panic_percent, 0U);
  EXPECT_FALSE(policy(rule("host: a\ntrafficPolicy: {}\n")).outlier);
}

TEST(PolicyLoadDestinationRule, SubsetsAndPorts) {
  Loaded got = rule(R"(host: a
trafficPolicy:
  portLevelSettings:
  - {port: {number: 80}, loadBalancer: {simple: RANDOM}}
subsets:
- name: v1
  labels: {version: v1}
- name: v2
  labels: {version: v2}
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
)");
  ASSERT_EQ(got.model.destinations.size(), 1U) << got.text();
  EXPECT_EQ(policy(got).ports.at(80)->load_balancing->kind, LoadBalancing::Kind::kRandom);
  ASSERT_EQ(got.model.destinations[0].subsets.size(), 2U);
  EXPECT_EQ(got.model.destinations[0].subsets[1].line, 12);
  EXPECT_EQ(got.model.destinations[0].subsets[1].policy.load_balancing->kind,
            LoadBalancing::Kind::kRoundRobin);
  got = rule("host: a\nsubsets:\n- name: V1\n- name: b\n- name: b\n- labels: {v: 1.0}\n");
  EXPECT_TRUE(got.says("f.yaml:7: ", "not a legal subset name: found V1"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "two subsets have this name: found b"));
  EXPECT_TRUE(got.says("f.yaml:10: DestinationRule default/x: spec.subsets[3].name: ", "missing"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "write it in quotes: found 1.0")) << got.text();
}

TEST(PolicyLoadDestinationRule, TlsIsNeverAcceptedAndIgnored) {
  auto tls = [](const std::string& host, const std::string& mode) {
    return rule("host: " + host + "\ntrafficPolicy:\n  tls:\n    mode: " + mode + "\n");
  };
  Loaded simple = tls("www.example.com", "SIMPLE");
  EXPECT_FALSE(has_errors(simple.diagnostics));
  EXPECT_TRUE(simple.model.destinations.empty());
  EXPECT_TRUE(simple.says("f.yaml:7: DestinationRule default/x: spec: accepted, not yet in effect",
                          "upstream TLS comes in a later version"));
  EXPECT_TRUE(tls("reviews", "SIMPLE").says("f.yaml:8: ", "TLS to a service of the cluster"));
  EXPECT_TRUE(tls("reviews", "ISTIO_MUTUAL").says("f.yaml:8: ", "mutual TLS is refused"));
  EXPECT_TRUE(tls("www.example.com", "MUTUAL").says("f.yaml:8: ", "mutual TLS is refused"));
  EXPECT_TRUE(tls("reviews", "NONE").says("f.yaml:8: ", "not one of the legal values"));
  EXPECT_EQ(tls("reviews", "DISABLE").model.destinations.size(), 1U);
}

TEST(PolicyLoadDestinationRule, RetryBudget) {
  const auto budget = [](const std::string& text) {
    return rule("host: a\ntrafficPolicy:\n  retryBudget: " + text + "\n");
  };
  Loaded got = budget("{percent: 12.5, minRetryConcurrency: 7}");
  ASSERT_EQ(got.model.destinations.size(), 1U) << got.text();
  EXPECT_EQ(got.model.destinations[0].policy.retry_budget, (RetryBudget{12.5, 7}));
  EXPECT_EQ(budget("{}").model.destinations[0].policy.retry_budget, (RetryBudget{20, 3}));
  EXPECT_TRUE(budget("{percent: 101}").says("f.yaml:7: ", "percent"));
}

TEST(PolicyLoadDestinationRule, WhatIsNotSupportedIsRefusedByName) {
  Loaded got = rule(R"(host: a
workloadSelector: {matchLabels: {a: b}}
trafficPolicy:
  tunnel: {targetHost: b}
  proxyProtocol: {version: V1}
  loadBalancer: {localityLbSetting: {failover: []}}
  connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}
  outlierDetection: {consecutiveErrors: 7}
)");
  for (int line : {6, 8, 9, 10, 11}) {
    EXPECT_TRUE(got.says("f.yaml:" + std::to_string(line) + ": ", "supported")) << line << "\n"
                                                                                << got.text();
  }
  EXPECT_TRUE(
      got.says("f.yaml:12: DestinationRule default/x: "
               "spec.trafficPolicy.outlierDetection.consecutiveErrors: warning: ",
               "is ignored"));
}

}  // namespace
}  // namespace np::policy
