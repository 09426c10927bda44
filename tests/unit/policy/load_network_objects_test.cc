// SPDX-License-Identifier: Apache-2.0
// ServiceEntry, Gateway, and the kinds that are refused by name.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

Loaded entry(const std::string& spec) {
  return load(object_of("networking.istio.io/v1", "ServiceEntry", spec));
}
Loaded gateway(const std::string& spec) {
  return load(object_of("networking.istio.io/v1", "Gateway", spec));
}

TEST(PolicyLoadServiceEntry, StaticEndpoints) {
  Loaded got = entry(R"(hosts: [db.example.com, db2.example.com]
addresses: [192.0.2.1, 198.51.100.0/24]
location: MESH_INTERNAL
resolution: STATIC
ports: [{number: 3306, name: tcp-db, protocol: TCP, targetPort: 3307}, {number: 80, name: http}]
endpoints:
- {address: 10.0.0.1, labels: {version: v1}, weight: 3, ports: {tcp-db: 13306}}
- {address: 10.0.0.2}
)");
  ASSERT_EQ(got.model.services.size(), 2U) << got.text();
  const Service& service = got.model.services[0];
  EXPECT_FALSE(service.external);
  EXPECT_EQ(service.resolution, Service::Resolution::kStatic);
  EXPECT_EQ(service.addresses.size(), 1U);
  EXPECT_EQ(service.prefixes.size(), 1U);
  EXPECT_EQ(service.ports.at(0).target_port, 3307);
  EXPECT_EQ(service.ports.at(1).protocol, Protocol::kHttp);
  ASSERT_EQ(got.model.endpoints.size(), 4U);
  EXPECT_EQ(got.model.endpoints[0].weight, 3U);
  EXPECT_EQ(got.model.endpoints[0].ports.at("tcp-db"), 13306);
  EXPECT_EQ(got.model.endpoints[3].host, "db2.example.com");
  EXPECT_EQ(got.model.endpoints[0].origin.line, 11);
}

TEST(PolicyLoadServiceEntry, DefaultsAreExternalAndNone) {
  Loaded got = entry("hosts: ['*.example.com']\nports: [{number: 80, name: http}]\n");
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  EXPECT_TRUE(got.model.services[0].external);
  EXPECT_EQ(got.model.services[0].resolution, Service::Resolution::kNone);
  got = entry(
      "hosts: [a.example.com]\nports: [{number: 80, name: http}]\nresolution: "
      "DNS_ROUND_ROBIN\n");
  EXPECT_EQ(got.model.services.at(0).resolution, Service::Resolution::kDns);
}

TEST(PolicyLoadServiceEntry, Errors) {
  Loaded got = entry(R"(hosts:
- "*"
- "*.example.com"
addresses: [10.0.0.0/8]
ports:
- {number: 80, name: a, protocol: http}
- {number: 80, name: a}
- {number: 81}
resolution: DNS
location: MOON
subjectAltNames: [a]
exportTo: ["."]
)");
  EXPECT_TRUE(got.says("f.yaml:6: ", "the host * alone"));
  EXPECT_TRUE(got.says("f.yaml:8: ", "CIDR block goes only with resolution NONE or STATIC"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "found http; allowed: HTTP, HTTP2"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "two ports have this number: found 80"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "two ports have this name: found a"));
  EXPECT_TRUE(got.says("f.yaml:12: ", "name: is required"));
  EXPECT_TRUE(got.says("f.yaml:14: ", "found MOON; allowed: MESH_EXTERNAL, MESH_INTERNAL"));
  EXPECT_TRUE(got.says("f.yaml:15: ", "refused until it is enforced"));
  EXPECT_TRUE(got.says("f.yaml:16: ", "some namespaces only"));
  EXPECT_TRUE(got.says("f.yaml:5: ", "a wildcard cannot be resolved by DNS")) << got.text();
}

