// SPDX-License-Identifier: Apache-2.0
#include "admin/overview.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "metrics/series_name.h"
#include "tests/unit/metrics/reports.h"

namespace np::admin {
namespace {

using Json = nlohmann::json;
using metrics::Told;

class GivenNode : public metrics::NodeSource {
 public:
  std::map<uint32_t, std::string> route_names() override { return {{7, "RouteRule default/slow"}}; }
  metrics::NodeTotals totals() override { return now; }
  std::vector<metrics::EndpointState> endpoints() override { return standing; }
  metrics::PolicyTotals policies() override {
    ++asked;
    return policy;
  }
  metrics::NodeTotals now;
  std::vector<metrics::EndpointState> standing;
  metrics::PolicyTotals policy;
  int asked = 0;
};

class OverviewTest : public ::testing::Test {
 protected:
  OverviewTest() { node.now.revision = node.policy.revision = 7; }

  Json overview(uint64_t known_revision = 0) {
    return Json::parse(overview_json(node, *telemetry, {known_revision}));
  }
  RequestCounters& request(size_t shard, const Told& told) {
    std::string name;
    metrics::write_series_name(told.report, told.texts, name);
    return stores[shard].request(name);
  }

  metrics::SeriesMemory memories[2];
  metrics::SeriesStore stores[2] = {metrics::SeriesStore(*memories[0], *memories[0]),
                                    metrics::SeriesStore(*memories[1], *memories[0])};
  std::unique_ptr<metrics::Telemetry> telemetry =
      metrics::Telemetry::create({}, {&*memories[0], &*memories[1]}).value();
  GivenNode node;
};

TEST_F(OverviewTest, ANodeWithoutAnythingHasEveryList) {
  const Json now = overview();
  for (const char* list :
       {"requests", "clusters", "limits", "endpoints", "pods", "policies", "faults"}) {
    ASSERT_TRUE(now.contains(list)) << list;
    EXPECT_EQ(now[list], Json::array()) << list;
  }
  EXPECT_EQ(now["duration_bounds_ms"].size(), 16U);
  EXPECT_EQ(now["revision"], 7);
}

TEST_F(OverviewTest, RequestsAreSummedByWhatTheReaderSees) {
  Told other_cluster = metrics::answered_request();
  other_cluster.texts.cluster = "another";
  metrics::add(request(0, metrics::answered_request()).requests, 2);
  metrics::add(request(1, metrics::answered_request()).requests, 3);
  metrics::add(request(1, other_cluster).requests, 4);
  metrics::add(request(1, other_cluster).duration_buckets[16], 4);
  request(0, metrics::refused_at_gateway());  // named, and nothing counted yet
  const Json requests = overview()["requests"];
  ASSERT_EQ(requests.size(), 1U);
  const Json& one = requests[0];
  EXPECT_EQ(one["requests"], 9);
  EXPECT_EQ(one["source"], "productpage");
  EXPECT_EQ(one["source_version"], "v1");
  EXPECT_EQ(one["host"], "reviews.default.svc.cluster.local");
  EXPECT_EQ(one["version"], "v2");
  EXPECT_EQ(one["status"], 200);
  EXPECT_EQ(one["protocol"], "http");
  ASSERT_EQ(one["buckets"].size(), 17U);
  EXPECT_EQ(one["buckets"][16], 4);
}

TEST_F(OverviewTest, AGatewayIsTheSource) {
  metrics::add(request(0, metrics::refused_at_gateway()).requests, 1);
  const Json one = overview()["requests"].at(0);
  EXPECT_EQ(one["source"], "ingress");
  EXPECT_EQ(one["source_namespace"], "istio-system");
  EXPECT_EQ(one["host"], "");
  EXPECT_EQ(one["status"], 404);
  EXPECT_EQ(one["flags"], "NR");
}

TEST_F(OverviewTest, HostileNamesStayTextAndBrokenOnesAreMended) {
  Told told = metrics::answered_request();
  told.texts.source_workload = told.texts.source_app = "</script><b>\"\\\n\xff";
  metrics::add(request(0, told).requests, 1);
  EXPECT_EQ(overview()["requests"][0]["source"], "</script><b>\"\\\n\xef\xbf\xbd");
}

// ---- clusters, limits, endpoints, pods -------------------------------------------------------

metrics::ClusterState cluster(const std::string& name) {
  metrics::ClusterState state;
  state.name = name;
  state.host = "web.default.svc.cluster.local";
  return state;
}

TEST_F(OverviewTest, OnlyClustersInUseAreTold) {
  node.now.clusters = {cluster("quiet"), cluster("used"), cluster("ejected")};
  node.now.clusters[2].ejected = 1;
  ClusterCounters& counters = stores[1].cluster("used");
  metrics::add(counters.upstream_cx_total, 5);
  metrics::add(counters.upstream_cx_destroy, 2);
  metrics::add(counters.upstream_rq_ended, 1);  // read before the beginning of the same request
  metrics::add(counters.upstream_rq_pending_overflow, 4);
  const Json clusters = overview()["clusters"];
  ASSERT_EQ(clusters.size(), 2U);
  EXPECT_EQ(clusters[0]["cluster"], "used");
  EXPECT_EQ(clusters[0]["cx_active"], 3);
  EXPECT_EQ(clusters[0]["rq_active"], 0);
  EXPECT_EQ(clusters[0]["rq_pending_overflow"], 4);
  EXPECT_EQ(clusters[1]["ejections_active"], 1);
}

TEST_F(OverviewTest, LimitsAreThoseThatAreSetAndOfTheBusiestCaller) {
  metrics::ClusterState limited = cluster("outbound|80||web");
  limited.max_connections = 2;
  limited.max_retries = 9;
  limited.requests = 3;
  limited.busiest_requests = 2;
  limited.refused = 8;
  metrics::ClusterState unused = limited;
  unused.name = "original-dst|80||web";
  unused.requests = unused.busiest_requests = unused.refused = 0;
  node.now.clusters = {limited, unused, cluster("free")};
  const Json limits = overview()["limits"];
  ASSERT_EQ(limits.size(), 2U);
  EXPECT_EQ(limits[0], (Json{{"cluster", "outbound|80||web"},
                             {"host", "web.default.svc.cluster.local"},
                             {"what", "connections"},
                             {"max", 2},
                             {"used", 2},
                             {"refused", 8}}));
  EXPECT_EQ(limits[1]["what"], "retries");
  node.now.clusters[1].requests = node.now.clusters[1].busiest_requests = 1;
  EXPECT_EQ(overview()["limits"].size(), 4U) << "once it is used, it has its own";
}

TEST_F(OverviewTest, EndpointsAndPods) {
  metrics::EndpointState ejected;
  ejected.service = "web.default.svc.cluster.local:80";
  ejected.address = metrics::address_of("10.1.0.4:9080");
  ejected.state = "ejected";
  ejected.since_unix_ns = 1'795'690'530'123'456'789;
  ejected.failures = {"HTTP 503"};
  node.standing = {ejected};
  metrics::PodState pod;
  pod.id = 3;
  pod.name = "default/client";
  pod.tx_bytes = 10;
  pod.rx_bytes = 5;
  pod.cpu_ns = 7'999;
  pod.use = {{"flows_refused_by_cap", "", 2}};
  node.now.pods = {pod};
  // An id that shares its lower bits, and is another pod.
  PodPlaces(memories[0]->pod_owners).keep({3, 3 + 4096}, [](uint32_t) {});
  metrics::add(stores[1].pod(3 + 4096).requests, 100);
  metrics::add(stores[0].pod(3).requests, 1);
  metrics::add(stores[1].pod(3).requests, 1);
  const Json now = overview();
  EXPECT_EQ(now["endpoints"][0]["address"], "10.1.0.4:9080");
  EXPECT_EQ(now["endpoints"][0]["since_unix_ms"], 1'795'690'530'123);
  EXPECT_EQ(now["endpoints"][0]["failures"], Json::array({"HTTP 503"}));
  const Json& told = now["pods"][0];
  EXPECT_EQ(told["pod"], "default/client");
  EXPECT_EQ(told["requests"], 2);
  EXPECT_EQ(told["bytes"], 15);
  EXPECT_EQ(told["cpu_us"], 7);
  EXPECT_EQ(told["flows_refused_by_cap"], 2);
}

// ---- policies --------------------------------------------------------------------------------

metrics::FaultState fault(const std::string& object, const std::string& host) {
  metrics::FaultState state;
  state.object = object;
  state.route = "route";
  state.host = host;
  state.abort_status = -1;
  state.abort_percent = 50;
  return state;
}

TEST_F(OverviewTest, PoliciesComeOnlyWhenTheyChanged) {
  node.policy.policies = {{"RouteRule", "default", "one", "in effect", "", {"warns"}, {"web"}},
                          {"Service", "default", "web", "in effect", "", {}, {}},
                          {"Pod", "default", "web-1", "in effect", "", {}, {}}};
  const Json first = overview();
  ASSERT_EQ(first["policies"].size(), 1U) << "registry objects are none";
  EXPECT_EQ(first["policies"][0]["warnings"], Json::array({"warns"}));
  const Json again = overview(7);
  EXPECT_FALSE(again.contains("policies"));
  EXPECT_FALSE(again.contains("faults"));
  EXPECT_EQ(again["revision"], 7);
  EXPECT_EQ(node.asked, 1);
  EXPECT_TRUE(overview(8).contains("policies")) << "any other number is not what is in force";
}

// Requests follow a change before its policies can be told.
TEST_F(OverviewTest, AReaderAsksAgainForPoliciesThatLagBehind) {
  node.now.revision = 8;
  const Json early = overview(7);
  EXPECT_TRUE(early.contains("policies"));
  EXPECT_EQ(early["revision"], 7);
  node.policy.revision = 8;
  EXPECT_EQ(overview(7)["revision"], 8);
  EXPECT_FALSE(overview(8).contains("policies"));
}

TEST_F(OverviewTest, AFaultOfManyClustersIsOne) {
  const std::string object = "TrafficPolicy default/web";
  metrics::FaultState shadow = fault(object, "web");
  shadow.is_shadow = true;
  node.policy.faults = {fault(object, "web"),   shadow, fault("RouteRule default/x", "web"),
                        fault(object, "stock"), shadow, fault(object, "web"),
                        fault("none", "")};
  const Json faults = overview()["faults"];
  ASSERT_EQ(faults.size(), 4U);
  EXPECT_EQ(faults[0]["hosts"], Json::array({"stock", "web"}));
  EXPECT_EQ(faults[0]["abort_status"], -1);
  EXPECT_EQ(faults[0]["shadow"], false);
  EXPECT_EQ(faults[1]["shadow"], true);
  EXPECT_EQ(faults[1]["hosts"], Json::array({"web"}));
  EXPECT_EQ(faults[2]["object"], "RouteRule default/x");
  EXPECT_EQ(faults[3]["hosts"], Json::array());
}

TEST_F(OverviewTest, PoliciesAreBoundedAndTheRestIsCounted) {
  node.policy.policies.assign(2005, {"RouteRule", "default", "one", "in effect", "", {}, {}});
  const Json now = overview();
  EXPECT_EQ(now["policies"].size(), 2000U);
  EXPECT_EQ(now["policies_left_out"], 5);
}

// ---- traces ----------------------------------------------------------------------------------

TEST(Traces, ListAndOne) {
  metrics::TraceBook book;
  std::vector<metrics::Span> spans;
  metrics::make_spans(metrics::answered_request().record(), metrics::kUnixOffset, "node", spans);
  book.add(metrics::batch_of(spans));
  const Json list = Json::parse(traces_json(book, {}));
  ASSERT_EQ(list.size(), 1U);
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
  EXPECT_EQ(list[0]["id"], id);
  EXPECT_EQ(list[0]["name"], "reviews-v2");
  EXPECT_EQ(list[0]["source"], "productpage.default");
  EXPECT_EQ(list[0]["host"], "reviews.default");
  EXPECT_EQ(list[0]["status"], 200);
  EXPECT_EQ(list[0]["spans"], 2);
  EXPECT_EQ(list[0]["duration_us"], 25'000);

  const Json trace = Json::parse(trace_json(book, id));
  ASSERT_EQ(trace["spans"].size(), 2U);
  EXPECT_EQ(trace["spans"][0]["kind"], "CLIENT");
  EXPECT_EQ(trace["spans"][0]["parent"], "0af7651916cd43dd");
  EXPECT_EQ(trace["spans"][1]["parent"], trace["spans"][0]["id"]);
  EXPECT_EQ(trace["spans"][0]["tags"]["guid:x-request-id"], "id-1");
  EXPECT_EQ(trace_json(book, "4bf92f3577b34da6a3ce929d0e0e4737"), "");
  EXPECT_EQ(trace_json(book, "<script>"), "");
}

TEST(Traces, TagsOfClientsStayText) {
  metrics::TraceBook book;
  Told told = metrics::answered_request();
  told.texts.user_agent = "<img onerror=\"x\">\xc3";
  std::vector<metrics::Span> spans;
  metrics::make_spans(told.record(), metrics::kUnixOffset, "node", spans);
  book.add(metrics::batch_of(spans));
  const Json trace = Json::parse(trace_json(book, "4bf92f3577b34da6a3ce929d0e0e4736"));
  EXPECT_EQ(trace["spans"][0]["tags"]["user_agent"], "<img onerror=\"x\">\xef\xbf\xbd");
}

}  // namespace
}  // namespace np::admin
