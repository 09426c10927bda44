// SPDX-License-Identifier: Apache-2.0
// Endpoints, subsets, and which destination policy acts on which endpoints.
#include <gmock/gmock.h>

#include "tests/unit/policy/compile_support.h"

namespace np::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Level = Finding::Level;

constexpr char kWhole[] = "outbound|9080||reviews.default.svc.cluster.local";
constexpr char kV1[] = "outbound|9080|v1|reviews.default.svc.cluster.local";

std::vector<std::string> addresses(const Cluster* cluster) {
  std::vector<std::string> out;
  if (cluster == nullptr) return {"no such cluster"};
  for (const Endpoint& endpoint : cluster->endpoints) out.push_back(endpoint.address.to_string());
  return out;
}

TrafficPolicy pool_of(uint32_t max_connections) {
  TrafficPolicy out;
  out.pool.emplace().max_connections = max_connections;
  return out;
}

class CompileClusterTest : public ::testing::Test {
 protected:
  void SetUp() override { world.bookinfo(); }
  const Route& route(const char* dialled = kReviewsAddress) {
    RequestView request;
    request.path = "/";
    return *world.match(dialled, request).route;
  }
  World world;
};

TEST_F(CompileClusterTest, TargetPortByNumberAndByName) {
  world.model.services[0].ports[0].target_port = 8080;
  world.model.services[0].ports.push_back({"named", 81, Protocol::kHttp, 0, "web"});
  world.model.pods[0].named_ports = {{"web", 7001}};
  world.compile();
  EXPECT_THAT(addresses(world.cluster(kWhole)),
              ElementsAre("10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"));
  EXPECT_EQ(world.destination("10.96.0.1:81"), "outbound|81||" + std::string(kReviews));
  EXPECT_THAT(addresses(world.cluster("outbound|81||" + std::string(kReviews))),
              ElementsAre("10.1.0.1:7001"));
  EXPECT_TRUE(world.found(Level::kWarning, "Service default/reviews", "no port named web"));
}

TEST_F(CompileClusterTest, OnlyReadyPodsOfTheNamespaceAreEndpoints) {
  world.model.pods[0].ready = false;
  world.pod("stranger", "reviews", "v1", "10.1.0.77", "elsewhere");
  world.compile();
  EXPECT_THAT(addresses(world.cluster(kWhole)), ElementsAre("10.1.0.2:9080", "10.1.0.3:9080"));
}

TEST_F(CompileClusterTest, WhoWasAwayJoinsAnew) {
  const auto joined = [&](size_t index) {
    return to_ns(world.cluster(kWhole)->endpoints.at(index).joined);
  };
  world.compile(instant_from_ns(10));
  world.model.pods[0].ready = false;
  world.compile(instant_from_ns(20));
  EXPECT_EQ(joined(0), 10U) << "a new snapshot alone changes nothing";
  world.model.pods[0].ready = true;
  world.compile(instant_from_ns(30));
  EXPECT_EQ(joined(0), 30U);
  EXPECT_EQ(joined(1), 10U);
}

