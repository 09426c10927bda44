// SPDX-License-Identifier: Apache-2.0
// Which rule of which object decides for a host, and in which order.
#include <gmock/gmock.h>

#include "tests/unit/policy/compile_support.h"

namespace np::policy {
namespace {

using ::testing::IsEmpty;
using Level = Finding::Level;

constexpr char kRatingsAddress[] = "10.96.0.2:9080";

std::string version(const char* number, const char* host = kReviews) {
  return std::string("outbound|9080|") + number + "|" + host;
}

class CompileTest : public ::testing::Test {
 protected:
  void SetUp() override { world.bookinfo(); }
  World world;
};

TEST_F(CompileTest, HostWithoutRulesUsesAllEndpoints) {
  world.compile();
  RequestView request;
  request.path = "/";
  const RouteMatch match = world.match(kReviewsAddress, request);
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->name, "default-route");
  EXPECT_EQ(match.route->object, "");
  ASSERT_EQ(match.route->clusters.size(), 1U);
  const Cluster& cluster = *match.route->clusters[0].cluster;
  EXPECT_EQ(cluster.name, "outbound|9080||reviews.default.svc.cluster.local");
  EXPECT_EQ(cluster.legacy_name, "out.reviews.default.svc.cluster.local|http");
  EXPECT_EQ(cluster.endpoints.size(), 3U);
  EXPECT_EQ(cluster.endpoints[0].address, at("10.1.0.1:9080"));
  EXPECT_EQ(cluster.endpoints[0].pod_name, "default/reviews-1");
  EXPECT_EQ(match.route->retry.attempts, 0U);
  EXPECT_FALSE(cluster.outlier.has_value());
}

TEST_F(CompileTest, RouteRulesByPrecedenceThenKey) {
  world.route_rule("reviews-default", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.route_rule("reviews-test", kReviews, 2,
                   rule("", {on_header("cookie", regex("^(.*?;)?(user=jason)(;.*)?$"))},
                        {to_version(kReviews, "v2")}));
  world.compile();
  const std::vector<Field> jason = {{"Cookie", "a=b;user=jason"}};
  const std::vector<Field> blank = {{"Cookie", "a=b; user=jason"}};  // the cookie idiom's trap
  EXPECT_EQ(world.destination(kReviewsAddress, "/", jason), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", blank), version("v1"));
  EXPECT_EQ(world.destination(kReviewsAddress), version("v1"));
  EXPECT_EQ(world.cluster(version("v1"))->legacy_name,
            "out.reviews.default.svc.cluster.local|http|version=v1");
  EXPECT_THAT(world.all_findings(), IsEmpty());
}

TEST_F(CompileTest, EqualPrecedenceGoesByKeyAndIsReported) {
  world.route_rule("b", kReviews, 1, rule("", {}, {to_version(kReviews, "v2")}));
  world.route_rule("a", kReviews, 1, rule("", {}, {to_version(kReviews, "v1")}));
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version("v1"));
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/b", "same precedence"));
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/b", "never reached"));
  EXPECT_FALSE(world.found(Level::kWarning, "RouteRule default/a", ""));
}

TEST_F(CompileTest, EqualPrecedenceOfRulesThatCannotMeetIsFine) {
  world.route_rule("a", kReviews, 1,
                   rule("", {on_path(prefix("/a"))}, {to_version(kReviews, "v1")}));
  world.route_rule("b", kReviews, 1,
                   rule("", {on_path(exact("/b"))}, {to_version(kReviews, "v2")}));
  world.compile();
  EXPECT_THAT(world.all_findings(), IsEmpty());
  EXPECT_EQ(world.destination(kReviewsAddress, "/ax"), version("v1"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/b"), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/c"), version("", kReviews));
}

TEST_F(CompileTest, WeightsAndRelativeShares) {
  world.route_rule("split", kReviews, 1,
                   rule("", {}, {to_version(kReviews, "v1", 50), to_version(kReviews, "v3", 50)}));
  world.compile();
  RequestView request;
  request.path = "/";
  const Route& route = *world.match(kReviewsAddress, request).route;
  ASSERT_EQ(route.clusters.size(), 2U);
  EXPECT_EQ(route.total_weight, 100U);
  EXPECT_EQ(route.clusters[0].weight, 50U);
  EXPECT_EQ(route.clusters[1].weight, 50U);
  EXPECT_EQ(route.name, "split");
  EXPECT_EQ(route.object, "RouteRule default/split");
}

TEST_F(CompileTest, LoneDestinationGetsEverything) {
  world.virtual_service("reviews", kReviews, {rule("", {}, {to_subset(kReviews, "")})});
  world.compile();
  RequestView request;
  request.path = "/";
  const Route& route = *world.match(kReviewsAddress, request).route;
  EXPECT_EQ(route.total_weight, 1U);
  EXPECT_EQ(route.clusters[0].weight, 1U);
}

TEST_F(CompileTest, SubsetWithoutEndpointsStaysEmpty) {
  world.route_rule("v9", kReviews, 1, rule("", {}, {to_version(kReviews, "v9")}));
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version("v9"));
  EXPECT_THAT(world.cluster(version("v9"))->endpoints, IsEmpty());
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/v9", "no endpoint"));
}

TEST_F(CompileTest, UnknownHostAndUnknownSubsetAreNull) {
  world.virtual_service(
      "reviews", kReviews,
      {rule("", {on_path(prefix("/a"))}, {to_subset("nowhere.default.svc.cluster.local", "")}),
       rule("", {}, {to_subset(kReviews, "v1")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/a"), "null");
  EXPECT_EQ(world.destination(kReviewsAddress, "/b"), "null");
  EXPECT_TRUE(
      world.found(Level::kWarning, "VirtualService default/reviews", "not a known service"));
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/reviews", "defines subset v1"));
}

TEST_F(CompileTest, SourceIsTheCallersService) {
  RouteRule delayed = rule("", {MatchCondition{}}, {to_version(kReviews, "v2")});
  delayed.matches[0].source_host = "productpage.default.svc.cluster.local";
  delayed.matches[0].source_labels = {{"version", "v1"}};
  world.route_rule("from-page", kReviews, 1, delayed);
  world.pod("productpage-2", "productpage", "v2", "10.1.0.9");
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.5"), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.9"), version(""));   // its label
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.4"), version(""));   // ratings
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "192.0.2.1"), version(""));  // no pod
}

TEST_F(CompileTest, SourceOfUnknownServiceMatchesNobody) {
  RouteRule never = rule("", {MatchCondition{}}, {to_version(kReviews, "v2")});
  never.matches[0].source_host = "ghost.default.svc.cluster.local";
  world.route_rule("ghost", kReviews, 1, never);
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version(""));
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/ghost", "match.source"));
}

