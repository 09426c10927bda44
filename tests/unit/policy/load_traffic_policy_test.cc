// SPDX-License-Identifier: Apache-2.0
// TrafficPolicy: every field, what is refused and on which line, and how it meets the other APIs.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

constexpr const char* kOwnApi = "nodeproxy.dev/v1";

Loaded traffic(const std::string& spec) {
  return load(object_of(kOwnApi, "TrafficPolicy", spec));
}

TEST(PolicyLoadTrafficPolicy, EveryField) {
  Loaded got = traffic(R"(host: ratings
subset: v1
limits: {scope: node, mode: shadow, maxConnections: 3, maxPendingRequests: 0, maxRequests: 9,
  maxRetries: 2}
ejection:
  mode: shadow
  consecutive5xx: 0
  consecutiveGatewayErrors: 2
  consecutiveLocalOriginFailures: 4
  successRate: {minimumHosts: 3, requestVolume: 20, stdevFactor: 1.5}
  failurePercentage: {threshold: 60, minimumHosts: 2, requestVolume: 10}
  latency: {percentile: 95, threshold: 250ms, requestVolume: 30, minimumHosts: 1}
  interval: 2s
  baseEjectionTime: 5s
  maxEjectionTime: 1m
  maxEjectionPercent: 50
  minHealthPercent: 25
  halfOpen: true
healthCheck:
  http: {path: /healthz, host: ratings.local, statuses: {from: 200, to: 299}}
  interval: 3s
  timeout: 500ms
  jitterPercent: 20
  unhealthyThreshold: 2
  healthyThreshold: 4
faults:
- name: slow
  match: [{headers: {end-user: {exact: jason}}}]
  delay: {uniform: {min: 0s, max: 2s}, percent: 12.5}
  withinTimeoutAndRetry: true
  for: 10m
- delay: {normal: {mean: 1s, stddev: 200ms}}
  abort: {status: 503, percent: 10}
- delay: {exponential: {mean: 100ms}}
  mode: shadow
- abort: {reset: true}
- bandwidth: {bytesPerSecond: 1000, percent: 50}
)");
  ASSERT_EQ(got.model.traffic.size(), 1U) << got.text();
  EXPECT_TRUE(got.diagnostics.empty()) << got.text();
  const HostTraffic& policy = got.model.traffic[0];
  EXPECT_EQ(policy.host, "ratings.default.svc.cluster.local");
  EXPECT_EQ(policy.subset, "v1");
  EXPECT_TRUE(policy.limits->scope_node);
  EXPECT_TRUE(policy.limits_shadow);
  EXPECT_EQ(policy.limits->max_connections, 3U);
  EXPECT_EQ(policy.limits->max_pending_requests, 0U);
  EXPECT_EQ(policy.limits->max_requests, 9U);
  EXPECT_EQ(policy.limits->max_retries, 2U);
  const Outlier& outlier = *policy.outlier;
  EXPECT_TRUE(outlier.shadow && outlier.half_open && outlier.split_local_origin);
  EXPECT_EQ(outlier.consecutive_5xx, 0U);
  EXPECT_EQ(outlier.success_rate->stdev_factor, 1.5);
  EXPECT_EQ(outlier.failure_percentage->threshold, 60U);
  EXPECT_EQ(outlier.latency->threshold, std::chrono::milliseconds(250));
  EXPECT_EQ(outlier.panic_percent, 25U);
  EXPECT_EQ(policy.health_check->status_to, 299);
  EXPECT_EQ(policy.health_check->healthy_threshold, 4U);
  ASSERT_EQ(policy.faults.size(), 5U);
  EXPECT_EQ(policy.faults[0].fault.delay->shape.kind, DelayShape::Kind::kUniform);
  EXPECT_EQ(policy.faults[0].fault.delay->per_million, 125'000U);
  EXPECT_TRUE(policy.faults[0].fault.within_limits);
  EXPECT_EQ(policy.faults[0].lasts, std::chrono::minutes(10));
  EXPECT_EQ(policy.faults[1].fault.delay->shape.b, std::chrono::milliseconds(200));
  EXPECT_TRUE(policy.faults[2].shadow);
  EXPECT_EQ(policy.faults[3].fault.abort->http_status, 0);
  EXPECT_EQ(policy.faults[4].fault.bandwidth->bytes_per_second, 1000U);
}

TEST(PolicyLoadTrafficPolicy, Errors) {
  Loaded got = traffic(R"(host: ratings
limits: {scope: pod}
ejection: {latency: {percentile: 0}}
healthCheck: {http: {path: healthz}, tcp: {}}
faults:
- name: nothing
- delay: {percent: 10}
- abort: {status: 700}
- abort: {reset: true, status: 503}
- delay: {fixed: 1s, uniform: {min: 1s, max: 2s}}
sticky: {}
latencyEjection: {}
)");
  EXPECT_TRUE(got.model.traffic.empty());
  EXPECT_TRUE(got.says("f.yaml:6: ", "found pod; allowed: caller, node")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:6: ", "limits nothing")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:7: ", "spec.ejection.latency.percentile")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:8: ", "exactly one kind of check")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:8: ", "not a path")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:10: ", "injects nothing")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:11: ", "a distribution is required")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:12: ", "status")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:13: ", "either a status or")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:14: ", "uniform")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:15: ", "tell people apart")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:16: ", "latencyEjection")) << got.text();
}

