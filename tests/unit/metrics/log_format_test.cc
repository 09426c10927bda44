// SPDX-License-Identifier: Apache-2.0
#include "metrics/log_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/random.h"
#include "metrics/log_fields.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string line_of(std::string_view format, const Told& told) {
  Result<LogFormat> parsed = LogFormat::parse(format);
  EXPECT_TRUE(parsed.has_value()) << parsed.error().to_string();
  std::string line;
  parsed->write(told.record(), kUnixOffset, line);
  return line;
}

std::string error_of(std::string_view format) {
  Result<LogFormat> parsed = LogFormat::parse(format);
  EXPECT_FALSE(parsed.has_value()) << format;
  return parsed.has_value() ? "" : parsed.error().to_string();
}

Told full_request() {
  Told told = answered_request();
  told.report.retries = 3;
  told.report.delay = std::chrono::milliseconds(1);
  told.texts.flags = "UT";
  told.texts.gateway = "istio-system/ingress";
  return told;
}

TEST(LogFormat, EveryOperator) {
  const std::map<std::string, std::string> expected = {
      {"START_TIME", "2026-11-26T10:55:30.123Z"},
      {"REQ(:METHOD)", "GET"},
      {"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "/reviews/7?x=1"},
      {"REQ(:PATH)", "/reviews/7?x=1"},
      {"PROTOCOL", "HTTP/1.1"},
      {"RESPONSE_CODE", "200"},
      {"RESPONSE_FLAGS", "DI,UT"},
      {"RESPONSE_CODE_DETAILS", "via_upstream"},
      {"CONNECTION_TERMINATION_DETAILS", "-"},
      {"UPSTREAM_TRANSPORT_FAILURE_REASON", "-"},
      {"BYTES_RECEIVED", "11"},
      {"BYTES_SENT", "22"},
      {"DURATION", "25"},
      {"RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "19"},
      {"REQ(X-FORWARDED-FOR)", "10.0.0.9"},
      {"REQ(USER-AGENT)", "curl/8"},
      {"REQ(X-REQUEST-ID)", "id-1"},
      {"REQ(:AUTHORITY)", "reviews:9080"},
      {"UPSTREAM_HOST", "10.1.0.1:9080"},
      {"UPSTREAM_CLUSTER", "outbound|9080|v2|reviews.default.svc.cluster.local"},
      {"UPSTREAM_LOCAL_ADDRESS", "-"},
      {"DOWNSTREAM_LOCAL_ADDRESS", "10.96.0.7:9080"},
      {"DOWNSTREAM_REMOTE_ADDRESS", "10.0.0.9:40000"},
      {"REQUESTED_SERVER_NAME", "-"},
      {"ROUTE_NAME", "reviews-v2"},
      {"POLICY", "VirtualService default/reviews"},
      {"SUBSET", "v2"},
      {"RETRIES", "3"},
      {"TRACE_ID", "4bf92f3577b34da6a3ce929d0e0e4736"},
      {"SOURCE_POD", "productpage-1"},
      {"SOURCE_NAMESPACE", "default"},
      {"UPSTREAM_POD", "default/reviews-v2-1"},
      {"GATEWAY", "istio-system/ingress"},
  };
  EXPECT_EQ(log_fields().size(), expected.size());
  for (const LogField& field : log_fields()) {
    const std::string op(field.op);
    ASSERT_TRUE(expected.contains(op)) << op;
    EXPECT_EQ(line_of("%" + op + "%", full_request()), expected.at(op) + "\n") << op;
  }
}

TEST(LogFormat, TheDefaultLine) {
  EXPECT_EQ(line_of("default", answered_request()),
            "[2026-11-26T10:55:30.123Z] \"GET /reviews/7?x=1 HTTP/1.1\" 200 - via_upstream - "
            "\"-\" 11 22 25 19 \"10.0.0.9\" \"curl/8\" \"id-1\" \"reviews:9080\" "
            "\"10.1.0.1:9080\" outbound|9080|v2|reviews.default.svc.cluster.local - "
            "10.96.0.7:9080 10.0.0.9:40000 - reviews-v2 \"VirtualService default/reviews\"\n");
  EXPECT_EQ(line_of("default", refused_at_gateway()),
            "[2026-11-26T10:55:30.123Z] \"GET / HTTP/1.1\" 404 NR route_not_found - \"-\" 0 0 2 - "
            "\"-\" \"-\" \"-\" \"shop.example\" \"-\" - - 10.0.0.1:80 192.0.2.1:50000 - - \"-\"\n");
}

TEST(LogFormat, AJsonLine) {
  const std::string line = line_of("json", full_request());
  ASSERT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["start_time"], "2026-11-26T10:55:30.123Z");
  EXPECT_EQ(json["response_code"], 200);
  EXPECT_EQ(json["response_flags"], "DI,UT");
  EXPECT_EQ(json["duration"], 25);
  EXPECT_EQ(json["bytes_sent"], 22);
  EXPECT_EQ(json["upstream_service_time"], 19);
  EXPECT_EQ(json["path"], "/reviews/7?x=1");
  EXPECT_EQ(json["upstream_host"], "10.1.0.1:9080");
  EXPECT_EQ(json["policy"], "VirtualService default/reviews");
  EXPECT_EQ(json["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_TRUE(json["upstream_local_address"].is_null());
  size_t keys = 0;
  for (const LogField& field : log_fields()) keys += field.json_key.empty() ? 0 : 1;
  EXPECT_EQ(json.size(), keys) << "no key twice";
  const auto refused = nlohmann::json::parse(line_of("json", refused_at_gateway()));
  EXPECT_TRUE(refused["upstream_service_time"].is_null());
  EXPECT_TRUE(refused["upstream_host"].is_null());
}

TEST(LogFormat, HostileTextStaysInItsPlace) {
  Told told = answered_request();
  told.texts.user_agent = "x\" 200\n[fake] \"GET\\ \r\x1b[2J\x7f\xff";
  EXPECT_EQ(line_of("\"%REQ(USER-AGENT)%\" end", told),
            "\"x\\x22 200\\x0a[fake] \\x22GET\\x5c \\x0d\\x1b[2J\\x7f\\xff\" end\n");
}

// A line stays a line, and a quoted part one part, whatever a client sends.
TEST(LogFormat, RandomBytesForgeNothing) {
  Rng random(5);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(random.below(40), '\0');
    for (char& c : bytes) c = static_cast<char>(random.next());
    Told told = answered_request();
    told.texts.path = told.texts.user_agent = told.texts.request_id = bytes;
    const std::string line = line_of("default", told);
    ASSERT_EQ(line.find_first_of("\n\r"), line.size() - 1);
    ASSERT_EQ(std::count(line.begin(), line.end(), '"'), 16);
    const auto json = nlohmann::json::parse(line_of("json", told), nullptr, false);
    ASSERT_TRUE(json.is_object());
    ASSERT_EQ(json["response_code"], 200);
  }
}

// U+0085 ends a line for some readers; raw 0x9b begins a command of a terminal.
TEST(LogFormat, ControlCharactersBehindAsciiAreShownAsBytes) {
  Told told = answered_request();
  told.texts.user_agent =
      "a\xc2\x85"
      "b\xc2\x9b"
      "2J\x9b"
      "c h\xc3\xa9 \xe2\x80\xa8.";
  EXPECT_EQ(line_of("%REQ(USER-AGENT)%", told),
            "a\\xc2\\x85b\\xc2\\x9b2J\\x9bc h\xc3\xa9 \\xe2\\x80\\xa8.\n");
}

TEST(LogFormat, TextsCanBeCut) {
  Told told = answered_request();
  told.texts.user_agent = "0123456789";
  EXPECT_EQ(line_of("%REQ(USER-AGENT):4%|", told), "0123|\n");
  EXPECT_EQ(line_of("%REQ(USER-AGENT):40%|", told), "0123456789|\n");
  EXPECT_EQ(line_of("%RESPONSE_CODE_DETAILS:3%|", told), "via|\n");
  told.texts.user_agent = "\n\n\n";
  EXPECT_EQ(line_of("%REQ(USER-AGENT):1%|", told), "\\x0a|\n") << "cut first, then escaped";
  for (const char* bad : {"%DURATION:%", "%DURATION:x%", "%DURATION:-1%", "%DURATION:1x%",
                          "%DURATION:99999999999999999999%"}) {
    EXPECT_THAT(error_of(bad), HasSubstr("DURATION:"));
  }
}

TEST(LogFormat, PlainTextAndPercent) {
  EXPECT_EQ(line_of("plain", answered_request()), "plain\n");
  EXPECT_EQ(line_of("100%% %RESPONSE_CODE%%%", answered_request()), "100% 200%\n");
  EXPECT_EQ(line_of("%response_code% %req(User-Agent)%", answered_request()), "200 curl/8\n");
}

TEST(LogFormat, AnUnknownOperatorIsToldWithThoseThatAreKnown) {
  const std::string error = error_of("%DURATION% %GRPC_STATUS%");
  EXPECT_THAT(error, HasSubstr("%GRPC_STATUS% is not known"));
  for (const LogField& field : log_fields()) EXPECT_THAT(error, HasSubstr(field.op));
}

TEST(LogFormat, AnOperatorWithoutItsEndIsToldAsSuch) {
  for (const char* format : {"%DURATION", "50%", "%DURATION% and %PROTOCOL"}) {
    EXPECT_THAT(error_of(format), HasSubstr("no second %"));
    EXPECT_THAT(error_of(format), Not(HasSubstr("is not known")));
  }
}

TEST(LogFormat, AnEmptyFormatIsRefused) {
  EXPECT_THAT(error_of(""), HasSubstr("access log format"));
}

}  // namespace
}  // namespace np::metrics
