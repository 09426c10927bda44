// SPDX-License-Identifier: Apache-2.0
// What /metrics says of series that two shards wrote.
#include "metrics/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Every sample by its name and labels. Two of the same would be a broken answer.
std::map<std::string, double> samples_of(const std::string& text) {
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.front() == '#') continue;
    const size_t blank = line.rfind(' ');
    const auto [place, is_new] =
        samples.emplace(line.substr(0, blank), std::stod(line.substr(blank + 1)));
    EXPECT_TRUE(is_new) << "twice: " << place->first;
  }
  return samples;
}

// Of all samples of a name that have these labels.
double sum_of(const std::string& text, const std::string& name,
              const std::vector<std::string>& labels = {}) {
  double sum = 0;
  for (const auto& sample : samples_of(text)) {
    const auto& key = sample.first;
    const auto& value = sample.second;
    if (key.substr(0, key.find('{')) != name) continue;
    const bool has_all = std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
      return key.find(label) != std::string::npos;
    });
    if (has_all) sum += value;
  }
  return sum;
}

// Two shards that saw requests, and what the node says beside them.
class ExpositionTest : public ::testing::Test {
 protected:
  RequestCounters& request(size_t shard, const Told& told) {
    std::string name;
    write_series_name(told.report, told.texts, name);
    return stores[shard].request(name);
  }
  void count(size_t shard, const Told& told, uint64_t requests) {
    RequestCounters& counters = request(shard, told);
    add(counters.requests, requests);
    add(counters.duration_us, requests * 1500);
    add(counters.duration_buckets[2], requests);  // up to 2.5 ms
  }
  std::string text() const { return exposition(node, *telemetry); }

  SeriesMemory memories[2];
  SeriesStore stores[2] = {SeriesStore(*memories[0], *memories[0]),
                           SeriesStore(*memories[1], *memories[0])};
  std::unique_ptr<Telemetry> telemetry =
      Telemetry::create({}, {&*memories[0], &*memories[1]}).value();
  NodeTotals node;
};

TEST(FamilySet, EscapesLabelValuesAndHelp) {
  FamilySet families;
  families.gauge("a", "says \"x\"\\\nand ends", {{"b", "quote \" back \\ line\nend <b>"}}, 1.5);
  EXPECT_EQ(families.text(),
            "# HELP a says \"x\"\\\\\\nand ends\n# TYPE a gauge\n"
            "a{b=\"quote \\\" back \\\\ line\\nend <b>\"} 1.5\n");
  EXPECT_EQ(families.text(), "") << "it was emptied";
}

TEST(FamilySet, HistogramsAreCumulative) {
  const std::vector<double> bounds = {1, 2.5};
  const std::vector<uint64_t> buckets = {2, 0, 3};
  FamilySet families;
  families.histogram("h", "Help", {{"a", "1"}}, {bounds, buckets, 10.25});
  EXPECT_EQ(families.text(),
            "# HELP h Help\n# TYPE h histogram\nh_count{a=\"1\"} 5\nh_sum{a=\"1\"} 10.25\n"
            "h_bucket{a=\"1\",le=\"1\"} 2\nh_bucket{a=\"1\",le=\"2.5\"} 2\n"
            "h_bucket{a=\"1\",le=\"+Inf\"} 5\n");
  families.histogram("h", "Help", {}, {bounds, buckets, 0});
  EXPECT_THAT(families.text(), HasSubstr("h_count 5\nh_sum 0\nh_bucket{le=\"1\"} 2\n"));
}

TEST(FamilySet, CallsCounterOnlyWhatHasTheNameOfOne) {
  FamilySet families;
  families.count("a_total", "A", {{"x", "1"}}, 1);
  families.count("envoy_rq", "B", {}, 2);
  families.count("a_total", "A", {{"x", "2"}}, 3);
  families.untyped("membership_total", "C", {}, 4);
  EXPECT_EQ(families.text(),
            "# HELP a_total A\n# TYPE a_total counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 3\n"
            "# HELP envoy_rq B\n# TYPE envoy_rq untyped\nenvoy_rq 2\n"
            "# HELP membership_total C\n# TYPE membership_total untyped\nmembership_total 4\n")
      << "a family is one block, whoever comes in between";
}

