// SPDX-License-Identifier: Apache-2.0
// Which addresses are captured and where they lead; listeners of Gateways.
#include <gmock/gmock.h>

#include <set>

#include "tests/unit/policy/compile_support.h"

namespace np::policy {
namespace {

using Level = Finding::Level;

class CompileCaptureTest : public ::testing::Test {
 protected:
  std::string by_host(const char* dialled, std::string_view host) {
    const CapturedPort* port = world.captured(dialled);
    if (port == nullptr || port->by_host == nullptr) return "no table";
    const RouteTable* table = port->by_host->find(host);
    if (table == nullptr) return "no host";
    RequestView request;
    request.path = "/";
    return World::names(table->match(request, {}).route);
  }
  std::string through(const char* bind, std::string_view host, std::string_view path = "/") {
    const GatewayListener* listener = world.snapshot->find_listener(at(bind));
    if (listener == nullptr) return "no listener";
    const RouteTable* table = listener->hosts->find(host);
    if (table == nullptr) return "no host";
    RequestView request;
    request.path = path;
    CallerView caller;
    caller.gateway = listener->gateway;
    return World::names(table->match(request, caller).route);
  }
  Gateway& gateway(const std::string& name, uint16_t port, std::vector<std::string> hosts) {
    Gateway out;
    out.origin = world.origin("Gateway", name);
    out.servers.push_back({port, "http", "", std::move(hosts), 0});
    world.model.gateways.push_back(out);
    return world.model.gateways.back();
  }
  World world;
};

TEST_F(CompileCaptureTest, ServiceAndEndpointAddresses) {
  world.bookinfo();
  world.model.services[0].fail_mode = FailMode::kClosed;
  world.compile();
  const CapturedPort* service = world.captured(kReviewsAddress);
  const CapturedPort* direct = world.captured("10.1.0.2:9080");
  ASSERT_NE(service, nullptr);
  ASSERT_NE(direct, nullptr);
  EXPECT_EQ(service->host, kReviews);
  EXPECT_EQ(service->ns, "default");
  EXPECT_EQ(direct->service_id, service->service_id);
  EXPECT_EQ(world.captured("10.96.0.1:9081"), nullptr);
  size_t of_reviews = 0;
  for (const CaptureEntry& entry : world.snapshot->capture_entries) {
    if (entry.service_id != service->service_id) continue;
    ++of_reviews;
    EXPECT_EQ(entry.fail_mode, FailMode::kClosed);
    EXPECT_EQ(entry.service_name, kReviews);
  }
  EXPECT_EQ(of_reviews, 4U);
}

TEST_F(CompileCaptureTest, ADialledPodGetsTheCallUnlessARuleSaysOtherwise) {
  world.bookinfo();
  world.route_rule("r", kReviews, 1,
                   rule("", {on_path(prefix("/ruled"))}, {to_version(kReviews, "v3")}));
  world.compile();
  EXPECT_EQ(world.destination("10.1.0.2:9080", "/ruled"),
            "outbound|9080|v3|" + std::string(kReviews));
  const std::string direct = world.destination("10.1.0.2:9080", "/plain");
  EXPECT_EQ(direct, "original-dst|9080||" + std::string(kReviews));
  EXPECT_TRUE(world.cluster(direct)->original_destination);
  EXPECT_FALSE(world.cluster("outbound|9080||" + std::string(kReviews))->original_destination);
}

TEST_F(CompileCaptureTest, HeadlessServiceIsKnownByItsEndpoints) {
  world.bookinfo();
  world.model.services[0].addresses.clear();
  world.compile();
  EXPECT_EQ(world.captured(kReviewsAddress), nullptr);
  ASSERT_NE(world.captured("10.1.0.1:9080"), nullptr);
  EXPECT_EQ(world.captured("10.1.0.1:9080")->host, kReviews);
}

TEST_F(CompileCaptureTest, SecondAddressOfADualStackPodIsCapturedToo) {
  world.bookinfo();
  world.model.pods[0].ips.push_back(ip("fd00::1"));
  world.compile();
  ASSERT_NE(world.captured("[fd00::1]:9080"), nullptr);
  EXPECT_EQ(world.cluster("outbound|9080||" + std::string(kReviews))->endpoints.size(), 3U);
}

TEST_F(CompileCaptureTest, EndpointsHaveThePrimaryFamilyOfTheirService) {
  world.bookinfo();
  world.model.pods[0].ips.push_back(ip("fd00::1"));
  world.model.services[0].addresses = {ip("fd96::1"), ip("10.96.0.1")};
  world.compile();
  std::set<std::string> found;
  for (const Endpoint& one : world.cluster("outbound|9080||" + std::string(kReviews))->endpoints) {
    found.insert(one.address.to_string());
  }
  const std::set<std::string> expected = {"[fd00::1]:9080", "10.1.0.2:9080", "10.1.0.3:9080"};
  EXPECT_EQ(found, expected) << "a pod of the other family alone is not lost";
}

TEST_F(CompileCaptureTest, ProtocolsDecideWhatIsCaptured) {
  world.service("web", "10.96.1.1", 80, Protocol::kHttp);
  world.service("db", "10.96.1.2", 80, Protocol::kTcp);
  world.service("any", "10.96.1.3", 80, Protocol::kAuto);
  world.service("grpc", "10.96.1.4", 80, Protocol::kGrpc);
  world.service("tls", "10.96.1.5", 80, Protocol::kTls);
  world.service("https", "10.96.1.6", 80, Protocol::kHttps);
  world.service("udp", "10.96.1.7", 80, Protocol::kUdp);
  world.compile();
  const auto kinds = [&](const char* address) {
    const CapturedPort* port = world.captured(address);
    if (port == nullptr) return std::string("-");
    return std::string(port->http_routes ? "h" : "") + (port->tcp_routes ? "t" : "");
  };
  EXPECT_EQ(kinds("10.96.1.1:80"), "h");
  EXPECT_EQ(kinds("10.96.1.2:80"), "t");
  EXPECT_EQ(kinds("10.96.1.3:80"), "ht");
  EXPECT_EQ(kinds("10.96.1.4:80"), "h");
  EXPECT_EQ(kinds("10.96.1.5:80"), "-");
  EXPECT_EQ(kinds("10.96.1.6:80"), "-");
  EXPECT_EQ(kinds("10.96.1.7:80"), "-");
}

TEST_F(CompileCaptureTest, TcpRules) {
  world.bookinfo();
  world.service("db", "10.96.1.2", 3306, Protocol::kTcp);
  world.pod("db-1", "db", "v1", "10.1.1.1");
  const std::string host = "db.default.svc.cluster.local";
  RouteRule near = rule("near", {MatchCondition{}}, {to_version(host, "v1")});
  near.matches[0].source_subnets = {*IpPrefix::parse("10.1.0.0/24")};
  near.matches[0].destination_subnets = {*IpPrefix::parse("10.96.1.0/24")};
  RouteRule labelled = rule("labelled", {MatchCondition{}}, {to_labels(kRatings, {})});
  labelled.matches[0].source_labels = {{"app", "far"}};
  RouteRule other_port = rule("port", {MatchCondition{}}, {to_labels(kReviews, {})});
  other_port.matches[0].port = 3307;
  world.virtual_service("db", host, {}).tcp = {other_port, near, labelled};
  world.pod("far-1", "far", "v1", "10.9.0.1");
  world.compile();
  const auto to = [&](const char* from, const char* dialled) {
    RequestView request;
    request.port = 3306;
    request.dialled = ip(dialled);
    const RouteTable* table = world.captured("10.96.1.2:3306")->tcp_routes;
    return World::names(table->match(request, world.caller(from)).route);
  };
  EXPECT_EQ(to("10.1.0.5", "10.96.1.2"), "outbound|3306|v1|" + host);
  EXPECT_EQ(to("10.9.0.1", "10.96.1.2"), "outbound|9080||" + std::string(kRatings));
  EXPECT_EQ(to("10.1.0.5", "10.97.1.2"), "outbound|3306||" + host);  // the dialled service
}

TEST_F(CompileCaptureTest, CidrAndWildcardHostsGoByHost) {
  world.external("*.example.com", Service::Resolution::kNone);
  Service& net = world.external("partner.example.org", Service::Resolution::kNone);
  net.prefixes = {*IpPrefix::parse("192.0.2.0/24")};
  world.external("fixed.example.net", Service::Resolution::kDns);
  world.dns["fixed.example.net"] = {ip("203.0.113.1")};
  world.route_rule("api", "api.example.com", 1, rule("", {}, {to_labels("fixed.example.net", {})}));
  world.compile();
  ASSERT_EQ(world.snapshot->capture_prefixes.size(), 3U);  // both families of "anywhere"
  EXPECT_EQ(by_host("198.51.100.1:80", "www.example.com"), "outbound|80||*.example.com");
  EXPECT_TRUE(world.cluster("outbound|80||*.example.com")->original_destination);
  EXPECT_EQ(by_host("198.51.100.1:80", "api.example.com"), "outbound|80||fixed.example.net");
  EXPECT_EQ(by_host("198.51.100.1:80", "partner.example.org"), "outbound|80||partner.example.org");
  EXPECT_EQ(by_host("198.51.100.1:80", "fixed.example.net:80"), "outbound|80||fixed.example.net");
  EXPECT_EQ(by_host("198.51.100.1:80", "unheard.of"), "PassthroughCluster");
  EXPECT_EQ(by_host("[2001:db8::1]:80", "www.example.com"), "outbound|80||*.example.com");
  // Within the prefix of one service a strange Host is still that service.
  EXPECT_EQ(by_host("192.0.2.9:80", "192.0.2.9"), "outbound|80||partner.example.org");
  EXPECT_EQ(world.captured("192.0.2.9:80")->host, "partner.example.org");
  EXPECT_EQ(world.captured("198.51.100.1:81"), nullptr);
  EXPECT_NE(world.captured("203.0.113.1:80")->http_routes, nullptr);  // exact before prefix
}

TEST_F(CompileCaptureTest, ExternalNamesBehindOneAddressGoByHost) {
  world.external("a.example.com", Service::Resolution::kDns);
  world.external("b.example.com", Service::Resolution::kDns);
  world.dns["a.example.com"] = {ip("203.0.113.1")};
  world.dns["b.example.com"] = {ip("203.0.113.1")};
  world.compile();
  EXPECT_EQ(by_host("203.0.113.1:80", "a.example.com"), "outbound|80||a.example.com");
  EXPECT_EQ(by_host("203.0.113.1:80", "b.example.com"), "outbound|80||b.example.com");
  EXPECT_EQ(by_host("203.0.113.1:80", "c.example.com"), "PassthroughCluster");
}

TEST_F(CompileCaptureTest, OneAddressOfTwoServicesBelongsToTheOlder) {
  world.service("one", "10.96.1.1", 80);
  world.service("two", "10.96.1.1", 80);
  world.compile();
  EXPECT_EQ(world.captured("10.96.1.1:80")->host, "one.default.svc.cluster.local");
  EXPECT_TRUE(world.found(Level::kWarning, "Service default/two", "10.96.1.1:80"));
}

TEST_F(CompileCaptureTest, OneHostOfTwoObjectsBelongsToTheOlder) {
  world.service("one", "10.96.1.1", 80);
  Service& copy = world.service("one", "10.96.1.2", 80);
  copy.origin.name = "copy";
  world.compile();
  EXPECT_EQ(world.captured("10.96.1.2:80"), nullptr);
  EXPECT_TRUE(world.found(Level::kInactive, "Service default/copy", "already defined"));
}

TEST_F(CompileCaptureTest, PodsByAddress) {
  world.bookinfo();
  world.pod("agent", "agent", "v1", "172.16.0.1").host_network = true;
  world.compile();
  ASSERT_NE(world.snapshot->find_pod(ip("10.1.0.5")), nullptr);
  EXPECT_EQ(world.snapshot->find_pod(ip("10.1.0.5"))->pod.name, "productpage-1");
  EXPECT_EQ(world.snapshot->find_pod(ip("172.16.0.1")), nullptr);
  EXPECT_TRUE(world.found(Level::kNote, "Pod default/agent", "host's network"));
}

TEST_F(CompileCaptureTest, GatewayWithAVirtualService) {
  world.bookinfo();
  gateway("edge", 8080, {"*"});
  world
      .virtual_service("page", "*",
                       {rule("", {on_path(exact("/productpage"))},
                             {to_subset("productpage.default.svc.cluster.local", "")})})
      .gateways = {"default/edge"};
  world.compile();
  ASSERT_EQ(world.snapshot->listeners.size(), 1U);
  EXPECT_EQ(world.snapshot->listeners[0].gateway, "default/edge");
  EXPECT_EQ(through("127.0.0.1:8080", "any.host", "/productpage"),
            "outbound|9080||productpage.default.svc.cluster.local");
  EXPECT_EQ(through("127.0.0.1:8080", "any.host", "/other"), "none");
  EXPECT_EQ(through("127.0.0.1:8081", "any.host"), "no listener");
  // The rules of the gateway are not those of the mesh.
  EXPECT_EQ(world.destination("10.96.0.3:9080", "/other"),
            "outbound|9080||productpage.default.svc.cluster.local");
}

TEST_F(CompileCaptureTest, HostsOfServersNarrowThoseOfRules) {
  world.bookinfo();
  gateway("edge", 8080, {"*.example.com", "team/only.example.org"});
  const auto bind = [&](const std::string& name, const std::string& host, const char* version) {
    RouteSet& set =
        world.virtual_service(name, host, {rule("", {}, {to_version(kReviews, version)})});
    set.gateways = {"default/edge"};
  };
  bind("star", "*", "v1");
  bind("exact", "www.example.com", "v2");
  bind("foreign", "www.example.net", "v3");
  bind("fenced", "only.example.org", "v3");
  world.compile();
  const std::string start = "outbound|9080|";
  EXPECT_EQ(through("127.0.0.1:8080", "x.example.com"), start + "v1|" + kReviews);
  EXPECT_EQ(through("127.0.0.1:8080", "www.example.com:8080"), start + "v2|" + kReviews);
  EXPECT_EQ(through("127.0.0.1:8080", "example.com"), "no host");
  EXPECT_EQ(through("127.0.0.1:8080", "www.example.net"), "no host");
  EXPECT_EQ(through("127.0.0.1:8080", "only.example.org"), "no host");  // of namespace team
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/foreign", "takes host"));
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/fenced", "takes host"));
}

TEST_F(CompileCaptureTest, GatewaysShareAPortAndRulesOfOneHostMerge) {
  world.bookinfo();
  gateway("a", 8080, {"a.example.com"});
  gateway("b", 8080, {"b.example.com", "a.example.com"});
  gateway("c", 9090, {"*"}).servers[0].bind = "127.0.0.1";
  world
      .virtual_service("one", "a.example.com",
                       {rule("", {on_path(prefix("/one"))}, {to_version(kReviews, "v1")})})
      .gateways = {"default/a", "default/b"};
  world.virtual_service("two", "a.example.com", {rule("", {}, {to_version(kReviews, "v2")})})
      .gateways = {"default/b"};
  RouteRule only_b = rule("", {MatchCondition{}}, {to_version(kReviews, "v3")});
  only_b.matches[0].gateways = {"default/a"};
  world.virtual_service("three", "b.example.com", {only_b}).gateways = {"default/b", "default/a"};
  world.virtual_service("lost", "b.example.com", {}).gateways = {"default/missing"};
  world.compile();
  ASSERT_EQ(world.snapshot->listeners.size(), 2U);
  EXPECT_EQ(world.snapshot->listeners[1].bind, at("127.0.0.1:9090"));
  EXPECT_EQ(through("10.0.0.1:8080", "a.example.com", "/one"),
            "outbound|9080|v1|" + std::string(kReviews));
  EXPECT_EQ(through("10.0.0.1:8080", "a.example.com", "/two"),
            "outbound|9080|v2|" + std::string(kReviews));
  EXPECT_EQ(through("10.0.0.1:8080", "b.example.com"), "none");  // came in by b, rule is for a
  EXPECT_TRUE(world.found(Level::kWarning, "VirtualService default/lost", "no Gateway"));
}

}  // namespace
}  // namespace np::policy
