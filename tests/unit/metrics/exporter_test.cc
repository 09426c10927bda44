// SPDX-License-Identifier: Apache-2.0
#include "metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tests/unit/metrics/collector.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Manner = Collector::Manner;
using Protocol = ExporterOptions::Protocol;

// ---- addresses ---------------------------------------------------------------------------------

TEST(ParseCollector, GoodAddresses) {
  struct Case {
    const char *url, *host;
    uint16_t port;
    const char* path;
  };
  for (const Case& wanted : std::initializer_list<Case>{
           {"http://zipkin", "zipkin", 9411, "/api/v2/spans"},
           {"http://zipkin/", "zipkin", 9411, "/api/v2/spans"},
           {"http://zipkin:80", "zipkin", 80, "/api/v2/spans"},
           {"http://zipkin.istio-system:9411/x", "zipkin.istio-system", 9411, "/x"},
           {"http://10.0.0.1:65535/a/b?c=d", "10.0.0.1", 65535, "/a/b?c=d"},
           {"http://zipkin/a:1", "zipkin", 9411, "/a:1"},
           {"http://[::1]", "::1", 9411, "/api/v2/spans"},
           {"http://[fd00::1]:4318/v1", "fd00::1", 4318, "/v1"},
       }) {
    const Result<ExporterOptions> options = parse_collector(Protocol::kZipkin, wanted.url);
    ASSERT_TRUE(options.has_value()) << wanted.url;
    EXPECT_EQ(options->host, wanted.host) << wanted.url;
    EXPECT_EQ(options->port, wanted.port) << wanted.url;
    EXPECT_EQ(options->path, wanted.path) << wanted.url;
  }
  const Result<ExporterOptions> otlp = parse_collector(Protocol::kOtlp, "http://otel");
  ASSERT_TRUE(otlp.has_value());
  EXPECT_EQ(otlp->port, 4318);
  EXPECT_EQ(otlp->path, "/v1/traces");
  EXPECT_EQ(otlp->protocol, Protocol::kOtlp);
}

TEST(ParseCollector, BadAddresses) {
  for (const char* url : {"",
                          "zipkin:9411",
                          "https://zipkin",
                          "HTTP//zipkin",
                          "http://",
                          "http://:9411",
                          "http:///x",
                          "http://zipkin:",
                          "http://zipkin:0",
                          "http://zipkin:65536",
                          "http://zipkin:9411x",
                          "http://zipkin:-1",
                          "http://zip kin",
                          "http://zipkin/a b",
                          "http://zipkin/\r\nX: y",
                          "http://user@zipkin",
                          "http://zipkin:80:90",
                          "http://::1",
                          "http://::1:9411",
                          "http://[::1",
                          "http://[::1]x",
                          "http://[::1]x:80",
                          "http://[]",
                          "http://[zipkin]:80",
                          "http://[10.0.0.1]",
                          "http://::1]:80",
                          "http://zipkin?x",
                          "http://zipkin#x",
                          "http://zipkin/x#y",
                          "http://zip\"kin",
                          "http://zip[kin]:80",
                          "http://caf\xc3\xa9"}) {
    const Result<ExporterOptions> options = parse_collector(Protocol::kOtlp, url);
    ASSERT_FALSE(options.has_value()) << url;
    EXPECT_THAT(options.error().to_string(), HasSubstr("http://otel-collector")) << "an example";
  }
}

// ---- posts -------------------------------------------------------------------------------------

ExporterOptions quick(uint16_t port, Protocol protocol = Protocol::kZipkin) {
  ExporterOptions options;
  options.protocol = protocol;
  options.host = "127.0.0.1";
  options.port = port;
  options.path = "/api/v2/spans";
  options.batch_time = milliseconds(20);
  options.retry_time = milliseconds(10);
  return options;
}

SpanBatch numbered_spans(size_t spans, size_t first = 1) {
  auto batch = std::make_shared<std::vector<Span>>(spans);
  for (Span& span : *batch) {
    span.trace_low = span.id = first++;
    span.service = "a";
    span.name = "b";
    span.duration_us = 1;
  }
  return batch;
}