TEST_F(ExpositionTest, SumsOverShards) {
  count(0, answered_request(), 3);
  count(1, answered_request(), 4);
  add(stores[0].cluster("c").upstream_rq_total, 5);
  add(stores[1].cluster("c").upstream_rq_total, 6);
  const std::string now = text();
  EXPECT_EQ(sum_of(now, "istio_requests_total", {"reporter=\"source\""}), 7);
  EXPECT_EQ(sum_of(now, "istio_request_duration_milliseconds_sum", {"reporter=\"source\""}), 10.5);
  EXPECT_EQ(sum_of(now, "istio_request_duration_milliseconds_bucket",
                   {"reporter=\"source\"", "le=\"1\""}),
            0);
  EXPECT_EQ(sum_of(now, "istio_request_duration_milliseconds_bucket",
                   {"reporter=\"source\"", "le=\"2.5\""}),
            7);
  EXPECT_EQ(sum_of(now, "envoy_cluster_upstream_rq_total", {"cluster_name=\"c\""}), 11);
  EXPECT_EQ(sum_of(now, "nodeproxy_series_used", {"kind=\"requests\""}), 2)
      << "of the fullest shard; one of them is the overflow";
}

// Kinds of requests that differ in what a family does not say are one series of it.
TEST_F(ExpositionTest, EqualLabelSetsAreOneSeries) {
  Told other = answered_request();
  other.texts.route = "another-route";
  other.texts.cluster = "outbound|9080||reviews.default.svc.cluster.local";
  count(0, answered_request(), 1);
  count(0, other, 2);
  const std::string now = text();  // none is told twice: see samples_of
  EXPECT_EQ(sum_of(now, "istio_requests_total", {"reporter=\"source\""}), 3);
  EXPECT_EQ(sum_of(now, "nodeproxy_route_requests_total", {"route=\"another-route\""}), 2);
  size_t series = 0;
  for (const auto& [key, value] : samples_of(now)) {
    series += key.starts_with("istio_requests_total{reporter=\"source\"") ? 1 : 0;
  }
  EXPECT_EQ(series, 1U);
}

TEST_F(ExpositionTest, TheDestinationsSideIsToldWhereItIsKnown) {
  count(0, answered_request(), 5);
  count(0, refused_at_gateway(), 2);
  const std::string now = text();
  const std::string name = "istio_requests_total";
  EXPECT_EQ(sum_of(now, name, {"reporter=\"destination\""}), 5);
  EXPECT_EQ(sum_of(now, name, {"reporter=\"source\""}), 7);
  EXPECT_EQ(sum_of(now, name,
                   {"reporter=\"destination\"", "destination_app=\"reviews\"",
                    "destination_version=\"v2\"", "source_app=\"productpage\"",
                    "destination_service_name=\"reviews\"", "response_flags=\"-\""}),
            5);
  EXPECT_EQ(sum_of(now, name,
                   {"source_workload=\"ingress\"", "source_workload_namespace=\"istio-system\"",
                    "response_code=\"404\"", "response_flags=\"NR\""}),
            2);
  EXPECT_EQ(sum_of(now, "istio_request_count",
                   {"source_service=\"productpage.default.svc.cluster.local\"",
                    "destination_service=\"reviews.default.svc.cluster.local\""}),
            5);
}

TEST_F(ExpositionTest, ConnectionsAreNoRequests) {
  Told told = answered_request();
  told.report.opaque = true;
  told.report.status = 0;
  add(request(0, told).opened, 3);
  add(request(0, told).requests, 2);
  add(request(0, told).request_bytes, 70);
  const std::string now = text();
  EXPECT_THAT(now, Not(HasSubstr("istio_requests_total{")));
  EXPECT_THAT(now, Not(HasSubstr("istio_request_count{")));
  const std::vector<std::string> source = {"reporter=\"source\"", "request_protocol=\"tcp\""};
  EXPECT_EQ(sum_of(now, "istio_tcp_connections_opened_total", source), 3);
  EXPECT_EQ(sum_of(now, "istio_tcp_connections_closed_total", source), 2);
  EXPECT_EQ(sum_of(now, "istio_tcp_received_bytes_total", source), 70);
  EXPECT_EQ(sum_of(now, "envoy_http_downstream_rq_time_count"), 0);
}

