// SPDX-License-Identifier: Apache-2.0
// What the engine tells its observer when a request has ended, and the trace it puts it into.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

struct Told {
  RequestReport report;
  std::map<std::string, std::string> text;
  SocketAddress client, endpoint;
};

class Listener final : public RequestObserver {
 public:
  void on_policy() override { ++policies; }
  ClusterCounters& cluster_counters(std::string_view name) override {
    return clusters[std::string(name)];
  }
  void on_opened(const RequestReport&, const ReportSource&) override { ++opened; }
  void on_ended(const RequestReport& report, const ReportSource& source) override {
    RequestTexts texts;
    source.describe(texts);
    Told told{report, {}, texts.client, texts.endpoint};
    told.text["method"] = texts.method;
    told.text["path"] = texts.path;
    told.text["authority"] = texts.authority;
    told.text["route"] = texts.route;
    told.text["cluster"] = texts.cluster;
    told.text["flags"] = texts.flags;
    told.text["details"] = texts.details;
    told.text["request_id"] = texts.request_id;
    told.text["protocol"] = texts.protocol;
    ended.push_back(std::move(told));
  }
  std::map<std::string, ClusterCounters> clusters;
  std::vector<Told> ended;
  int opened = 0, policies = 0;
};

class EngineReport : public ::testing::Test {
 protected:
  EngineReport() {
    cluster = &policy.add_cluster("ratings", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    table = &policy.add_table();
    table->entries.push_back({"/", route});
    policy.capture(kService, table);
  }
  const Told& only() {
    EXPECT_EQ(heard.ended.size(), 1U);
    return heard.ended.back();
  }
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;
  PrefixTable* table;
  Listener heard;
  EngineRig rig{heard, TraceOptions{.enabled = true, .per_million = 1'000'000}};
};

TEST_F(EngineReport, AnAnsweredRequest) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService, "10.0.0.9:40000");
  rig.send(client, "POST /a?b=1 HTTP/1.1\r\nHost: ratings\r\nContent-Length: 5\r\n\r\nhello");
  rig.open(rig.upstream(0));
  rig.advance(seconds(2));
  rig.send(rig.upstream(0), kOk);
  const Told& told = only();
  EXPECT_EQ(told.report.status, 200);
  EXPECT_EQ(told.report.request_bytes, 5U);
  EXPECT_EQ(told.report.response_bytes, 2U);
  EXPECT_EQ(told.report.ended - told.report.started, seconds(2));
  EXPECT_EQ(told.report.answered, told.report.ended);
  EXPECT_EQ(told.report.outcome, RequestReport::Outcome::kCompleted);
  EXPECT_FALSE(told.report.is_failure);
  EXPECT_EQ(told.text.at("method"), "POST");
  EXPECT_EQ(told.text.at("path"), "/a?b=1");
  EXPECT_EQ(told.text.at("route"), "route-1");
  EXPECT_EQ(told.text.at("cluster"), "ratings");
  EXPECT_EQ(told.text.at("details"), "via_upstream");
  EXPECT_EQ(told.text.at("request_id").size(), 36U);
  EXPECT_EQ(told.client.to_string(), "10.0.0.9:40000");
  EXPECT_EQ(told.endpoint.to_string(), "10.1.0.1:9080");
  const ClusterCounters& counters = heard.clusters.at("ratings");
  EXPECT_EQ(counters.upstream_rq_total, 1U);
  EXPECT_EQ(counters.upstream_rq_ended, 1U);
  EXPECT_EQ(counters.upstream_rq_2xx, 1U);
  EXPECT_EQ(counters.upstream_cx_total, 1U);
  EXPECT_GT(counters.upstream_cx_tx_bytes_total, 5U);
}

TEST_F(EngineReport, ADelayAndAnAbort) {
  route->fault.emplace();
  route->fault->delay = policy::Fault::Delay{seconds(7), policy::kPerMillion};
  route->fault->abort = policy::Fault::Abort{555, policy::kPerMillion};
  rig.use(policy);
  rig.send(rig.connect_captured(kService), kGet);
  rig.advance(seconds(7));
  const Told& told = only();
  EXPECT_EQ(told.report.delay, seconds(7));
  EXPECT_EQ(told.report.fault_status, 555);
  EXPECT_EQ(told.report.status, 555);
  EXPECT_EQ(told.report.outcome, RequestReport::Outcome::kRefused);
  EXPECT_EQ(told.text.at("flags"), "FI");
  EXPECT_EQ(told.endpoint.port, 0) << "nobody was asked";
  EXPECT_EQ(heard.clusters.at("ratings").upstream_rq_total, 0U);
}

