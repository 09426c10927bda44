// SPDX-License-Identifier: Apache-2.0
// Checks that span objects.
#include <algorithm>

#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

std::string virtual_service(const std::string& name, const std::string& ns,
                            const std::string& rest) {
  return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name +
         ", namespace: " + ns + "}\nspec:\n  hosts: [a.prod.svc.cluster.local]\n" + rest +
         "  http: [{route: [{destination: {host: a.prod.svc.cluster.local, subset: v1}}]}]\n---\n";
}
std::string route_rule(const std::string& name, const std::string& rest) {
  return "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: " + name +
         "}\nspec:\n  destination: {name: a}\n" + rest + "---\n";
}

TEST(PolicyLoadModel, D14TheYoungerOfTwoOwnersOfAHostIsRefused) {
  Diagnostics diagnostics;
  std::vector<Object> objects =
      parse(virtual_service("one", "prod", "") + virtual_service("two", "prod", ""), diagnostics);
  ASSERT_EQ(objects.size(), 2U);
  objects[0].sequence = 9;  // accepted later than the other
  objects[1].sequence = 3;
  Loaded got;
  got.model = load_model(objects, got.diagnostics);
  EXPECT_TRUE(got.says("f.yaml:1: VirtualService prod/one: spec.hosts: ",
                       "belongs to an older object, VirtualService prod/two (f.yaml:8)"))
      << got.text();
  ASSERT_EQ(got.model.routes.size(), 1U);
  EXPECT_EQ(got.model.routes[0].origin.name, "two");
}

TEST(PolicyLoadModel, D14OnlyWhereBothAreSeen) {
  EXPECT_FALSE(has_errors(load(virtual_service("one", "x", "  exportTo: [\".\"]\n") +
                               virtual_service("two", "y", "  exportTo: [\".\"]\n"))
                              .diagnostics));
  EXPECT_TRUE(has_errors(load(virtual_service("one", "x", "  exportTo: [y]\n") +
                              virtual_service("two", "y", "  exportTo: [\".\"]\n"))
                             .diagnostics));
  EXPECT_FALSE(has_errors(load(virtual_service("one", "x", "  gateways: [g]\n") +
                               virtual_service("two", "x", "  gateways: [g]\n"))
                              .diagnostics));
}

TEST(PolicyLoadModel, MissingSubsetsGatewaysAndHostsAreWarnings) {
  Loaded got = load(virtual_service("one", "prod", "  gateways: [g]\n"));
  EXPECT_TRUE(got.says("f.yaml:7: VirtualService prod/one: spec.http: warning: ",
                       "no DestinationRule defines subset v1 of a.prod.svc.cluster.local"));
  EXPECT_TRUE(got.says("f.yaml:1: ", "Gateway prod/g does not exist"));
  EXPECT_FALSE(has_errors(got.diagnostics));
  std::string other = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n";
  got = load(virtual_service("one", "prod", "") + other);
  EXPECT_TRUE(got.says("f.yaml:6: ", "no Service has the host a.prod")) << got.text();
  std::string rule =
      "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: "
      "prod}\nspec: {host: a, subsets: [{name: v1, labels: {v: w}}]}\n---\n";
  EXPECT_TRUE(load(rule + virtual_service("one", "prod", "")).diagnostics.empty());
}

TEST(PolicyLoadModel, D8EqualPrecedenceIsReported) {
  Loaded got = load(route_rule("b", "  match: {request: {headers: {x: {exact: y}}}}\n") +
                    route_rule("a", "  match: {request: {headers: {x: {exact: z}}}}\n"));
  EXPECT_TRUE(got.says("f.yaml:1: RouteRule default/b: spec.precedence: warning: ",
                       "same precedence as RouteRule default/a"))
      << got.text();
  EXPECT_EQ(got.diagnostics.size(), 1U);
}

TEST(PolicyLoadModel, ARuleBehindACatchAllIsReported) {
  Loaded got = load(route_rule("all", "  precedence: 2\n") +
                    route_rule("some", "  match: {request: {headers: {x: {exact: y}}}}\n"));
  EXPECT_TRUE(got.says("f.yaml:8: RouteRule default/some: spec.match: warning: ",
                       "RouteRule default/all comes first"))
      << got.text();
}

TEST(PolicyLoadModel, D2TwoPoliciesForOneSubset) {
  auto policy = [](const std::string& name) {
    return "apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: " +
           name + "}\nspec: {destination: {name: a, labels: {v: w}}}\n---\n";
  };
  Loaded got = load(policy("one") + policy("two"));
  EXPECT_TRUE(got.says("f.yaml:6: DestinationPolicy default/two: spec.destination: warning: ",
                       "same endpoints as DestinationPolicy default/one"))
      << got.text();
}

TEST(PolicyLoadModel, SubsetsOfTwoRulesAreMergedWithAWordAboutTheRest) {
  auto rule = [](const std::string& name) {
    return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + name +
           "}\nspec:\n  host: a\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"
           "  subsets: [{name: v1}]\n---\n";
  };
  Loaded got = load(rule("one") + rule("two"));
  EXPECT_TRUE(got.says("f.yaml:9: DestinationRule default/two: spec.trafficPolicy: warning: ",
                       "has no effect"));
  EXPECT_TRUE(got.says("f.yaml:15: DestinationRule default/two: spec.subsets: warning: ",
                       "subset v1 of this host is defined by an older"))
      << got.text();
}

TEST(PolicyLoadModel, AShortNameWithNamespaceIsCompletedWhenThatServiceExists) {
  std::string service =
      "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: prod}\n---\n";
  std::string rule =
      "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"
      "spec: {host: a.prod}\n---\n";
  EXPECT_EQ(load(service + rule).model.destinations.at(0).host, "a.prod.svc.cluster.local");
  EXPECT_EQ(load(rule).model.destinations.at(0).host, "a.prod");
}

TEST(PolicyLoadModel, AnObjectWithAnErrorLeavesNothingBehind) {
  Diagnostics diagnostics;
  std::vector<Object> objects = parse(
      "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n"
      "  hosts: [a.example.com]\n  ports: [{number: 80, name: http}]\n  nope: 1\n",
      diagnostics);
  Model model;
  load_object(objects.at(0), model, diagnostics);
  EXPECT_TRUE(has_errors(diagnostics));
  EXPECT_TRUE(model.services.empty());
}

TEST(PolicyLoadModel, ErrorsOfOneObjectAreBounded) {
  std::string spec = "hosts: [a]\nhttp:\n";
  for (int i = 0; i < 500; ++i) spec += "- nope: 1\n";
  Loaded got = load(object_of("networking.istio.io/v1", "VirtualService", spec));
  EXPECT_EQ(std::count_if(got.diagnostics.begin(), got.diagnostics.end(),
                          [](const Diagnostic& diagnostic) {
                            return diagnostic.level == Diagnostic::Level::kError;
                          }),
            51);
  EXPECT_NE(got.text().find("further errors of this object are not listed"), std::string::npos);
}

}  // namespace
}  // namespace np::policy
