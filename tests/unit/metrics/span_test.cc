// SPDX-License-Identifier: Apache-2.0
#include "metrics/span.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using Tags = std::map<std::string, std::string>;

std::vector<Span> spans_of(const Told& told) {
  std::vector<Span> spans;
  make_spans(told.record(), kUnixOffset, "node-1", spans);
  return spans;
}

Tags tags_of(const Span& span) {
  Tags tags;
  for (const auto& [key, value] : span.tags) {
    EXPECT_TRUE(tags.emplace(key, value).second) << key << " twice";
  }
  return tags;
}

constexpr int64_t kStartUs = 1'795'690'530'123'000;

TEST(Spans, ACapturedRequestHasTheCallersAndTheCalledSide) {
  const std::vector<Span> spans = spans_of(answered_request());
  ASSERT_EQ(spans.size(), 2U);
  const Span& caller = spans[0];
  EXPECT_EQ(caller.kind, Span::Kind::kClient);
  EXPECT_EQ(caller.id, 0x00f067aa0ba902b7U);
  EXPECT_EQ(caller.parent, 0x0af7651916cd43ddU);
  EXPECT_EQ(caller.name, "reviews-v2");
  EXPECT_EQ(caller.service, "productpage.default");
  EXPECT_EQ(caller.own.to_string(), "10.0.0.9:40000");
  EXPECT_EQ(caller.peer.to_string(), "10.96.0.7:9080");
  EXPECT_EQ(caller.start_unix_us, kStartUs);
  EXPECT_EQ(caller.duration_us, 25'000);
  const Span& called = spans[1];
  EXPECT_EQ(called.kind, Span::Kind::kServer);
  EXPECT_EQ(called.id, 0x0b7ad6b716920333U);
  EXPECT_EQ(called.parent, caller.id);
  EXPECT_EQ(called.name, "reviews-v2");
  EXPECT_EQ(called.service, "reviews.default");
  EXPECT_EQ(called.own.to_string(), "10.1.0.1:9080");
  EXPECT_EQ(called.peer.to_string(), "10.0.0.9:40000");
  EXPECT_EQ(called.start_unix_us, kStartUs + 1000) << "when it was sent";
  EXPECT_EQ(called.duration_us, 24'000);
  for (const Span& span : spans) {
    EXPECT_EQ(span.trace_high, 0x4bf92f3577b34da6U);
    EXPECT_EQ(span.trace_low, 0xa3ce929d0e0e4736U);
    EXPECT_TRUE(span.is_sampled);
    EXPECT_FALSE(span.is_error);
  }
}

TEST(Spans, TagsOfBothSides) {
  const std::vector<Span> spans = spans_of(answered_request());
  ASSERT_EQ(spans.size(), 2U);
  const Tags common = {
      {"component", "proxy"},        {"node_id", "node-1"},
      {"http.method", "GET"},        {"http.url", "http://reviews:9080/reviews/7?x=1"},
      {"http.protocol", "HTTP/1.1"}, {"http.status_code", "200"},
      {"user_agent", "curl/8"},      {"guid:x-request-id", "id-1"},
      {"request_size", "11"},        {"response_size", "22"},
      {"response_flags", "-"}};
  Tags caller = common;
  caller.insert({{"upstream_cluster", "outbound|9080|v2|reviews.default.svc.cluster.local"},
                 {"upstream_cluster.name", "outbound|9080|v2|reviews.default.svc.cluster.local"},
                 {"downstream_cluster", "productpage.default"},
                 {"response_code_details", "via_upstream"},
                 {"nodeproxy.object", "VirtualService default/reviews"},
                 {"nodeproxy.route", "reviews-v2"},
                 {"nodeproxy.subset", "v2"},
                 {"nodeproxy.source_pod", "productpage-1"},
                 {"nodeproxy.endpoint_pod", "default/reviews-v2-1"},
                 {"nodeproxy.endpoint", "10.1.0.1:9080"}});
  EXPECT_EQ(tags_of(spans[0]), caller);
  Tags called = common;
  called.insert({{"nodeproxy.endpoint_pod", "default/reviews-v2-1"},
                 {"nodeproxy.version", "v2"},
                 {"peer.address", "10.0.0.9:40000"}});
  EXPECT_EQ(tags_of(spans[1]), called);
}

TEST(Spans, AGatewaysOwnSpanIsAServers) {
  Told told = answered_request();
  told.report.gateway = true;
  told.texts.gateway = "istio-system/ingress";
  told.texts.source_pod = told.texts.source_workload = told.texts.source_namespace = {};
  const std::vector<Span> spans = spans_of(told);
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[0].kind, Span::Kind::kServer);
  EXPECT_EQ(spans[0].service, "ingress.istio-system");
  EXPECT_EQ(spans[0].own.to_string(), "10.96.0.7:9080");
  EXPECT_EQ(spans[0].peer.to_string(), "10.0.0.9:40000");
  EXPECT_EQ(spans[1].kind, Span::Kind::kServer);
  EXPECT_EQ(spans[1].parent, spans[0].id);
  EXPECT_EQ(spans[1].service, "reviews.default");
}

TEST(Spans, WithoutAnEndpointThereIsNoCalledSide) {
  const std::vector<Span> spans = spans_of(refused_at_gateway());
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].name, "default-route");
  EXPECT_EQ(spans[0].parent, 0U);
  EXPECT_EQ(spans[0].id, 8U);
  EXPECT_FALSE(spans[0].is_error) << "404 is none";
  const Tags tags = tags_of(spans[0]);
  EXPECT_EQ(tags.at("response_flags"), "NR");
  EXPECT_EQ(tags.at("response_code_details"), "route_not_found");
  EXPECT_FALSE(tags.contains("nodeproxy.endpoint"));
  EXPECT_FALSE(tags.contains("upstream_cluster"));
}