TEST_F(EngineReport, AClientThatLeaves) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.fail(client);
  EXPECT_EQ(only().report.outcome, RequestReport::Outcome::kAborted);
  EXPECT_EQ(only().report.status, 0);
  EXPECT_TRUE(only().report.is_failure);
  EXPECT_EQ(only().text.at("flags"), "DC");
  EXPECT_EQ(heard.clusters.at("ratings").upstream_rq_ended, 1U);
}

TEST_F(EngineReport, ARequestThatIsNone) {
  rig.use(policy);
  rig.send(rig.connect_captured(kService), "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n");
  EXPECT_EQ(only().report.status, 400);
  EXPECT_EQ(only().text.at("flags"), "DPE");
  EXPECT_FALSE(only().report.trace.is_on());
}

TEST_F(EngineReport, NoRoute) {
  table->entries.clear();
  rig.use(policy);
  rig.send(rig.connect_captured(kService), kGet);
  EXPECT_EQ(only().report.status, 404);
  EXPECT_EQ(only().text.at("flags"), "NR");
  EXPECT_EQ(only().text.at("cluster"), "");
}

TEST_F(EngineReport, RepeatsAreUsedUp) {
  route->retry.attempts = 1;
  route->retry.on = policy::kRetry5xx;
  rig.use(policy);
  rig.send(rig.connect_captured(kService), kGet);
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0), kFail);
  rig.advance(seconds(1));
  rig.send(rig.upstreams().back()->opened ? *rig.upstreams().back() : rig.upstream(0), kFail);
  EXPECT_EQ(only().report.retries, 1U);
  EXPECT_EQ(only().text.at("flags"), "URX");
  EXPECT_EQ(heard.clusters.at("ratings").upstream_rq_retry_limit_exceeded, 1U);
}

TEST_F(EngineReport, TheTraceOfTheCallerGoesOn) {
  rig.use(policy);
  rig.send(rig.connect_captured(kService),
           "GET / HTTP/1.1\r\nHost: ratings\r\nb3: 0\r\nx-b3-traceid: 1\r\n"
           "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
           "tracestate: a=b\r\n\r\n");
  rig.open(rig.upstream(0));
  const std::string sent = rig.take(rig.upstream(0));
  rig.send(rig.upstream(0), kOk);
  const TraceIds& trace = only().report.trace;
  EXPECT_EQ(trace.parent_span, 0x00f067aa0ba902b7U);
  EXPECT_TRUE(trace.sampled);
  EXPECT_THAT(sent, HasSubstr("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"));
  EXPECT_THAT(sent, Not(HasSubstr("-00f067aa0ba902b7-"))) << "the endpoint's parent is our span";
  EXPECT_THAT(sent, HasSubstr("tracestate: a=b\r\n"));
  EXPECT_THAT(sent, HasSubstr("x-b3-traceid: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("b3: 0\r\n")));
  EXPECT_THAT(sent, Not(HasSubstr("x-b3-traceid: 1\r\n")));
}

TEST_F(EngineReport, TracestateWithoutTraceparentEndsHere) {
  rig.use(policy);
  rig.send(rig.connect_captured(kService),
           "GET / HTTP/1.1\r\nHost: ratings\r\ntracestate: a=b\r\n\r\n");
  rig.open(rig.upstream(0));
  EXPECT_THAT(rig.take(rig.upstream(0)), Not(HasSubstr("tracestate")));
}

TEST(EngineWithoutTracing, TraceHeadersPassUntouched) {
  Listener heard;
  EngineRig rig(heard, TraceOptions{});
  PolicyFixture policy;
  policy::Cluster& cluster = policy.add_cluster("ratings", {"10.1.0.1:9080"});
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &policy.add_route(&cluster)});
  policy.capture(kService, &table);
  rig.use(policy);
  rig.send(rig.connect_captured(kService),
           "GET / HTTP/1.1\r\nHost: ratings\r\nb3: 0\r\ntracestate: a=b\r\n\r\n");
  rig.open(rig.upstream(0));
  const std::string sent = rig.take(rig.upstream(0));
  EXPECT_THAT(sent, HasSubstr("b3: 0\r\n"));
  EXPECT_THAT(sent, HasSubstr("tracestate: a=b\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("traceparent")));
}

}  // namespace
}  // namespace np::test
