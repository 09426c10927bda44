// SPDX-License-Identifier: Apache-2.0
// Every published sample and the lab's own text load unchanged.
#include <filesystem>

#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

std::vector<std::string> all_samples() {
  std::vector<std::string> out;
  std::filesystem::path root = std::string(NP_SOURCE_DIR) + "/tests/support/samples";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".yaml") {
      out.push_back(std::filesystem::relative(entry.path(), root).string());
    }
  }
  return out;
}

TEST(PolicyLoadSamples, AllLoadWithoutErrors) {
  std::vector<std::string> samples = all_samples();
  EXPECT_EQ(samples.size(), 26U);
  for (const std::string& path : samples) {
    Loaded got = load(read_sample(path), "istio-system");
    EXPECT_FALSE(got.objects.empty()) << path;
    EXPECT_FALSE(has_errors(got.diagnostics)) << path << "\n" << got.text();
  }
}

TEST(PolicyLoadSamples, EachStoredTextLoadsToTheSameModel) {
  for (const std::string& path : all_samples()) {
    Loaded first = load(read_sample(path));
    Diagnostics again;
    std::vector<Object> objects;
    for (const Object& object : first.objects) {
      for (Object& stored : parse(object.text, again)) objects.push_back(std::move(stored));
    }
    Model model = load_model(objects, again);
    EXPECT_FALSE(has_errors(again)) << path;
    EXPECT_EQ(objects.size(), first.objects.size()) << path;
    EXPECT_EQ(model.routes.size(), first.model.routes.size()) << path;
    EXPECT_EQ(model.destinations.size(), first.model.destinations.size()) << path;
  }
}

TEST(PolicyLoadSamples, AllOfTheOldApiTogether) {
  Diagnostics diagnostics;
  std::vector<Object> objects;
  uint64_t sequence = 0;
  for (const char* name : {"route-rule-all-v1", "route-rule-reviews-test-v2",
                           "route-rule-ratings-test-delay", "destination-policy-reviews"}) {
    std::string text = read_sample("istio-v1alpha2/" + std::string(name) + ".yaml");
    for (Object& object : parse(text, diagnostics)) {
      object.sequence = ++sequence;
      objects.push_back(std::move(object));
    }
  }
  Model model = load_model(objects, diagnostics);
  EXPECT_FALSE(has_errors(diagnostics));
  ASSERT_EQ(model.routes.size(), 6U);
  EXPECT_EQ(model.routes[4].hosts.at(0), "reviews.default.svc.cluster.local");
  EXPECT_EQ(model.routes[4].precedence, 2);
  const RouteRule& delayed = model.routes[5].http.at(0);
  EXPECT_EQ(delayed.fault->delay->shape.a, std::chrono::seconds(7));
  EXPECT_EQ(delayed.fault->delay->per_million, kPerMillion);
  EXPECT_EQ(delayed.matches.at(0).headers.at(0).match.value, "^(.*?;)?(user=jason)(;.*)?$");
  ASSERT_EQ(model.destinations.size(), 1U);
  EXPECT_EQ(model.destinations[0].policy.load_balancing->kind, LoadBalancing::Kind::kRandom);
}

TEST(PolicyLoadSamples, OriginatedTlsIsAcceptedAndNotInEffect) {
  Loaded got = load(read_sample("istio-networking/egress-rule-google-apis.yaml"));
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  const Service& service = got.model.services[0];
  EXPECT_EQ(service.host, "www.googleapis.com");
  EXPECT_EQ(service.resolution, Service::Resolution::kDns);
  EXPECT_EQ(service.ports.at(1).protocol, Protocol::kHttps);
  EXPECT_TRUE(got.model.destinations.empty());
  EXPECT_TRUE(got.says("f.yaml:45: DestinationRule default/originate-tls-for-googleapis: spec: ",
                       "not yet in effect: upstream TLS comes in a later version"))
      << got.text();
  // The rule that sends plain requests to port 443 relies on it and is set aside as well.
  EXPECT_TRUE(got.model.routes.empty());
  EXPECT_TRUE(got.says("f.yaml:25: VirtualService default/rewrite-port-for-googleapis: ",
                       "not yet in effect"))
      << got.text();

  got = load(read_sample("istio-v1alpha2/egress-rule-google-apis.yaml"));
  EXPECT_TRUE(got.model.services.empty());
  EXPECT_TRUE(got.says("f.yaml:5: EgressRule default/gooleapis: spec: ", "originate TLS"));
}