TEST(PolicyLoadServiceEntry, EndpointsMustFitTheResolution) {
  const std::string start = "hosts: [a.example.com]\nports: [{number: 80, name: http}]\n";
  EXPECT_TRUE(entry(start + "resolution: STATIC\n").says("f.yaml:4: ", "needs endpoints"));
  EXPECT_TRUE(entry(start + "resolution: STATIC\nendpoints: [{address: b.example.com}]\n")
                  .says("f.yaml:8: ", "not an IP address"));
  EXPECT_TRUE(entry(start + "resolution: STATIC\nendpoints: [{address: 'unix:///x'}]\n")
                  .says("f.yaml:8: ", "Unix sockets"));
  EXPECT_TRUE(entry(start + "endpoints: [{address: 10.0.0.1}]\n").says("f.yaml:7: ", "NONE"));
  EXPECT_TRUE(entry(start + "resolution: DYNAMIC_DNS\n").says("f.yaml:7: ", "not supported"));
  EXPECT_TRUE(
      entry(start + "resolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {htp: 1}}]\n")
          .says("f.yaml:8: ", "no port of this ServiceEntry has this name: found htp"));
  EXPECT_TRUE(entry(start + "resolution: STATIC\nworkloadSelector: {labels: {}}\n")
                  .says("f.yaml:8: ", "at least one label"));
  Loaded dns = entry(start + "resolution: DNS\nendpoints: [{address: b.example.com}]\n");
  EXPECT_EQ(dns.model.endpoints.size(), 1U) << dns.text();
}

TEST(PolicyLoadGateway, PlainHttp) {
  Loaded got = gateway(R"(selector: {istio: ingressgateway}
servers:
- port: {number: 8080, name: http, protocol: HTTP}
  hosts: ["*", "prod/*.Example.com", "*/a.example.com", "./b.example.com"]
  bind: 127.0.0.1
)");
  ASSERT_EQ(got.model.gateways.size(), 1U) << got.text();
  const GatewayServer& server = got.model.gateways[0].servers.at(0);
  EXPECT_EQ(server.port, 8080);
  EXPECT_EQ(server.bind, "127.0.0.1");
  EXPECT_EQ(server.line, 7);
  EXPECT_EQ(server.hosts, (std::vector<std::string>{"*", "prod/*.example.com", "a.example.com",
                                                    "default/b.example.com"}));
}

TEST(PolicyLoadGateway, Errors) {
  Loaded got = gateway(R"(servers:
- port: {number: 443, name: https, protocol: HTTPS}
  hosts: []
  tls: {mode: SIMPLE}
- port: {number: 0, name: https, protocol: HTTP}
  hosts: [a_b, "x/y/z"]
  bind: localhost
)");
  EXPECT_TRUE(got.says("f.yaml:6: ", "only plain HTTP servers"));
  EXPECT_TRUE(got.says("f.yaml:7: ", "at least one host"));
  EXPECT_TRUE(got.says("f.yaml:8: ", "TLS on a gateway is refused"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "found 0; allowed: 1..65535"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "two servers have this port name"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "found x/y/z"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "not an IP address: found localhost")) << got.text();
}

TEST(PolicyLoadKinds, RefusedKindsSayWhy) {
  auto refused = [](const std::string& api, const std::string& kind, const std::string& why) {
    Loaded got = load("apiVersion: " + api + "\nkind: " + kind + "\nmetadata: {name: n}\n");
    EXPECT_TRUE(got.objects.empty());
    EXPECT_TRUE(got.says("f.yaml:2: " + kind + " default/n: kind: ", why)) << got.text();
  };
  for (const char* kind : {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"}) {
    refused("security.istio.io/v1", kind, "security is never accepted and ignored");
  }
  refused("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "never accepted and ignored");
  refused("gateway.networking.k8s.io/v1", "HTTPRoute", "use a VirtualService");
  refused("gateway.networking.k8s.io/v1", "GRPCRoute", "later version");
  refused("gateway.networking.k8s.io/v1", "Gateway", "Gateway of networking.istio.io/v1");
  refused("telemetry.istio.io/v1", "Telemetry", "refused until it has an effect");
  refused("networking.istio.io/v1", "Sidecar", "not supported");
  refused("config.istio.io/v1alpha2", "IngressRule", "HTTPRoute with a Gateway");
  refused("apps/v1", "Deployment", "hand in the Pod objects");
  refused("networking.istio.io/v1", "virtualservice", "did you mean VirtualService?");
  refused("v1", "VirtualService", "VirtualService has apiVersion networking.istio.io/v1");
  refused("example.com/v1", "Widget", "unknown kind");
}

TEST(PolicyLoadKinds, EveryAcceptedKindIsInTheSchemaDocument) {
  std::ifstream file(std::string(NP_SOURCE_DIR) + "/policy/SCHEMA.md");
  std::stringstream text;
  text << file.rdbuf();
  for (const KindInfo& info : known_kinds()) {
    EXPECT_NE(text.str().find(info.kind), std::string::npos) << info.kind;
  }
}

}  // namespace
}  // namespace np::policy
