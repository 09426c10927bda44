// SPDX-License-Identifier: Apache-2.0
// All of it together: threads that report like shards, a log file, the book, collectors.
#include "metrics/telemetry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/metrics/collector.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using ::testing::HasSubstr;

class TelemetryTest : public ::testing::Test {
 protected:
  TelemetryTest() {
    std::string pattern = ::testing::TempDir() + "nodeproxy-telemetry-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    options.node = "node-1";
    options.access_log = folder + "/access.log";
    options.log_format = "json";
    options.tracing.enabled = true;
  }
  ~TelemetryTest() override { std::filesystem::remove_all(folder); }

  std::unique_ptr<Telemetry> make() {
    Result<std::unique_ptr<Telemetry>> made =
        Telemetry::create(options, {&*memories[0], &*memories[1]});
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return std::move(*made);
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    std::ifstream file(options.access_log);
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  uint64_t requests_counted() const {
    uint64_t sum = 0;
    for (const SeriesMemory& memory : memories) {
      for_each_slot(memory.requests(),
                    [&](RequestSlot& slot) { sum += read(slot.counters.requests); });
    }
    return sum;
  }
  ExporterOptions to(const Collector& collector, ExporterOptions::Protocol protocol) {
    ExporterOptions to =
        *parse_collector(protocol, "http://127.0.0.1:" + std::to_string(collector.port()));
    to.batch_time = std::chrono::milliseconds(10);
    return to;
  }

  SeriesMemory memories[2];
  std::string folder;
  TelemetryOptions options;
};

// What a shard tells: request `number` of shard `shard`, every tenth of which is sampled.
void tell(RequestObserver& observer, uint64_t shard, uint64_t number) {
  Told told = answered_request();
  const std::string id = std::to_string(shard) + "-" + std::to_string(number);
  told.texts.request_id = id;
  told.report.trace.trace_high = shard + 1;
  told.report.trace.trace_low = number + 1;
  told.report.trace.sampled = number % 10 == 0;
  told.report.started = monotonic_now();
  told.report.sent = told.report.started;
  told.report.ended = told.report.started + std::chrono::milliseconds(3);
  observer.on_ended(told.report, told);
}

TEST_F(TelemetryTest, FromTheShardsToTheLogTheBookAndTheCollectors) {
  const Collector zipkin, otlp({200});
  options.collectors = {to(zipkin, ExporterOptions::Protocol::kZipkin),
                        to(otlp, ExporterOptions::Protocol::kOtlp)};
  const std::unique_ptr<Telemetry> telemetry = make();
  telemetry->start();
  const std::vector<RequestObserver*> observers = telemetry->observers();
  ASSERT_EQ(observers.size(), 2U);
  constexpr uint64_t kRequests = 500;  // fit into a ring, whatever the reader does
  std::vector<std::thread> shards;
  for (uint64_t shard = 0; shard < 2; ++shard) {
    shards.emplace_back([&, shard] {
      for (uint64_t i = 0; i < kRequests; ++i) tell(*observers[shard], shard, i);
    });
  }
  for (std::thread& shard : shards) shard.join();
  constexpr uint64_t kSampledSpans = 2 * kRequests / 10 * 2;
  ASSERT_TRUE(becomes_true([&] {
    const ToldCounters now = telemetry->counts();
    return now.log_lines == 2 * kRequests && now.spans_exported == 2 * kSampledSpans;
  }));
  const ToldCounters counts = telemetry->counts();
  EXPECT_EQ(counts.records, 2 * kRequests);
  EXPECT_EQ(counts.records_lost + counts.log_lines_lost + counts.spans_lost, 0U);
  EXPECT_EQ(counts.spans, kSampledSpans);
  EXPECT_EQ(telemetry->traces().spans(), kSampledSpans);
  EXPECT_EQ(telemetry->traces().get(2, 11).size(), 2U);
  EXPECT_TRUE(telemetry->traces().get(2, 12).empty()) << "not sampled, fast, no failure";
  EXPECT_EQ(requests_counted(), 2 * kRequests);
  std::set<std::string> ids;
  for (const std::string& line : lines()) ids.insert(nlohmann::json::parse(line)["request_id"]);
  EXPECT_EQ(ids.size(), 2 * kRequests) << "each once";
  EXPECT_FALSE(otlp.posts().empty());
}

TEST_F(TelemetryTest, TimesOfDayAreThoseOfTheRequest) {
  const std::unique_ptr<Telemetry> telemetry = make();
  telemetry->start();
  const auto now_us = [] { return static_cast<int64_t>(wall_clock_ns() / 1000); };
  const int64_t before = now_us();
  tell(*telemetry->observers()[0], 0, 0);
  const int64_t after = now_us();
  ASSERT_TRUE(becomes_true([&] { return telemetry->counts().spans == 2; }));
  const Span span = telemetry->traces().get(1, 1).at(0);
  EXPECT_GE(span.start_unix_us, before - 1000);
  EXPECT_LE(span.start_unix_us, after + 1000);
}

// Bursts that a ring cannot hold: what is lost is counted, and nothing else is.
TEST_F(TelemetryTest, CountsAddUpWhenRecordsAreLost) {
  constexpr uint64_t kRequests = 20'000;
  std::unique_ptr<Telemetry> telemetry = make();
  telemetry->start();
  std::thread shard([&] {
    for (uint64_t i = 0; i < kRequests; ++i) tell(*telemetry->observers()[0], 0, i);
  });
  shard.join();
  ASSERT_TRUE(becomes_true([&] {
    const ToldCounters now = telemetry->counts();
    return now.records + now.records_lost == kRequests && now.log_lines == now.records;
  }));
  EXPECT_EQ(lines().size(), telemetry->counts().log_lines);
  EXPECT_EQ(requests_counted(), kRequests);
}

TEST_F(TelemetryTest, TheEndWritesTheRest) {
  const Collector zipkin;
  options.collectors = {to(zipkin, ExporterOptions::Protocol::kZipkin)};
  options.collectors[0].batch_time = std::chrono::seconds(30);
  {
    const std::unique_ptr<Telemetry> telemetry = make();
    telemetry->start();
    for (uint64_t i = 0; i < 100; ++i) tell(*telemetry->observers()[1], 1, i);
  }
  EXPECT_EQ(lines().size(), 100U);
  ASSERT_EQ(zipkin.posts().size(), 1U);
  EXPECT_EQ(nlohmann::json::parse(zipkin.posts()[0].body).size(), 20U);
}

TEST_F(TelemetryTest, UnsampledFailuresStayOnTheNode) {
  const Collector zipkin;
  options.collectors = {to(zipkin, ExporterOptions::Protocol::kZipkin)};
  {
    const std::unique_ptr<Telemetry> telemetry = make();
    telemetry->start();
    Told told = answered_request();
    told.report.trace.sampled = false;
    told.report.is_failure = true;
    telemetry->observers()[0]->on_ended(told.report, told);
    EXPECT_TRUE(becomes_true([&] { return telemetry->traces().spans() == 2; }));
    EXPECT_TRUE(telemetry->traces().find({}).at(0).is_error);
  }
  EXPECT_TRUE(zipkin.posts().empty());
}

// Also with many shards, all of which have much to tell at once.
TEST_F(TelemetryTest, TheBookKeepsToItsBound) {
  options.access_log = "off";
  SeriesMemory more[8];
  std::vector<ShardSeries*> memory;
  for (const SeriesMemory& one : more) memory.push_back(&*one);
  const auto telemetry = Telemetry::create(options, memory);
  ASSERT_TRUE(telemetry.has_value());
  constexpr uint64_t kRequests = 1000;
  for (uint64_t shard = 0; shard < memory.size(); ++shard) {
    for (uint64_t i = 0; i < kRequests; ++i) {
      tell(*(*telemetry)->observers()[shard], shard, 10 * i);  // sampled
    }
  }
  (*telemetry)->start();
  const uint64_t spans = memory.size() * kRequests * 2;
  ASSERT_GT(spans, TraceBook::kSpansMax);
  ASSERT_TRUE(becomes_true([&] { return (*telemetry)->counts().spans == spans; }));
  EXPECT_TRUE(becomes_true([&] {
    const size_t kept = (*telemetry)->traces().spans();
    return kept <= TraceBook::kSpansMax && kept > TraceBook::kSpansMax * 8 / 10;
  })) << (*telemetry)->traces().spans();
}

TEST_F(TelemetryTest, APodWhoseEveryRequestFailsLeavesRoomForOthers) {
  // Ids of which the lower bits are equal: each has its own share.
  constexpr uint32_t kNoisy = 1, kOther = kNoisy + PodPlaces::kPlaces;
  PodPlaces(memories[0]->pod_owners).keep({kNoisy, kOther}, [](uint32_t) {});
  const std::unique_ptr<Telemetry> telemetry = make();
  const auto fail = [&](uint32_t pod, bool is_sampled) {
    Told told = answered_request();
    told.report.pod_id = pod;
    told.report.is_failure = true;
    told.report.trace.trace_high = pod;
    told.report.trace.sampled = is_sampled;
    telemetry->observers()[0]->on_ended(told.report, told);
  };
  constexpr uint64_t kFailures = 500, kSampled = 50;
  for (uint64_t i = 0; i < kFailures; ++i) fail(kNoisy, false);
  for (uint64_t i = 0; i < kSampled; ++i) fail(kNoisy, true);
  fail(kOther, false);
  telemetry->start();
  ASSERT_TRUE(becomes_true([&] {
    return telemetry->counts().log_lines == kFailures + kSampled + 1;
  })) << "the log has them all";
  const ToldCounters counts = telemetry->counts();
  EXPECT_EQ(counts.traces_left_out, kFailures - KeptShare::kAtOnce);
  EXPECT_EQ(counts.spans, 2 * (KeptShare::kAtOnce + kSampled + 1));
  EXPECT_EQ(telemetry->traces().get(kOther, answered_request().report.trace.trace_low).size(), 2U);
}

TEST_F(TelemetryTest, TwoCollectorsThatHangDelayTheEndOnce) {
  const Collector one({202}, Collector::Manner::kReadsOnly);
  const Collector two({202}, Collector::Manner::kReadsOnly);
  options.collectors = {to(one, ExporterOptions::Protocol::kZipkin),
                        to(two, ExporterOptions::Protocol::kOtlp)};
  for (ExporterOptions& collector : options.collectors) {
    collector.answer_time = std::chrono::seconds(20);
    collector.stop_time = std::chrono::seconds(2);
  }
  std::unique_ptr<Telemetry> telemetry = make();
  telemetry->start();
  tell(*telemetry->observers()[0], 0, 0);
  ASSERT_TRUE(becomes_true([&] { return one.posts().size() + two.posts().size() == 2; }));
  const Instant begin = monotonic_now();
  telemetry.reset();
  EXPECT_LT(monotonic_now() - begin, std::chrono::milliseconds(3500));
}

TEST_F(TelemetryTest, NothingIsWantedButCounts) {
  options.access_log = "off";
  options.tracing.enabled = false;
  const std::unique_ptr<Telemetry> telemetry = make();
  telemetry->start();
  tell(*telemetry->observers()[0], 0, 0);
  tell(*telemetry->observers()[1], 1, 0);
  EXPECT_EQ(requests_counted(), 2U);
  const ToldCounters counts = telemetry->counts();
  EXPECT_EQ(counts.records + counts.log_lines + counts.spans, 0U);
}

TEST_F(TelemetryTest, OneThatWasNeverStartedEnds) {
  const std::unique_ptr<Telemetry> telemetry = make();
  tell(*telemetry->observers()[0], 0, 0);
  EXPECT_EQ(telemetry->counts().records, 0U);
}

TEST_F(TelemetryTest, WrongOptionsAreTold) {
  const std::vector<ShardSeries*> memory = {&*memories[0]};
  options.log_format = "%NOTHING%";
  const auto format = Telemetry::create(options, memory);
  ASSERT_FALSE(format.has_value());
  EXPECT_THAT(format.error().to_string(), HasSubstr("%NOTHING%"));
  options.log_format = "default";
  options.access_log = folder + "/missing/log";
  const auto log = Telemetry::create(options, memory);
  ASSERT_FALSE(log.has_value());
  EXPECT_THAT(log.error().to_string(), HasSubstr("/missing/log"));
}

}  // namespace
}  // namespace np::metrics