TEST(Spans, FaultsRetriesAndLimitsAreTags) {
  Told told = answered_request();
  told.report.delay = std::chrono::seconds(7);
  told.report.ended += told.report.delay;
  told.report.retries = 2;
  told.report.waited = true;
  told.report.fault_status = 555;
  told.report.status = 555;
  told.report.sent = told.report.answered = {};
  told.texts.flags = "FI";
  std::vector<Span> spans = spans_of(told);
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_TRUE(spans[0].is_error);
  Tags tags = tags_of(spans[0]);
  EXPECT_EQ(tags.at("fault.delay_ms"), "7000");
  EXPECT_EQ(tags.at("fault.abort"), "555");
  EXPECT_EQ(tags.at("nodeproxy.retries"), "2");
  EXPECT_EQ(tags.at("nodeproxy.waited"), "true");
  EXPECT_EQ(tags.at("response_flags"), "DI,FI");
  EXPECT_EQ(tags.at("error"), "true");
  told.report.fault_status = RequestReport::kFaultReset;
  spans = spans_of(told);
  EXPECT_EQ(tags_of(spans[0]).at("fault.abort"), "reset");
}

TEST(Spans, AResetIsAnError) {
  Told told = answered_request();
  told.report.status = 0;
  told.report.is_failure = true;
  told.report.trace.sampled = false;
  for (const Span& span : spans_of(told)) {
    EXPECT_TRUE(span.is_error);
    EXPECT_FALSE(span.is_sampled);
    EXPECT_EQ(tags_of(span).at("error"), "true");
  }
}

TEST(Spans, ADurationIsPositive) {
  Told told = refused_at_gateway();
  told.report.ended = told.report.started;
  EXPECT_EQ(spans_of(told)[0].duration_us, 1);
}

// A span of no service is found by nobody.
TEST(Spans, WhatPassesThroughHasAServiceToo) {
  Told told = answered_request();
  told.texts.host = told.texts.route = told.texts.subset = {};
  told.texts.cluster = "passthrough";
  told.texts.endpoint_app = told.texts.endpoint_pod = {};
  std::vector<Span> spans = spans_of(told);
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[1].service, "passthrough");
  told.texts.cluster = {};
  EXPECT_EQ(spans_of(told)[1].service, "unknown");
}

// The book keeps thousands of spans: a client must not decide how large they are.
TEST(Spans, TextsOfClientsAreCut) {
  Told told = answered_request();
  const std::string text(2000, 'x');
  const std::string path = "/" + text;
  told.texts.method = told.texts.authority = told.texts.user_agent = told.texts.request_id = text;
  told.texts.path = path;
  size_t bytes = 0;
  for (const Span& span : spans_of(told)) {
    for (const auto& [key, value] : span.tags) bytes += value.size();
    const Tags tags = tags_of(span);
    EXPECT_EQ(tags.at("user_agent"), text.substr(0, 256));
    EXPECT_EQ(tags.at("http.url"), "http://" + text.substr(0, 256) + path.substr(0, 256));
  }
  EXPECT_LT(bytes, 4096U);
}

TEST(Spans, OfATargetThatIsNoPathOnlyTheAuthorityIsShown) {
  Told told = answered_request();
  told.texts.path = "*";
  EXPECT_EQ(tags_of(spans_of(told)[0]).at("http.url"), "http://reviews:9080");
}

TEST(TraceIdText, WritesAndReads) {
  EXPECT_EQ(trace_id_text(0x4bf92f3577b34da6, 0xa3ce929d0e0e4736),
            "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(trace_id_text(0, 7), "00000000000000000000000000000007");
  uint64_t high = 1, low = 1;
  EXPECT_TRUE(parse_trace_id("4bf92f3577b34da6a3ce929d0e0e4736", high, low));
  EXPECT_EQ(high, 0x4bf92f3577b34da6U);
  EXPECT_EQ(low, 0xa3ce929d0e0e4736U);
  EXPECT_TRUE(parse_trace_id("A3CE929D0E0E4736", high, low));
  EXPECT_EQ(high, 0U);
  EXPECT_EQ(low, 0xa3ce929d0e0e4736U);
  for (const char* bad :
       {"", "7", "a3ce929d0e0e473g", "-3ce929d0e0e4736", "0xce929d0e0e4736", " 3ce929d0e0e4736",
        "4bf92f3577b34da6a3ce929d0e0e47361", "4bf92f3577b34da6 3ce929d0e0e4736"}) {
    EXPECT_FALSE(parse_trace_id(bad, high, low)) << bad;
  }
}

}  // namespace
}  // namespace np::metrics