TEST(PolicyLoadSamples, MixerObjects) {
  for (const char* name :
       {"mixer-rule-ratings-ratelimit.yaml", "mixer-rule-ratings-ratelimit.0.4.0.yaml"}) {
    const Loaded got = load(read_sample(std::string("istio-v1alpha2/") + name));
    EXPECT_EQ(got.text(), "") << name;
    const MixerModel& mixer = got.model.mixer;
    ASSERT_EQ(mixer.quota_handlers.size(), 1U);
    const QuotaHandler::Limit& limit = mixer.quota_handlers[0].limits.at(0);
    EXPECT_EQ(limit.instance, "requestcount.quota.istio-system");
    EXPECT_EQ(limit.max_amount, 5000);
    EXPECT_EQ(limit.window.kind, QuotaWindow::Kind::kRolling);
    EXPECT_EQ(limit.window.length, std::chrono::seconds(1));
    EXPECT_EQ(limit.overrides.at(0).max_amount, 1);
    EXPECT_EQ(limit.overrides.at(1).dimensions.size(), 1U);
    ASSERT_EQ(mixer.quota_instances.size(), 1U);
    EXPECT_EQ(mixer.quota_instances[0].dimensions.size(), 4U);
    ASSERT_EQ(mixer.rules.size(), 1U);
    EXPECT_FALSE(mixer.rules[0].match);
    EXPECT_EQ(mixer.rules[0].actions.at(0).handler, "handler.memquota");
  }
  const Loaded bound = load(read_sample("istio-v1alpha2/mixer-rule-ratings-ratelimit.yaml"));
  EXPECT_EQ(bound.model.mixer.quota_specs.at(0).rules.at(0).charges.at(0).quota, "RequestCount");
  EXPECT_EQ(bound.model.mixer.quota_spec_bindings.at(0).services.size(), 4U);
  EXPECT_EQ(bound.model.mixer.quota_spec_bindings.at(0).services[0].host,
            "ratings.istio-system.svc.cluster.local");
  const Loaded denial = load(read_sample("istio-v1alpha2/mixer-rule-ratings-denial.yaml"));
  EXPECT_EQ(denial.text(), "");
  EXPECT_EQ(denial.model.mixer.deniers.at(0).code, 7);
  EXPECT_EQ(denial.model.mixer.deniers.at(0).message, "Not allowed");
  EXPECT_EQ(denial.model.mixer.check_nothings.size(), 1U);
  EXPECT_EQ(denial.model.mixer.rules.at(0).match->text(), "request.headers[\"x-user\"] == \"\"");
}

TEST(PolicyLoadSamples, TheLabsCircuitBreakerIsPastedWithIndentation) {
  std::string text = R"(
    apiVersion: config.istio.io/v1alpha2
    kind: DestinationPolicy
    metadata:
      name: ratings-cb
    spec:
      destination:
        name: ratings
        labels:
          version: v1
      circuitBreaker:
        simpleCb:
          maxConnections: 1            # *
          httpMaxPendingRequests: 1    # *
          httpConsecutiveErrors: 1
          sleepWindow: 15m
          httpDetectionInterval: 10s
          httpMaxEjectionPercent: 100
)";
  Loaded got = load(text, "istio-system");
  ASSERT_EQ(got.model.destinations.size(), 1U) << got.text();
  const DestinationPolicy& policy = got.model.destinations[0];
  EXPECT_EQ(policy.host, "ratings.istio-system.svc.cluster.local");
  EXPECT_EQ(policy.labels.at("version"), "v1");
  EXPECT_EQ(policy.policy.pool->max_connections, 1U);
  EXPECT_EQ(policy.policy.pool->max_requests, 1024U);
  EXPECT_EQ(policy.policy.outlier->base_ejection_time, std::chrono::minutes(15));
  EXPECT_EQ(policy.policy.outlier->max_ejection_percent, 100U);
  EXPECT_TRUE(got.diagnostics.empty()) << got.text();
}

}  // namespace
}  // namespace np::policy