// A port of loopback at which nobody listens.
uint16_t dead_port() {
  return Collector().port();
}

TEST(Exporter, PostsASpan) {
  const Collector collector;
  Exporter exporter(quick(collector.port()));
  exporter.start();
  exporter.offer(numbered_spans(1));
  ASSERT_TRUE(becomes_true([&] { return exporter.sent() == 1; }));
  const std::vector<Collector::Post> posts = collector.posts();
  ASSERT_EQ(posts.size(), 1U);
  EXPECT_THAT(posts[0].head, StartsWith("POST /api/v2/spans HTTP/1.1\r\n"));
  EXPECT_THAT(posts[0].head, HasSubstr("\r\nHost: 127.0.0.1:" + std::to_string(collector.port())));
  EXPECT_THAT(posts[0].head, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_EQ(nlohmann::json::parse(posts[0].body).size(), 1U);
  EXPECT_EQ(exporter.lost(), 0U);
  EXPECT_EQ(exporter.retries(), 0U);
}

TEST(Exporter, SpeaksOtlp) {
  const Collector collector({200});
  Exporter exporter(quick(collector.port(), Protocol::kOtlp));
  exporter.start();
  exporter.offer(numbered_spans(2));
  ASSERT_TRUE(becomes_true([&] { return exporter.sent() == 2; }));
  const auto body = nlohmann::json::parse(collector.posts().at(0).body);
  EXPECT_EQ(body["resourceSpans"][0]["scopeSpans"][0]["spans"].size(), 2U);
}

TEST(Exporter, ReachesACollectorByIpv6AndByName) {
  const Collector by_ipv6({202}, Manner::kAnswers, "[::1]:0");
  const Collector by_name;
  ExporterOptions first = *parse_collector(
      Protocol::kZipkin, "http://[::1]:" + std::to_string(by_ipv6.port()) + "/spans");
  ExporterOptions second =
      *parse_collector(Protocol::kZipkin, "http://localhost:" + std::to_string(by_name.port()));
  first.batch_time = second.batch_time = milliseconds(1);
  Exporter one(first), two(second);
  one.start();
  two.start();
  one.offer(numbered_spans(1));
  two.offer(numbered_spans(1));
  ASSERT_TRUE(becomes_true([&] { return one.sent() == 1 && two.sent() == 1; }));
  EXPECT_THAT(by_ipv6.posts().at(0).head,
              HasSubstr("\r\nHost: [::1]:" + std::to_string(by_ipv6.port()) + "\r\n"));
}

TEST(Exporter, SmallOffersAreSentTogether) {
  const Collector collector;
  ExporterOptions options = quick(collector.port());
  options.batch_time = seconds(30);
  options.batch_spans = 6;
  Exporter exporter(options);
  exporter.start();
  for (int i = 0; i < 3; ++i) exporter.offer(numbered_spans(2));
  ASSERT_TRUE(becomes_true([&] { return exporter.sent() == 6; })) << "a full batch need not wait";
  EXPECT_EQ(collector.posts().size(), 1U);
}

// A collector limits the size of a body: a large offer must not become a large post.
TEST(Exporter, ALargeOfferIsSentInParts) {
  const Collector collector;
  ExporterOptions options = quick(collector.port());
  options.batch_spans = 100;
  Exporter exporter(options);
  exporter.start();
  exporter.offer(numbered_spans(250));
  exporter.offer(numbered_spans(10, 251));
  ASSERT_TRUE(becomes_true([&] { return exporter.sent() == 260; }));
  uint64_t next = 1;
  for (const Collector::Post& post : collector.posts()) {
    const auto spans = nlohmann::json::parse(post.body);
    EXPECT_LE(spans.size(), 100U);
    for (const auto& span : spans) {
      EXPECT_EQ(std::stoull(span["id"].get<std::string>(), nullptr, 16), next++);
    }
  }
  EXPECT_EQ(next, 261U) << "each once and in order";
}

TEST(Exporter, AnOfferLargerThanTheQueueIsTakenAsFarAsItFits) {
  const Collector collector;
  ExporterOptions options = quick(collector.port());
  options.queue_spans_max = 40;
  Exporter exporter(options);
  exporter.offer(numbered_spans(100));
  exporter.offer(numbered_spans(5));
  EXPECT_EQ(exporter.lost(), 65U);
  exporter.start();
  EXPECT_TRUE(becomes_true([&] { return exporter.sent() == 40; }));
}

TEST(Exporter, APartThatWaitsHoldsOnToNothingElse) {
  ExporterOptions options = quick(dead_port());
  options.queue_spans_max = 40;
  Exporter exporter(options);
  SpanBatch batch = numbered_spans(1000);
  const std::weak_ptr<const std::vector<Span>> whole = batch;
  exporter.offer(std::move(batch));
  EXPECT_EQ(exporter.lost(), 960U);
  EXPECT_TRUE(whole.expired());
}

TEST(Exporter, RepeatsWhatMaySucceedLater) {
  const Collector collector({503, 429, 202});
  Exporter exporter(quick(collector.port()));
  exporter.start();
  exporter.offer(numbered_spans(3));
  ASSERT_TRUE(becomes_true([&] { return exporter.sent() + exporter.lost() == 3; }));
  EXPECT_EQ(exporter.sent(), 3U);
  EXPECT_EQ(exporter.retries(), 2U);
  const std::vector<Collector::Post> posts = collector.posts();
  ASSERT_EQ(posts.size(), 3U);
  EXPECT_EQ(posts[0].body, posts[2].body);
}

TEST(Exporter, GivesUpAfterItsTries) {
  const Collector collector({503});
  Exporter exporter(quick(collector.port()));
  exporter.start();
  exporter.offer(numbered_spans(3));
  ASSERT_TRUE(becomes_true([&] { return exporter.lost() == 3; }));
  EXPECT_EQ(exporter.retries(), 2U);
  EXPECT_EQ(collector.posts().size(), 3U);
}

TEST(Exporter, DoesNotRepeatWhatIsRefused) {
  for (const int status : {400, 404, 413, 301}) {
    const Collector collector({status});
    Exporter exporter(quick(collector.port()));
    exporter.start();
    exporter.offer(numbered_spans(2));
    ASSERT_TRUE(becomes_true([&] { return exporter.lost() == 2; })) << status;
    EXPECT_EQ(collector.posts().size(), 1U) << status;
    EXPECT_EQ(exporter.retries(), 0U);
    EXPECT_EQ(exporter.sent(), 0U);
  }
}

TEST(Exporter, ADeadCollectorCostsSpansAndNoMemory) {
  ExporterOptions options = quick(dead_port());
  options.queue_spans_max = 100;
  options.batch_spans = 10;
  Exporter exporter(options);
  exporter.start();
  const Instant begin = monotonic_now();
  for (size_t i = 0; i < 1000; ++i) exporter.offer(numbered_spans(1));
  EXPECT_LT(monotonic_now() - begin, seconds(2)) << "nobody waits";
  ASSERT_TRUE(becomes_true([&] { return exporter.lost() == 1000; }));
  EXPECT_EQ(exporter.sent(), 0U);
}

TEST(Exporter, GoesOnWhenTheCollectorIsBack) {
  const uint16_t port = dead_port();
  ExporterOptions options = quick(port);
  options.tries = 1000;
  options.retry_time = milliseconds(1);
  Exporter exporter(options);
  exporter.start();
  exporter.offer(numbered_spans(4));
  ASSERT_TRUE(becomes_true([&] { return exporter.retries() > 2; }));
  const Collector collector({202}, Manner::kAnswers, ("127.0.0.1:" + std::to_string(port)).c_str());
  EXPECT_TRUE(becomes_true([&] { return exporter.sent() == 4; }));
}

// Each in its own way never gives a whole answer; answer_time bounds the whole post.
TEST(Exporter, ACollectorThatHangsCostsTheSpansOnly) {
  for (const Manner manner : {Manner::kReadsOnly, Manner::kStalls, Manner::kDrips}) {
    const Collector collector({202}, manner);
    ExporterOptions options = quick(collector.port());
    options.answer_time = milliseconds(300);
    options.tries = 1;
    options.batch_spans = 4000;
    Exporter exporter(options);
    exporter.start();
    auto large = std::make_shared<std::vector<Span>>(*numbered_spans(4000));
    for (Span& span : *large) span.name.assign(5000, 'x');  // 20 MB: more than sockets hold
    const Instant begin = monotonic_now();
    exporter.offer(manner == Manner::kStalls ? SpanBatch(large) : numbered_spans(1));
    ASSERT_TRUE(becomes_true([&] { return exporter.lost() > 0; })) << static_cast<int>(manner);
    EXPECT_LT(monotonic_now() - begin, seconds(5)) << static_cast<int>(manner);
    EXPECT_EQ(exporter.sent(), 0U);
  }
}

TEST(Exporter, TheEndSendsWhatIsLeft) {
  const Collector collector;
  {
    ExporterOptions options = quick(collector.port());
    options.batch_time = seconds(30);
    Exporter exporter(options);
    exporter.start();
    exporter.offer(numbered_spans(3));
  }
  ASSERT_EQ(collector.posts().size(), 1U);
  EXPECT_EQ(nlohmann::json::parse(collector.posts()[0].body).size(), 3U);
}

TEST(Exporter, TheEndDoesNotWaitForACollectorThatHangs) {
  const Collector collector({202}, Manner::kReadsOnly);
  std::optional<Exporter> exporter;
  ExporterOptions options = quick(collector.port());
  options.answer_time = seconds(20);
  options.stop_time = milliseconds(300);
  exporter.emplace(options);
  exporter->start();
  exporter->offer(numbered_spans(1));
  ASSERT_TRUE(becomes_true([&] { return collector.posts().size() == 1; }));
  const Instant begin = monotonic_now();
  exporter.reset();
  const Duration took = monotonic_now() - begin;
  EXPECT_GE(took, milliseconds(250));
  EXPECT_LT(took, seconds(3));
}

TEST(Exporter, OnesThatAreStoppedTogetherWaitTogether) {
  const Collector collector({202}, Manner::kReadsOnly);
  ExporterOptions options = quick(collector.port());
  options.answer_time = seconds(20);
  options.stop_time = seconds(1);
  std::vector<std::unique_ptr<Exporter>> exporters;
  for (int i = 0; i < 4; ++i) {
    exporters.push_back(std::make_unique<Exporter>(options));
    exporters.back()->start();
    exporters.back()->offer(numbered_spans(1));
  }
  ASSERT_TRUE(becomes_true([&] { return collector.posts().size() == 1; }));
  const Instant begin = monotonic_now();
  for (const auto& exporter : exporters) exporter->stop();
  exporters.clear();
  EXPECT_LT(monotonic_now() - begin, milliseconds(2500));
}

TEST(Exporter, TheEndDoesNotWaitForItsNextTry) {
  ExporterOptions options = quick(dead_port());
  options.retry_time = seconds(30);
  options.stop_time = seconds(20);
  std::optional<Exporter> exporter;
  exporter.emplace(options);
  exporter->start();
  exporter->offer(numbered_spans(1));
  std::this_thread::sleep_for(milliseconds(100));
  const Instant begin = monotonic_now();
  exporter.reset();
  EXPECT_LT(monotonic_now() - begin, seconds(5));
}

TEST(Exporter, OneThatWasNeverStartedEndsAtOnce) {
  const Instant begin = monotonic_now();
  {
    Exporter exporter(quick(dead_port()));
    exporter.offer(numbered_spans(1));
    exporter.offer(numbered_spans(0));
  }
  EXPECT_LT(monotonic_now() - begin, seconds(1));
}

}  // namespace
}  // namespace np::metrics