TEST(PolicyLoadTrafficPolicy, ASplitIsOfTheWholeHost) {
  Loaded got = traffic("host: a\nsubset: v1\nsticky: {cookie: user}\n");
  EXPECT_TRUE(got.says("f.yaml:7: ", "not legal together with subset")) << got.text();
}

TEST(PolicyLoadTrafficPolicy, AccelerationIsAskedForByName) {
  for (const char* none : {"host: a\n", "host: a\nacceleration: none\n"}) {
    Loaded got = traffic(none);
    ASSERT_EQ(got.model.traffic.size(), 1U);
    EXPECT_FALSE(got.model.traffic[0].asks_acceleration);
    EXPECT_TRUE(got.diagnostics.empty()) << got.text();
  }
  Loaded got = traffic("host: a\nacceleration: sockmap\n");
  ASSERT_EQ(got.model.traffic.size(), 1U) << got.text();
  EXPECT_TRUE(got.model.traffic[0].asks_acceleration);
  EXPECT_TRUE(got.says("f.yaml:6: ", "no data path is built yet")) << got.text();
}

TEST(PolicyLoadTrafficPolicy, AccelerationIsOfTheWholeHost) {
  Loaded wrong = traffic("host: a\nacceleration: xdp\n");
  EXPECT_TRUE(wrong.says("f.yaml:6: ", "found xdp; allowed: none, sockmap")) << wrong.text();
  for (const char* narrowed : {"subset: v1", "labels: {version: v1}"}) {
    Loaded got = traffic(std::string("host: a\nacceleration: sockmap\n") + narrowed + "\n");
    EXPECT_TRUE(got.model.traffic.empty());
    EXPECT_TRUE(got.says("f.yaml:6: ", "not legal together with subset")) << got.text();
  }
}

TEST(PolicyLoadTrafficPolicy, TheExamplesLoad) {
  size_t count = 0;
  for (const auto& file : std::filesystem::directory_iterator(NP_SOURCE_DIR "/policy/examples")) {
    if (!file.path().filename().string().starts_with("traffic-policy")) continue;
    std::ifstream stream(file.path());
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    Loaded got = load(text);
    EXPECT_EQ(got.model.traffic.size(), 1U) << file.path() << got.text();
    EXPECT_TRUE(got.diagnostics.empty()) << got.text();
    ++count;
  }
  EXPECT_EQ(count, 3U);
}

}  // namespace
}  // namespace np::policy
