// SPDX-License-Identifier: Apache-2.0
#include "metrics/span_codec.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using Json = nlohmann::json;

std::vector<Span> some_spans() {
  std::vector<Span> spans;
  Told failed = answered_request();
  failed.report.status = 503;
  failed.texts.user_agent = "\"\n\xff";
  failed.texts.endpoint = address_of("[fd00::1]:9080");
  make_spans(failed.record(), kUnixOffset, "node-1", spans);
  make_spans(refused_at_gateway().record(), kUnixOffset, "node-1", spans);
  return spans;
}

bool is_hex(const Json& value, size_t digits) {
  const std::regex pattern("[0-9a-f]{" + std::to_string(digits) + "}");
  return value.is_string() && std::regex_match(value.get<std::string>(), pattern);
}

TEST(ZipkinBody, IsWhatTheSchemaAsks) {
  const Json body = Json::parse(zipkin_body(kept(batch_of(some_spans()))));
  ASSERT_EQ(body.size(), 3U);
  for (const Json& span : body) {
    EXPECT_TRUE(is_hex(span["traceId"], 32));
    EXPECT_TRUE(is_hex(span["id"], 16));
    EXPECT_TRUE(span["timestamp"].is_number_unsigned());
    EXPECT_TRUE(span["duration"].is_number_unsigned());
    EXPECT_TRUE(span["name"].is_string());
    EXPECT_FALSE(span["localEndpoint"]["serviceName"].get<std::string>().empty());
    for (const auto& [key, value] : span["tags"].items()) EXPECT_TRUE(value.is_string()) << key;
  }
  const Json& caller = body[0];
  EXPECT_EQ(caller["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(caller["id"], "00f067aa0ba902b7");
  EXPECT_EQ(caller["parentId"], "0af7651916cd43dd");
  EXPECT_EQ(caller["kind"], "CLIENT");
  EXPECT_EQ(caller["timestamp"], 1'795'690'530'123'000);
  EXPECT_EQ(caller["duration"], 25'000);
  EXPECT_EQ(caller["localEndpoint"],
            (Json{{"serviceName", "productpage.default"}, {"ipv4", "10.0.0.9"}, {"port", 40000}}));
  EXPECT_EQ(caller["remoteEndpoint"], (Json{{"ipv4", "10.96.0.7"}, {"port", 9080}}));
  EXPECT_EQ(caller["tags"]["error"], "true");
  EXPECT_EQ(caller["tags"]["user_agent"], "\"\n\xef\xbf\xbd");
  EXPECT_EQ(body[1]["kind"], "SERVER");
  EXPECT_EQ(body[1]["parentId"], caller["id"]);
  EXPECT_EQ(body[1]["localEndpoint"]["ipv6"], "fd00::1");
  EXPECT_FALSE(body[2].contains("parentId")) << "it begins here";
  EXPECT_EQ(body[2]["kind"], "SERVER");
}

TEST(ZipkinBody, DebugIsToldToTheCollector) {
  std::vector<Span> spans;
  Told told = answered_request();
  make_spans(told.record(), kUnixOffset, "node-1", spans);
  told.report.trace.debug = true;
  make_spans(told.record(), kUnixOffset, "node-1", spans);
  const Json body = Json::parse(zipkin_body(kept(batch_of(std::move(spans)))));
  ASSERT_EQ(body.size(), 4U);
  EXPECT_FALSE(body[0].contains("debug") || body[1].contains("debug"));
  EXPECT_EQ(body[2]["debug"], true);
  EXPECT_EQ(body[3]["debug"], true);
}

TEST(ZipkinBody, UnknownAddressesAreLeftOut) {
  Span span;
  span.service = "a";
  const Json body = Json::parse(zipkin_body(kept(batch_of({span}))));
  EXPECT_EQ(body[0]["localEndpoint"], (Json{{"serviceName", "a"}}));
  EXPECT_FALSE(body[0].contains("remoteEndpoint"));
  EXPECT_EQ(Json::parse(zipkin_body({})), Json::array());
}

std::map<std::string, Json> attributes_of(const Json& list) {
  std::map<std::string, Json> attributes;
  for (const Json& one : list) {
    EXPECT_TRUE(attributes.emplace(one["key"], one["value"]).second) << one["key"] << " twice";
  }
  return attributes;
}

void expect_otlp_span(const Json& span) {
  EXPECT_TRUE(is_hex(span["traceId"], 32));
  EXPECT_TRUE(is_hex(span["spanId"], 16));
  EXPECT_TRUE(span["kind"].is_number_integer());
  for (const char* time : {"startTimeUnixNano", "endTimeUnixNano"}) {
    ASSERT_TRUE(span[time].is_string()) << time;
    EXPECT_EQ(span[time].get<std::string>().size(), 19U) << "nanoseconds since 1970";
  }
  EXPECT_LT(span["startTimeUnixNano"].get<std::string>(),
            span["endTimeUnixNano"].get<std::string>());
}

TEST(OtlpBody, IsWhatTheSchemaAsks) {
  const Json body = Json::parse(otlp_body(kept(batch_of(some_spans()))));
  std::map<std::string, Json> by_service;
  for (const Json& resource : body["resourceSpans"]) {
    const Json name = attributes_of(resource["resource"]["attributes"])["service.name"];
    ASSERT_EQ(resource["scopeSpans"].size(), 1U);
    const Json& scope = resource["scopeSpans"][0];
    EXPECT_EQ(scope["scope"]["name"], "nodeproxy");
    for (const Json& span : scope["spans"]) expect_otlp_span(span);
    EXPECT_TRUE(by_service.emplace(name["stringValue"], scope["spans"]).second);
  }
  ASSERT_EQ(by_service.size(), 3U);
  const Json& caller = by_service.at("productpage.default")[0];
  EXPECT_EQ(caller["kind"], 3) << "SPAN_KIND_CLIENT";
  EXPECT_EQ(caller["parentSpanId"], "0af7651916cd43dd");
  EXPECT_EQ(caller["startTimeUnixNano"], "1795690530123000000");
  EXPECT_EQ(caller["endTimeUnixNano"], "1795690530148000000");
  EXPECT_EQ(caller["status"], (Json{{"code", 2}}));
  const auto tags = attributes_of(caller["attributes"]);
  EXPECT_EQ(tags.at("http.request.method"), (Json{{"stringValue", "GET"}}));
  EXPECT_EQ(tags.at("url.full")["stringValue"], "http://reviews:9080/reviews/7?x=1");
  EXPECT_EQ(tags.at("user_agent.original")["stringValue"], "\"\n\xef\xbf\xbd");
  // An integer by the conventions; as text, like all 64-bit numbers.
  EXPECT_EQ(tags.at("http.response.status_code"), (Json{{"intValue", "503"}}));
  EXPECT_EQ(by_service.at("reviews.default")[0]["kind"], 2) << "SPAN_KIND_SERVER";
  const Json& refused = by_service.at("ingress.istio-system")[0];
  EXPECT_FALSE(refused.contains("parentSpanId"));
  EXPECT_EQ(refused["status"], Json::object());
}

TEST(OtlpBody, SpansOfOneServiceShareAResource) {
  std::vector<Span> spans(5);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].id = i + 1;
    spans[i].service = i % 2 == 0 ? "even" : "odd";
  }
  const Json body = Json::parse(otlp_body(kept(batch_of(spans))));
  ASSERT_EQ(body["resourceSpans"].size(), 2U);
  EXPECT_EQ(body["resourceSpans"][0]["scopeSpans"][0]["spans"].size(), 3U);
  EXPECT_EQ(body["resourceSpans"][1]["scopeSpans"][0]["spans"].size(), 2U);
  EXPECT_EQ(Json::parse(otlp_body({})), (Json{{"resourceSpans", Json::array()}}));
}

}  // namespace
}  // namespace np::metrics
