// SPDX-License-Identifier: Apache-2.0
// Small values: durations, hosts, protocols; and how complaints read.
#include "policy/values.h"

#include "policy/kinds.h"
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

using std::chrono::milliseconds;

TEST(PolicyLoadValues, GoDurations) {
  EXPECT_EQ(parse_duration("7s"), std::chrono::seconds(7));
  EXPECT_EQ(parse_duration("7.000s"), std::chrono::seconds(7));
  EXPECT_EQ(parse_duration("15.5s"), milliseconds(15500));
  EXPECT_EQ(parse_duration("1h30m"), std::chrono::minutes(90));
  EXPECT_EQ(parse_duration("100ms"), milliseconds(100));
  EXPECT_EQ(parse_duration("0.1s"), milliseconds(100));
  EXPECT_EQ(parse_duration("1us1ns"), Duration(1001));
  EXPECT_EQ(parse_duration("0"), Duration(0));
  for (const char* bad : {"", "7", "s", "7x", "-1s", "1s ", "1 s", ".s", "1e3s", "99999999999999h",
                          "9223372036854775808ns", "1s2"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
}

TEST(PolicyLoadValues, HostsAreCompletedWithTheNamespace) {
  EXPECT_EQ(full_host("reviews", "prod"), "reviews.prod.svc.cluster.local");
  EXPECT_EQ(full_host("Reviews", "prod"), "reviews.prod.svc.cluster.local");
  EXPECT_EQ(full_host("reviews.prod", "prod"), "reviews.prod.svc.cluster.local");
  EXPECT_EQ(full_host("reviews.other", "prod"), "reviews.other");
  EXPECT_EQ(full_host("reviews.other.svc", "prod"), "reviews.other.svc.cluster.local");
  EXPECT_EQ(full_host("reviews.prod.svc.cluster.local", "x"), "reviews.prod.svc.cluster.local");
  EXPECT_EQ(full_host("www.example.com.", "x"), "www.example.com");
  EXPECT_EQ(full_host("*.example.com", "x"), "*.example.com");
}

TEST(PolicyLoadValues, PortNamesDecideTheProtocol) {
  EXPECT_EQ(protocol_by_name("http"), Protocol::kHttp);
  EXPECT_EQ(protocol_by_name("http-web"), Protocol::kHttp);
  EXPECT_EQ(protocol_by_name("HTTP2-x"), Protocol::kHttp2);
  EXPECT_EQ(protocol_by_name("grpc-web"), Protocol::kHttp);
  EXPECT_EQ(protocol_by_name("grpc-api"), Protocol::kGrpc);
  EXPECT_EQ(protocol_by_name("kubernetes.io/h2c"), Protocol::kHttp2);
  EXPECT_EQ(protocol_by_name("mongo-db"), Protocol::kTcp);
  EXPECT_EQ(protocol_by_name("https"), Protocol::kHttps);
  EXPECT_EQ(protocol_by_name("httpx"), Protocol::kAuto);
  EXPECT_EQ(protocol_by_name(""), Protocol::kAuto);
}

TEST(PolicyLoadValues, AComplaintReadsAsPromised) {
  Diagnostic diagnostic;
  diagnostic.file = "a.yaml";
  diagnostic.line = 3;
  diagnostic.object = "RouteRule default/x";
  diagnostic.field = "spec.route[0].weight";
  diagnostic.message = "out of range";
  diagnostic.found = "101";
  diagnostic.allowed = "0..100";
  EXPECT_EQ(diagnostic.to_string(),
            "a.yaml:3: RouteRule default/x: spec.route[0].weight: out of range: found 101; "
            "allowed: 0..100");
}

TEST(PolicyLoadValues, KindsAreFoundByAnyName) {
  ASSERT_NE(find_kind("routerule"), nullptr);
  EXPECT_EQ(find_kind("routerule")->kind, "RouteRule");
  EXPECT_EQ(find_kind("ROUTERULES")->kind, "RouteRule");
  EXPECT_EQ(find_kind("vs")->kind, "VirtualService");
  EXPECT_EQ(find_kind("virtualservices.networking.istio.io")->kind, "VirtualService");
  EXPECT_EQ(find_kind("svc")->group, "");
  EXPECT_EQ(find_kind("virtualservices.example.com"), nullptr);
  EXPECT_EQ(find_kind("deployment"), nullptr);
  EXPECT_EQ(find_kind(""), nullptr);
  EXPECT_FALSE(find_kind("ns")->namespaced);
}

TEST(PolicyLoadValues, EveryKnownKindHasUniqueNames) {
  for (const KindInfo& info : known_kinds()) {
    EXPECT_EQ(find_kind(info.plural), &info) << info.plural;
    if (info.short_name.empty()) continue;
    EXPECT_EQ(find_kind(info.short_name), &info) << info.short_name;
  }
}

}  // namespace
}  // namespace np::policy