TEST_F(CompileClusterTest, StaticEndpointsTakeLabelsFromTheirPods) {
  world.model.services[0].selector.clear();
  StaticEndpoint known;
  known.host = kReviews;
  known.address = "10.1.0.1";
  known.ports = {{"http", 9099}};
  StaticEndpoint foreign = known;
  foreign.address = "192.0.2.7";
  foreign.labels = {{"version", "v1"}};
  foreign.weight = 3;
  StaticEndpoint down = known;
  down.address = "192.0.2.8";
  down.ready = false;
  world.model.endpoints = {known, foreign, down};
  world.route_rule("v1", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.compile();
  const Cluster* v1 = world.cluster(kV1);
  EXPECT_THAT(addresses(v1), ElementsAre("10.1.0.1:9099", "192.0.2.7:9099"));
  EXPECT_EQ(v1->endpoints[0].pod_id, world.snapshot->pod_id(ip("10.1.0.1")));
  EXPECT_EQ(v1->endpoints[1].pod_id, 0U);
  EXPECT_EQ(v1->endpoints[1].weight, 3U);
  EXPECT_EQ(v1->endpoints[0].workload.app, "reviews");
  EXPECT_EQ(v1->endpoints[0].workload.version, "v1");
  EXPECT_EQ(v1->endpoints[1].workload.version, "v1") << "by its own labels";
}

// The labels of the endpoint go before those of its pod, for its name, too.
TEST_F(CompileClusterTest, AStaticEndpointIsToldByItsOwnLabels) {
  world.model.services[0].selector.clear();
  StaticEndpoint renamed;
  renamed.host = kReviews;
  renamed.address = "10.1.0.1";
  renamed.ports = {{"http", 9099}};
  renamed.labels = {{"version", "canary"}};
  world.model.endpoints = {renamed};
  world.compile();
  const Endpoint& endpoint = world.cluster(kWhole)->endpoints.at(0);
  EXPECT_EQ(endpoint.workload.app, "reviews");
  EXPECT_EQ(endpoint.workload.version, "canary");
}

TEST_F(CompileClusterTest, SubsetsByNameAndTheirPolicies) {
  Subset v1{"v1", {{"version", "v1"}}, pool_of(11), 0};
  Subset v2{"v2", {{"version", "v2"}}, {}, 0};
  v2.policy.ports[9080] = std::make_shared<TrafficPolicy>(pool_of(12));
  v2.policy.outlier.emplace();
  DestinationPolicy& destination = world.destination_rule("reviews", kReviews, {v1, v2});
  destination.policy = pool_of(1);
  destination.policy.outlier.emplace().consecutive_5xx = 3;
  destination.policy.load_balancing.emplace().kind = LoadBalancing::Kind::kLeastRequest;
  world.virtual_service("reviews", kReviews,
                        {rule("", {},
                              {to_subset(kReviews, "v1", 1), to_subset(kReviews, "v2", 1),
                               to_subset(kReviews, "", 1)})});
  world.compile();
  const Cluster* one = world.cluster(kV1);
  EXPECT_THAT(addresses(one), ElementsAre("10.1.0.1:9080"));
  EXPECT_EQ(one->pool.max_connections, 11U);     // the subset's own
  EXPECT_EQ(one->outlier->consecutive_5xx, 3U);  // inherited from the top level
  EXPECT_EQ(one->load_balancing.kind, LoadBalancing::Kind::kLeastRequest);
  EXPECT_EQ(one->legacy_name, "out.reviews.default.svc.cluster.local|http|version=v1");
  const Cluster* two = world.cluster("outbound|9080|v2|" + std::string(kReviews));
  EXPECT_EQ(two->pool.max_connections, 12U);
  EXPECT_FALSE(two->outlier.has_value());  // portLevelSettings inherit nothing
  EXPECT_EQ(two->load_balancing.kind, LoadBalancing::Kind::kRoundRobin);
  EXPECT_EQ(world.cluster(kWhole)->pool.max_connections, 1U);
}

TEST_F(CompileClusterTest, RulesOfOneHostMergeTheirSubsetsOldestOnTop) {
  world.destination_rule("one", kReviews, {{"a", {{"version", "v1"}}, {}, 0}}).policy = pool_of(1);
  world.destination_rule("two", kReviews, {{"b", {{"version", "v2"}}, {}, 0}}).policy = pool_of(2);
  world.virtual_service("reviews", kReviews,
                        {rule("", {}, {to_subset(kReviews, "a", 1), to_subset(kReviews, "b", 1)})});
  world.compile();
  const Cluster* b = world.cluster("outbound|9080|b|" + std::string(kReviews));
  ASSERT_NE(b, nullptr);
  EXPECT_THAT(addresses(b), ElementsAre("10.1.0.2:9080"));
  EXPECT_EQ(b->pool.max_connections, 1U);
}

TEST_F(CompileClusterTest, WildcardDestinationRule) {
  world.destination_rule("all", "*.default.svc.cluster.local", {}).policy = pool_of(5);
  world.destination_rule("one", kReviews, {}).policy = pool_of(6);
  world.compile();
  EXPECT_EQ(world.cluster(kWhole)->pool.max_connections, 6U);
  EXPECT_EQ(world.cluster("outbound|9080||" + std::string(kRatings))->pool.max_connections, 5U);
}

TEST_F(CompileClusterTest, DestinationPolicyOfARoutedSubset) {
  world.route_rule("v1", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.destination_policy("cb", kReviews, {{"version", "v1"}}).policy = pool_of(7);
  world.compile();
  EXPECT_EQ(world.cluster(kV1)->pool.max_connections, 7U);
}

TEST_F(CompileClusterTest, DestinationPolicyFollowsEndpointsWhateverRuleChoseThem) {
  // ratings has only v1: default delivery ends there, so the policy acts (D2).
  world.destination_policy("cb", kRatings, {{"version", "v1"}}).policy = pool_of(7);
  world.compile();
  const Route& only = route("10.96.0.2:9080");
  ASSERT_EQ(only.clusters.size(), 1U);
  EXPECT_EQ(only.clusters[0].cluster->name, "outbound|9080||" + std::string(kRatings));
  EXPECT_EQ(only.clusters[0].cluster->pool.max_connections, 7U);
}

TEST_F(CompileClusterTest, PartlyCoveredEndpointsAreDivided) {
  world.pod("reviews-1b", "reviews", "v1", "10.1.0.21");
  world.destination_policy("cb", kReviews, {{"version", "v1"}}).policy = pool_of(7);
  world.compile();
  const Route& divided = route();
  ASSERT_EQ(divided.clusters.size(), 2U);
  EXPECT_EQ(divided.total_weight, 4U);
  for (const WeightedCluster& part : divided.clusters) {
    EXPECT_EQ(part.weight, 2U);
    EXPECT_EQ(part.cluster->pool.max_connections, part.cluster->name == kV1 ? 7U : kUnlimited);
  }
  EXPECT_THAT(addresses(world.cluster(kV1)), ElementsAre("10.1.0.1:9080", "10.1.0.21:9080"));
  EXPECT_THAT(addresses(world.cluster(kWhole)), ElementsAre("10.1.0.2:9080", "10.1.0.3:9080"));
}

TEST_F(CompileClusterTest, DividedDestinationsKeepTheirShareOfTheRoute) {
  world.destination_policy("cb", kReviews, {{"version", "v1"}}).policy = pool_of(7);
  world.route_rule("split", kReviews, 1,
                   rule("", {}, {to_labels(kReviews, {}, 60), to_labels(kRatings, {}, 40)}));
  world.compile();
  const Route& split = route();
  ASSERT_EQ(split.clusters.size(), 3U);
  double to_ratings = 0;
  for (const WeightedCluster& part : split.clusters) {
    if (part.cluster->host == kRatings) to_ratings += part.weight;
  }
  EXPECT_NEAR(to_ratings / static_cast<double>(split.total_weight), 0.4, 0.001);
}

TEST_F(CompileClusterTest, PoliciesOfDifferentLabelsComplementEachOther) {
  TrafficPolicy random;
  random.load_balancing.emplace().kind = LoadBalancing::Kind::kRandom;
  random.pool.emplace().max_connections = 99;
  world.destination_policy("all", kReviews, {}).policy = random;
  world.destination_policy("v1", kReviews, {{"version", "v1"}}).policy = pool_of(7);
  world.route_rule("v1", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.compile();
  EXPECT_EQ(world.cluster(kV1)->pool.max_connections, 7U);
  EXPECT_EQ(world.cluster(kV1)->load_balancing.kind, LoadBalancing::Kind::kRandom);
}

TEST_F(CompileClusterTest, SameLabelsSmallestKeyWinsAndTheOtherIsTold) {
  world.destination_policy("b", kRatings, {{"version", "v1"}}).policy = pool_of(2);
  world.destination_policy("a", kRatings, {{"version", "v1"}}).policy = pool_of(1);
  world.compile();
  EXPECT_EQ(route("10.96.0.2:9080").clusters[0].cluster->pool.max_connections, 1U);
  EXPECT_TRUE(world.found(Level::kWarning, "DestinationPolicy default/b", "same endpoints"));
}

TEST_F(CompileClusterTest, DestinationRuleSwitchesDestinationPoliciesOff) {
  world.destination_policy("old", kReviews, {}).policy = pool_of(1);
  world.destination_rule("new", kReviews, {}).policy = pool_of(2);
  world.compile();
  EXPECT_EQ(world.cluster(kWhole)->pool.max_connections, 2U);
  EXPECT_TRUE(world.found(Level::kInactive, "DestinationPolicy default/old", "DestinationRule"));
}

TEST_F(CompileClusterTest, LabelsOfARouteRuleMeetTheSubsetOfTheSameLabels) {
  world.destination_rule("r", kReviews, {{"gold", {{"version", "v1"}}, pool_of(3), 0}});
  world.route_rule("v1", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), "outbound|9080|gold|" + std::string(kReviews));
  EXPECT_EQ(route().clusters[0].cluster->pool.max_connections, 3U);
}

TEST_F(CompileClusterTest, LabelSetsHaveSortedNames) {
  world.model.pods[0].labels["env"] = "test";
  world.route_rule("r", kReviews, 1,
                   rule("", {}, {to_labels(kReviews, {{"version", "v1"}, {"env", "test"}})}));
  world.compile();
  const Cluster& cluster = *route().clusters[0].cluster;
  EXPECT_EQ(cluster.name, "outbound|9080|env=test,version=v1|" + std::string(kReviews));
  EXPECT_EQ(cluster.legacy_name, "out." + std::string(kReviews) + "|http|env=test,version=v1");
}

TEST_F(CompileClusterTest, LegacyNamesAreBoundedAndDiffer) {
  const std::string value(190, 'x');
  world.route_rule(
      "r", kReviews, 1,
      rule("", {}, {to_version(kReviews, value + "a", 50), to_version(kReviews, value + "b", 50)}));
  world.compile();
  const std::string& a = route().clusters[0].cluster->legacy_name;
  const std::string& b = route().clusters[1].cluster->legacy_name;
  EXPECT_EQ(a.size(), 189U);
  EXPECT_NE(a, b);
}

TEST_F(CompileClusterTest, ExternalNamesAreResolved) {
  world.external("www.example.com", Service::Resolution::kDns);
  world.compile();
  EXPECT_THAT(world.snapshot->dns_names, ElementsAre("www.example.com"));
  EXPECT_THAT(world.cluster("outbound|80||www.example.com")->endpoints, IsEmpty());
  world.dns["www.example.com"] = {ip("192.0.2.1"), ip("192.0.2.2")};
  world.compile();
  EXPECT_THAT(addresses(world.cluster("outbound|80||www.example.com")),
              ElementsAre("192.0.2.1:80", "192.0.2.2:80"));
  ASSERT_NE(world.captured("192.0.2.2:80"), nullptr);
  EXPECT_EQ(world.captured("192.0.2.2:80")->host, "www.example.com");
}

TEST_F(CompileClusterTest, EndpointsOfExternalServicesMayBeNames) {
  world.external("api.example.com", Service::Resolution::kDns).addresses = {ip("240.0.0.1")};
  StaticEndpoint endpoint;
  endpoint.host = "api.example.com";
  endpoint.address = "backend.example.org";
  endpoint.ports = {{"http", 8080}};
  world.model.endpoints.push_back(endpoint);
  world.dns["backend.example.org"] = {ip("192.0.2.9")};
  world.compile();
  EXPECT_THAT(world.snapshot->dns_names, ElementsAre("backend.example.org"));
  EXPECT_THAT(addresses(world.cluster("outbound|80||api.example.com")),
              ElementsAre("192.0.2.9:8080"));
  EXPECT_EQ(world.destination("240.0.0.1:80"), "outbound|80||api.example.com");
}

TEST_F(CompileClusterTest, SourcePodIsCopied) {
  world.model.services[0].source_pod = true;
  world.compile();
  EXPECT_TRUE(world.cluster(kWhole)->source_pod);
  EXPECT_FALSE(world.cluster("outbound|9080||" + std::string(kRatings))->source_pod);
}

TEST_F(CompileClusterTest, DestinationPorts) {
  Service& ratings = world.model.services[1];
  ratings.ports = {{"a", 7001, Protocol::kHttp, 0, ""}, {"b", 7002, Protocol::kHttp, 0, ""}};
  Destination named = to_subset(kRatings, "");
  named.port = 7002;
  Destination wrong = named;
  wrong.port = 7003;
  world.virtual_service("r", kReviews,
                        {rule("named", {on_path(exact("/named"))}, {named}),
                         rule("wrong", {on_path(exact("/wrong"))}, {wrong}),
                         rule("open", {on_path(exact("/open"))}, {to_subset(kRatings, "")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/named"),
            "outbound|7002||" + std::string(kRatings));
  EXPECT_EQ(world.destination(kReviewsAddress, "/wrong"), "null");
  EXPECT_EQ(world.destination(kReviewsAddress, "/open"), "null");
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/r", "no port 7003"));
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/r", "several ports"));
}

// Limits in shadow mode leave those in force where they are. Behind other limits of its own API
// they would never be in force, so they look on at nothing.
TEST_F(CompileClusterTest, LimitsInShadowModeStandBesideThoseInForce) {
  world.destination_rule("d", kReviews, {}).policy = pool_of(11);
  world.virtual_service("r", {kReviews}, {rule("all", {}, {to_subset(kReviews, "")})});
  const auto add = [&](const char* name, uint32_t max_connections, bool shadow) {
    HostTraffic& traffic = world.model.traffic.emplace_back();
    traffic.origin = world.origin("TrafficPolicy", name);
    traffic.host = kReviews;
    traffic.limits.emplace().max_connections = max_connections;
    traffic.limits_shadow = shadow;
  };
  add("rehearsal", 2, true);
  world.compile();
  const Cluster* cluster = world.cluster(kWhole);
  EXPECT_EQ(cluster->pool.max_connections, 11U);
  ASSERT_TRUE(cluster->shadow_limits);
  EXPECT_EQ(cluster->shadow_limits->pool.max_connections, 2U);
  EXPECT_EQ(cluster->shadow_limits->object, "TrafficPolicy default/rehearsal");
  add("enforced", 5, false);
  add("late", 1, true);
  world.compile();
  cluster = world.cluster(kWhole);
  EXPECT_EQ(cluster->pool.max_connections, 5U);
  EXPECT_EQ(cluster->shadow_limits->pool.max_connections, 2U);
  world.model.traffic.erase(world.model.traffic.begin());
  world.compile();
  EXPECT_FALSE(world.cluster(kWhole)->shadow_limits);
}

TEST_F(CompileClusterTest, EjectionInShadowModeLooksOnBesideTheOneInForce) {
  world.virtual_service("r", {kReviews}, {rule("all", {}, {to_subset(kReviews, "")})});
  HostTraffic& traffic = world.model.traffic.emplace_back();
  traffic.origin = world.origin("TrafficPolicy", "rehearsal");
  traffic.host = kReviews;
  traffic.outlier.emplace().shadow = true;
  traffic.outlier->consecutive_5xx = 1;
  world.compile();
  EXPECT_FALSE(world.cluster(kWhole)->outlier);
  EXPECT_EQ(world.cluster(kWhole)->shadow_outlier->consecutive_5xx, 1U);
  world.destination_rule("d", kReviews, {}).policy.outlier.emplace().consecutive_5xx = 7;
  world.compile();
  EXPECT_EQ(world.cluster(kWhole)->outlier->consecutive_5xx, 7U);
  EXPECT_EQ(world.cluster(kWhole)->shadow_outlier->consecutive_5xx, 1U);
}

}  // namespace
}  // namespace np::policy