TEST_F(ExpositionTest, WhatFoundNoRoomIsCalledOverflow) {
  Told told = answered_request();
  const std::string endless(RequestSlot::kNameBytesMax, 'x');
  told.texts.route = endless;
  count(0, told, 4);
  const std::string now = text();
  EXPECT_EQ(sum_of(now, "istio_requests_total",
                   {"source_workload=\"overflow\"", "destination_workload=\"overflow\"",
                    "response_code=\"0\"", "reporter=\"source\""}),
            4);
  EXPECT_EQ(sum_of(now, "istio_requests_total", {"reporter=\"destination\""}), 0);
  EXPECT_EQ(sum_of(now, "nodeproxy_route_requests_total", {"object=\"overflow\""}), 4);
  EXPECT_THAT(now, Not(HasSubstr(endless)));
}

TEST_F(ExpositionTest, HostileNamesStayLabelValues) {
  Told told = answered_request();
  told.texts.source_workload = told.texts.source_app = "x\"} 1\nevil_total 7\\";
  count(0, told, 1);
  const std::string now = text();
  EXPECT_THAT(now, HasSubstr(R"(source_workload="x\"} 1\nevil_total 7\\")"));
  EXPECT_THAT(now, Not(HasSubstr("\nevil_total")));
}

// ---- clusters --------------------------------------------------------------------------------

TEST(StatsdName, IsThatOfIstiosFirstDashboards) {
  EXPECT_EQ(statsd_name("out.ratings.default.svc.cluster.local|http|version=v1"),
            "out_ratings_default_svc_cluster_local_http_version_v1");
  EXPECT_EQ(statsd_name("a,b-c"), "a_b_c");
}

ClusterState cluster_state(const std::string& name, const std::string& legacy) {
  ClusterState state;
  state.name = name;
  state.legacy_name = legacy;
  state.endpoints = 3;
  state.healthy = 2;
  state.ejected = 1;
  return state;
}

TEST_F(ExpositionTest, ClustersHaveTheirStatsdNameToo) {
  node.clusters = {
      cluster_state("outbound|80|v1|web.default.svc.cluster.local",
                    "out.web.default.svc.cluster.local|http|version=v1"),
      cluster_state("mangled alike", "out.web-default.svc.cluster.local|http|version=v1"),
      cluster_state("of today only", "")};
  ClusterCounters& counters = stores[1].cluster(node.clusters[0].name);
  add(counters.upstream_cx_total, 5);
  add(counters.upstream_cx_destroy, 3);
  const std::string now = text();
  const std::string alias = "envoy_cluster_out_web_default_svc_cluster_local_http_version_v1_";
  const auto samples = samples_of(now);
  EXPECT_EQ(samples.at(alias + "outlier_detection_ejections_active"), 1);
  EXPECT_EQ(samples.at(alias + "membership_healthy"), 2);
  EXPECT_EQ(samples.at(alias + "upstream_cx_active"), 2);
  EXPECT_THAT(now, Not(HasSubstr("envoy_cluster__")));
  EXPECT_EQ(sum_of(now, "envoy_cluster_membership_total"), 9);
  EXPECT_EQ(sum_of(now, "envoy_cluster_outlier_detection_ejections_active",
                   {"cluster_name=\"of today only\"", "envoy_cluster_name=\"of today only\""}),
            1);
}

TEST_F(ExpositionTest, BreakersAreThoseOfTheBusiestCaller) {
  ClusterState state = cluster_state("c", "");
  state.max_connections = 2;
  state.requests = 3;  // of two callers
  state.busiest_requests = 1;
  state.max_pending = 1;
  state.waiting = state.busiest_waiting = 1;
  node.clusters = {state};
  const std::string now = text();
  const std::string prefix = "envoy_cluster_circuit_breakers_default_";
  EXPECT_EQ(sum_of(now, prefix + "cx_open"), 0);
  EXPECT_EQ(sum_of(now, prefix + "remaining_cx"), 1);
  EXPECT_EQ(sum_of(now, prefix + "pending_open"), 1);
  EXPECT_EQ(sum_of(now, prefix + "remaining_pending"), 0);
  EXPECT_THAT(now, Not(HasSubstr(prefix + "rq_open"))) << "there is no such limit";
}

// A shard goes on counting while the two numbers are read, so the second may be the larger one.
TEST_F(ExpositionTest, WhatIsUnderWayIsNeverLessThanNothing) {
  ClusterCounters& counters = stores[0].cluster("c");
  add(counters.upstream_cx_total, 5);
  add(counters.upstream_cx_destroy, 6);
  add(counters.upstream_rq_ended, 1);
  node.clusters = {cluster_state("c", "out.c")};
  node.engine = {{"downstream_rq_started", "", 1}, {"downstream_rq_completed", "", 2}};
  const std::string now = text();
  EXPECT_EQ(sum_of(now, "envoy_cluster_upstream_cx_active"), 0);
  EXPECT_EQ(sum_of(now, "envoy_cluster_upstream_rq_active"), 0);
  EXPECT_EQ(sum_of(now, "envoy_cluster_out_c_upstream_cx_active"), 0);
  EXPECT_EQ(sum_of(now, "envoy_http_downstream_rq_active"), 0);
}

// ---- the node --------------------------------------------------------------------------------

TEST_F(ExpositionTest, WhatBeginsAgainWithAWorkerIsAGauge) {
  count(0, answered_request(), 1);
  stores[0].cluster("c");
  PodState pod;
  pod.id = 7;
  pod.name = "default/client";
  pod.flows_open = 2;
  pod.use = {{"flows_opened", "Begun", 9}};
  node.pods = {pod};
  node.clusters = {cluster_state("c", "")};
  // An id that shares its lower bits, and is another pod.
  PodPlaces(memories[0]->pod_owners).keep({7, 7 + 4096}, [](uint32_t) {});
  add(stores[1].pod(7 + 4096).requests, 100);
  add(stores[0].pod(7).requests, 4);
  add(stores[1].pod(7).requests, 5);
  const std::string now = text();
  for (const char* type :
       {"nodeproxy_open_connections gauge", "nodeproxy_worker_cpu_seconds gauge",
        "nodeproxy_pod_flows_open gauge", "nodeproxy_pod_requests_total counter",
        "nodeproxy_pod_flows_opened_total counter", "istio_requests_total counter",
        "istio_request_duration_milliseconds histogram", "envoy_cluster_upstream_cx_active gauge",
        "envoy_cluster_upstream_rq_total counter", "envoy_cluster_upstream_rq_xx untyped",
        "envoy_cluster_membership_total untyped"}) {
    EXPECT_THAT(now, HasSubstr(std::string("# TYPE ") + type + "\n"));
  }
  const std::vector<std::string> client = {"namespace=\"default\"", "pod=\"client\""};
  EXPECT_EQ(sum_of(now, "nodeproxy_pod_requests_total", client), 9);
  EXPECT_EQ(sum_of(now, "nodeproxy_pod_flows_opened_total", client), 9);
}

TEST_F(ExpositionTest, ANodeWithoutAnythingSaysSo) {
  const std::string now = text();
  EXPECT_EQ(sum_of(now, "nodeproxy_open_connections"), 0);
  EXPECT_EQ(sum_of(now, "nodeproxy_told_records_total"), 0);
  EXPECT_THAT(now, Not(HasSubstr("istio_requests_total{")));
  EXPECT_THAT(now, Not(HasSubstr("envoy_cluster_upstream_rq_total{"))) << "an empty overflow";
}

}  // namespace
}  // namespace np::metrics