TEST_F(CompileTest, SourceNamespaceAndLabelsOfVirtualService) {
  world.pod("other", "client", "v1", "10.1.0.9", "team");
  RouteRule by_ns = rule("ns", {MatchCondition{}}, {to_labels(kReviews, {{"version", "v1"}})});
  by_ns.matches[0].source_namespace = "team";
  RouteRule by_label =
      rule("label", {MatchCondition{}}, {to_labels(kReviews, {{"version", "v2"}})});
  by_label.matches[0].source_labels = {{"app", "productpage"}};
  world.virtual_service("reviews", kReviews, {by_ns, by_label});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.9"), version("v1"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.5"), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.4"), "none");
}

TEST_F(CompileTest, VirtualServiceReplacesDeliveryAndRouteRules) {
  world.route_rule("old", kReviews, 1, rule("", {}, {to_version(kReviews, "v3")}));
  world.virtual_service("reviews", kReviews,
                        {rule("", {on_path(prefix("/x"))}, {to_subset(kReviews, "")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/x"), version(""));
  EXPECT_EQ(world.destination(kReviewsAddress, "/y"), "none");
  EXPECT_TRUE(world.found(Level::kInactive, "RouteRule default/old", "VirtualService"));
  EXPECT_EQ(world.destination(kRatingsAddress, "/y"), version("", kRatings));  // untouched
}

TEST_F(CompileTest, OlderVirtualServiceDecides) {
  world.virtual_service("first", kReviews, {rule("", {}, {to_labels(kReviews, {})})});
  world.virtual_service("second", kReviews, {rule("", {}, {to_version(kReviews, "v2")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version(""));
  EXPECT_TRUE(world.found(Level::kInactive, "VirtualService default/second", "older"));
}

TEST_F(CompileTest, CloserHostBeatsWildcard) {
  world.virtual_service("all", "*.default.svc.cluster.local",
                        {rule("", {}, {to_version(kReviews, "v3")})});
  world.virtual_service("one", kReviews, {rule("", {}, {to_version(kReviews, "v1")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version("v1"));
  EXPECT_EQ(world.destination(kRatingsAddress), version("v3"));
  EXPECT_THAT(world.all_findings(), IsEmpty());
}

TEST_F(CompileTest, ExportToHidesAVirtualServiceFromOtherNamespaces) {
  world.pod("other", "client", "v1", "10.1.0.9", "team");
  world.virtual_service("mine", kReviews, {rule("", {}, {to_version(kReviews, "v1")})})
      .export_to = {"."};
  world.virtual_service("theirs", kReviews, {rule("", {}, {to_version(kReviews, "v2")})})
      .export_to = {"team"};
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.5"), version("v1"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "10.1.0.9"), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/", {}, "192.0.2.1"), version(""));
}

TEST_F(CompileTest, PortConditionsAreDecidedPerPort) {
  Service& reviews = world.model.services[0];
  reviews.ports.push_back({"admin", 9090, Protocol::kHttp, 9080, ""});
  RouteRule only = rule("", {MatchCondition{}}, {to_version(kReviews, "v2")});
  only.matches[0].port = 9090;
  world.virtual_service("reviews", kReviews, {only});
  world.compile();
  EXPECT_EQ(world.destination("10.96.0.1:9090"), "outbound|9090|v2|" + std::string(kReviews));
  // Ports that no rule names are delivered plainly.
  EXPECT_EQ(world.destination(kReviewsAddress), version(""));
}

TEST_F(CompileTest, GatewayOnlyRulesDoNotCountInTheMesh) {
  RouteRule outside = rule("", {MatchCondition{}}, {to_version(kReviews, "v2")});
  outside.matches[0].gateways = {"default/edge"};
  world.virtual_service("reviews", kReviews, {outside, rule("", {}, {to_version(kReviews, "v1")})});
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version("v1"));
}

TEST_F(CompileTest, UnreachableRulesAreReported) {
  world.virtual_service("reviews", kReviews,
                        {rule("all", {on_path(prefix("/"))}, {to_version(kReviews, "v1")}),
                         rule("late", {on_path(exact("/x"))}, {to_version(kReviews, "v2")})});
  world.compile();
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/reviews", "rule late"));
}

TEST_F(CompileTest, UnknownRouteHostIsReported) {
  world.route_rule("r", "ghost.default.svc.cluster.local", 1, rule("", {}, {}));
  world.destination_policy("p", "ghost.default.svc.cluster.local", {});
  world.compile();
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/r", "no service is known"));
  EXPECT_TRUE(world.found(Level::kWarning, "DestinationPolicy default/p", "no service is known"));
}

TEST_F(CompileTest, ActionsAreCopied) {
  RouteRule all = rule("", {}, {to_version(kReviews, "v1")});
  all.fault.emplace();
  all.fault->delay = Fault::Delay{std::chrono::seconds(7), kPerMillion};
  all.fault->abort = Fault::Abort{500, 10};
  all.timeout = std::chrono::seconds(3);
  all.retry.emplace().attempts = 2;
  all.mirrors.push_back({to_version(kReviews, "v3"), 1000});
  all.cors = Cors{};
  all.cors->allow_origins = {regex("https://.*\\.example\\.com"), exact("https://a.b")};
  all.request_headers.set = {{"x-a", "1"}};
  all.response_headers.remove = {"server"};
  all.destinations[0].request_headers.add = {{"x-b", "2"}};
  all.rewrite.emplace().regex = "^/a/(.*)$";
  all.websocket = true;
  world.route_rule("all", kReviews, 1, all);
  world.compile();
  RequestView request;
  request.path = "/";
  const Route& route = *world.match(kReviewsAddress, request).route;
  EXPECT_EQ(route.fault->delay->shape.a, std::chrono::seconds(7));
  EXPECT_EQ(route.fault->abort->http_status, 500);
  EXPECT_EQ(route.timeout, std::chrono::seconds(3));
  EXPECT_EQ(route.retry.attempts, 2U);
  ASSERT_EQ(route.mirrors.size(), 1U);
  EXPECT_EQ(route.mirrors[0].cluster->name, version("v3"));
  EXPECT_EQ(route.mirrors[0].per_million, 1000U);
  EXPECT_EQ(route.request_headers.set.size(), 1U);
  EXPECT_EQ(route.response_headers.remove.size(), 1U);
  EXPECT_EQ(route.clusters[0].request_headers.add.size(), 1U);
  EXPECT_NE(route.rewrite_regex, nullptr);
  EXPECT_TRUE(route.websocket);
  EXPECT_TRUE(cors_allows(route, "https://x.example.com"));
  EXPECT_TRUE(cors_allows(route, "https://a.b"));
  EXPECT_FALSE(cors_allows(route, "https://a.bc"));
  EXPECT_FALSE(cors_allows(route, "https://x.example.com.evil"));
}

TEST_F(CompileTest, RedirectsAndDirectResponsesHaveNoCluster) {
  RouteRule redirect = rule("", {on_path(exact("/r"))}, {});
  redirect.redirect = Redirect{};
  RouteRule direct = rule("", {on_path(exact("/d"))}, {});
  direct.direct_response = DirectResponse{418, "tea", ""};
  world.virtual_service("reviews", kReviews, {redirect, direct});
  world.compile();
  RequestView request;
  request.path = "/r";
  EXPECT_EQ(world.match(kReviewsAddress, request).route->action, Route::Action::kRedirect);
  request.path = "/d";
  const Route& route = *world.match(kReviewsAddress, request).route;
  EXPECT_EQ(route.action, Route::Action::kDirectResponse);
  EXPECT_EQ(route.direct_response->status, 418);
  EXPECT_THAT(route.clusters, IsEmpty());
}

TEST_F(CompileTest, HttpRoutesMergeByTheirFixedOrder) {
  RouteSet& first = world.virtual_service(
      "first", kReviews, {rule("short", {on_path(elements("/a"))}, {to_version(kReviews, "v1")})});
  first.api = RouteSet::Api::kHttpRoute;
  RouteSet& second = world.virtual_service(
      "second", kReviews,
      {rule("long", {on_path(elements("/a/b"))}, {to_version(kReviews, "v2")}),
       rule("exact", {on_path(exact("/a"))}, {to_version(kReviews, "v3")}), rule("none", {}, {})});
  second.api = RouteSet::Api::kHttpRoute;
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress, "/a/b/c"), version("v2"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/a"), version("v3"));
  EXPECT_EQ(world.destination(kReviewsAddress, "/a/c"), version("v1"));
  RequestView request;
  request.path = "/zzz";
  const Route& none = *world.match(kReviewsAddress, request).route;
  ASSERT_EQ(none.action, Route::Action::kDirectResponse);  // no backend at all
  EXPECT_EQ(none.direct_response->status, 500);
}

TEST_F(CompileTest, IdsStayTheSame) {
  world.route_rule("a", kReviews, 1, rule("", {}, {to_version(kReviews, "v2")}));
  const auto before = policy::compile({&world.model, nullptr, 1, instant_from_ns(5)}, world.ids);
  world.model.services.insert(world.model.services.begin(), world.model.services[2]);
  world.model.services[0].host = "extra.default.svc.cluster.local";
  world.model.pods.pop_back();
  const auto after = policy::compile({&world.model, nullptr, 2, instant_from_ns(9)}, world.ids);
  const auto* old_port = before->find_captured(at(kReviewsAddress));
  const auto* new_port = after->find_captured(at(kReviewsAddress));
  EXPECT_EQ(old_port->service_id, new_port->service_id);
  RequestView request;
  request.path = "/";
  const Route& old_route = *old_port->http_routes->match(request, {}).route;
  const Route& new_route = *new_port->http_routes->match(request, {}).route;
  EXPECT_EQ(old_route.id, new_route.id);
  const Cluster& old_cluster = *old_route.clusters[0].cluster;
  const Cluster& new_cluster = *new_route.clusters[0].cluster;
  EXPECT_EQ(old_cluster.id, new_cluster.id);
  EXPECT_EQ(old_cluster.endpoints[0].id, new_cluster.endpoints[0].id);
  EXPECT_EQ(new_cluster.endpoints[0].joined, instant_from_ns(5));  // first seen, not now
  EXPECT_EQ(before->pod_id(ip("10.1.0.1")), after->pod_id(ip("10.1.0.1")));
  EXPECT_EQ(after->pod_id(ip("10.1.0.5")), 0U);
}

// The keys of pinned maps: a worker that starts anew must use the same, whatever else is known.
TEST_F(CompileTest, PodAndServiceIdsOutliveAWorker) {
  const auto before = policy::compile({&world.model, nullptr, 1, instant_from_ns(5)}, world.ids);
  policy::IdTable fresh;
  world.model.services.erase(world.model.services.begin());
  world.model.pods.erase(world.model.pods.begin() + 1, world.model.pods.end());
  const auto after = policy::compile({&world.model, nullptr, 1, instant_from_ns(5)}, fresh);
  EXPECT_NE(after->pod_id(world.model.pods[0].ips[0]), 0U);
  EXPECT_EQ(before->pod_id(world.model.pods[0].ips[0]), after->pod_id(world.model.pods[0].ips[0]));
  ASSERT_FALSE(after->captured_ports.empty());
  for (const auto& port : after->captured_ports) {
    for (const auto& old : before->captured_ports) {
      if (old->host == port->host && old->port == port->port) {
        EXPECT_EQ(old->service_id, port->service_id) << port->host;
      }
    }
  }
}

TEST_F(CompileTest, UnnamedRulesOfOneObjectHaveTheirOwnIds) {
  world.virtual_service("reviews", kReviews,
                        {rule("", {on_path(exact("/a"))}, {to_version(kReviews, "v1")}),
                         rule("", {}, {to_version(kReviews, "v2")})});
  world.compile();
  RequestView request;
  request.path = "/a";
  const Route& a = *world.match(kReviewsAddress, request).route;
  request.path = "/b";
  const Route& b = *world.match(kReviewsAddress, request).route;
  EXPECT_NE(a.id, b.id);
  EXPECT_EQ(a.name, "reviews");
}

TEST_F(CompileTest, BrokenExpressionMatchesNothingAndIsReported) {
  world.route_rule("bad", kReviews, 1,
                   rule("", {on_path(regex("("))}, {to_version(kReviews, "v1")}));
  world.compile();
  EXPECT_EQ(world.destination(kReviewsAddress), version(""));
  EXPECT_TRUE(world.found(Level::kWarning, "RouteRule default/bad", "expression never matches"));
}

}  // namespace
}  // namespace np::policy
