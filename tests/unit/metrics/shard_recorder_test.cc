// SPDX-License-Identifier: Apache-2.0
#include "metrics/shard_recorder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "metrics/record_codec.h"
#include "metrics/series_name.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class RecorderTest : public ::testing::Test {
 protected:
  // What became of `told` under the rules.
  RecordUse use_of(const RecordRules& rules, const Told& told) {
    ShardRecorder recorder(*memory, *memory, ring, rules, 1);
    recorder.on_ended(told.report, told);
    RecordUse use;
    ring.drain(1, [&](std::string_view bytes) { use = decode(bytes).use; });
    return use;
  }
  const RequestCounters* find(SeriesLabel label, std::string_view value) {
    const RequestCounters* found = nullptr;
    for_each_slot(memory.requests(), [&](RequestSlot& slot) {
      if (read_series_name(slot.text())[label] == value) found = &slot.counters;
    });
    return found;
  }
  size_t kinds() {
    size_t count = 0;
    for_each_slot(memory.requests(), [&](RequestSlot&) { ++count; });
    return count - 1;  // without "overflow"
  }
  SeriesMemory memory;
  RecordRing ring;
};

TEST_F(RecorderTest, CountsARequest) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  Told told = answered_request();
  told.report.retries = 2;
  told.report.request_bytes = 1024;
  told.report.response_bytes = 20'000'000;
  told.report.ended = told.report.started + microseconds(2500);
  recorder.on_ended(told.report, told);
  told.report.ended = told.report.started + microseconds(2501);
  recorder.on_ended(told.report, told);
  EXPECT_EQ(told.described, 1) << "texts are asked for once per kind";
  const RequestCounters& counters = memory->requests[0].counters;
  EXPECT_EQ(counters.requests, 2U);
  EXPECT_EQ(counters.opened, 0U);
  EXPECT_EQ(counters.retries, 4U);
  EXPECT_EQ(counters.duration_us, 5001U);
  EXPECT_EQ(counters.duration_buckets[2], 1U) << "a bound belongs to its bucket: le";
  EXPECT_EQ(counters.duration_buckets[3], 1U);
  EXPECT_EQ(counters.request_bytes, 2048U);
  EXPECT_EQ(counters.request_size_buckets[1], 2U);
  EXPECT_EQ(counters.response_size_buckets[kSizeBoundsBytes.size()], 2U);
  EXPECT_EQ(counters.delays, 0U);
  EXPECT_EQ(counters.aborts, 0U);
  EXPECT_EQ(ring.lost(), 0U);
}

TEST_F(RecorderTest, FaultsAreKindsOfTheirOwn) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  Told told = answered_request();
  recorder.on_ended(told.report, told);
  told.report.delay = milliseconds(7);
  recorder.on_ended(told.report, told);
  told.report.fault_status = RequestReport::kFaultReset;
  told.report.status = 0;
  told.texts.flags = "FI";
  recorder.on_ended(told.report, told);
  EXPECT_EQ(kinds(), 3U);
  EXPECT_EQ(find(SeriesLabel::kFlags, "DI")->delays, 1U);
  EXPECT_EQ(find(SeriesLabel::kFlags, "DI")->aborts, 0U);
  EXPECT_EQ(find(SeriesLabel::kFlags, "DI,FI")->delays, 1U);
  EXPECT_EQ(find(SeriesLabel::kFlags, "DI,FI")->aborts, 1U);
  EXPECT_EQ(find(SeriesLabel::kFlags, "")->delays, 0U);
}

TEST_F(RecorderTest, OpaqueConnectionsAreCountedWhenTheyOpenAndWhenTheyEnd) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  Told told = answered_request();
  told.report.opaque = true;
  told.report.status = 0;
  recorder.on_opened(told.report, told);
  recorder.on_ended(told.report, told);
  const RequestCounters* counters = find(SeriesLabel::kProtocol, "tcp");
  ASSERT_NE(counters, nullptr);
  EXPECT_EQ(counters->opened, 1U);
  EXPECT_EQ(counters->requests, 1U);
}

TEST_F(RecorderTest, CountsNothingWhenTold) {
  ShardRecorder recorder(*memory, *memory, ring, RecordRules{.count = false}, 1);
  const Told told = answered_request();
  recorder.on_opened(told.report, told);
  recorder.on_ended(told.report, told);
  EXPECT_EQ(kinds(), 0U);
  EXPECT_EQ(told.described, 0);
}

// More kinds than the cache has places, in an order that makes each push others out.
TEST_F(RecorderTest, KindsThatShareAPlaceAreCountedApart) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  constexpr uint32_t kKinds = 6000;
  for (uint32_t round = 1; round <= 3; ++round) {
    for (uint32_t kind = 0; kind < kKinds; ++kind) {
      Told told = answered_request();
      told.report.workload_id = kind % 10;
      told.report.route_id = kind / 10 % 10;
      told.report.cluster_id = kind / 100 % 10;
      told.report.endpoint_id = kind / 1000;
      const std::string name = std::to_string(kind);
      told.texts.endpoint_app = name;
      for (uint32_t i = 0; i <= kind % 3; ++i) recorder.on_ended(told.report, told);
    }
  }
  size_t seen = 0;
  for_each_slot(memory.requests(), [&](RequestSlot& slot) {
    if (slot.text() == kOverflow) return;
    const std::string app(read_series_name(slot.text())[SeriesLabel::kApp]);
    EXPECT_EQ(slot.counters.requests, 3 * (std::stoul(app) % 3 + 1)) << app;
    ++seen;
  });
  EXPECT_EQ(seen, kKinds);
  EXPECT_EQ(memory->requests[kRequestSlots - 1].counters.requests, 0U);
}

TEST_F(RecorderTest, PodsOfOneWorkloadThatAreToldByNameAreCountedApart) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  for (uint32_t pod = 1; pod <= 2; ++pod) {
    Told told = answered_request();
    told.report.pod_id = pod;
    const std::string name = "replica-" + std::to_string(pod);
    told.texts.source_workload = name;
    recorder.on_ended(told.report, told);
  }
  EXPECT_EQ(find(SeriesLabel::kSourceWorkload, "replica-1")->requests, 1U);
  EXPECT_EQ(find(SeriesLabel::kSourceWorkload, "replica-2")->requests, 1U);
}

TEST_F(RecorderTest, ARequestOfAnOlderPolicyIsCountedByItsOwnNames) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  Told before = answered_request();
  before.texts.route = "before";
  before.report.is_of_latest_policy = false;
  Told now = answered_request();
  now.texts.route = "now";
  recorder.on_ended(before.report, before);  // and must not be kept for the new one
  recorder.on_ended(now.report, now);
  recorder.on_ended(before.report, before);  // nor find the new one's
  EXPECT_EQ(find(SeriesLabel::kRoute, "before")->requests, 2U);
  EXPECT_EQ(find(SeriesLabel::kRoute, "now")->requests, 1U);
}

TEST_F(RecorderTest, OneCallerDoesNotTakeAllPlaces) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  constexpr uint32_t kKindsPerCaller = kRequestSlots / 8;
  Told told = answered_request();
  for (uint32_t kind = 0; kind < 2 * kKindsPerCaller; ++kind) {
    const std::string name = std::to_string(kind);
    told.texts.endpoint_app = name;
    told.report.endpoint_id = kind;
    recorder.on_ended(told.report, told);
  }
  EXPECT_EQ(kinds(), kKindsPerCaller);
  EXPECT_EQ(memory->requests[kRequestSlots - 1].counters.requests, kKindsPerCaller);
  Told other = answered_request();
  other.report.workload_id = told.report.workload_id + 1;
  other.texts.source_workload = "other";
  recorder.on_ended(other.report, other);
  EXPECT_EQ(find(SeriesLabel::kSourceWorkload, "other")->requests, 1U);
}

TEST_F(RecorderTest, ANewPolicyMayGiveTheSameIdsOtherNames) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  Told told = answered_request();
  recorder.on_ended(told.report, told);
  told.texts.route = "another";
  recorder.on_policy();
  recorder.on_ended(told.report, told);
  recorder.on_ended(told.report, told);
  EXPECT_EQ(find(SeriesLabel::kRoute, "reviews-v2")->requests, 1U);
  EXPECT_EQ(find(SeriesLabel::kRoute, "another")->requests, 2U);
}

TEST_F(RecorderTest, EachIdAndEachEndIsAKind) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  const Told first = answered_request();
  recorder.on_ended(first.report, first);
  std::vector<Told> others(9, first);
  others[0].report.workload_id = 9;
  others[1].report.route_id = 9;
  others[2].report.cluster_id = 9;
  others[3].report.endpoint_id = 9;
  others[4].report.status = 201;
  others[5].report.reason = 9;
  others[6].report.opaque = true;
  others[7].report.gateway = true;
  others[8].report.sent = {};
  for (const Told& told : others) {
    recorder.on_ended(told.report, told);
    EXPECT_EQ(told.described, 1 + first.described) << &told - others.data();
  }
}

TEST_F(RecorderTest, ClusterCountersAreThoseOfTheStore) {
  ShardRecorder recorder(*memory, *memory, ring, {}, 1);
  ClusterCounters& counters = recorder.cluster_counters("ratings");
  recorder.on_policy();
  EXPECT_EQ(&recorder.cluster_counters("ratings"), &counters);
  EXPECT_EQ(&counters, &memory->clusters[0].counters);
}

// ---- which requests become records -------------------------------------------------------------

TEST_F(RecorderTest, NoLogAndNoTraceMakeNoRecord) {
  const Told told = answered_request();
  const RecordUse use = use_of({}, told);
  EXPECT_FALSE(use.log || use.trace);
}

TEST_F(RecorderTest, FailuresOnly) {
  const RecordRules rules{.log = true, .log_failures_only = true};
  Told told = answered_request();
  EXPECT_FALSE(use_of(rules, told).log);
  told.report.status = 404;
  EXPECT_FALSE(use_of(rules, told).log) << "an endpoint's 404 is an answer";
  told.report.outcome = RequestReport::Outcome::kRefused;
  EXPECT_TRUE(use_of(rules, told).log) << "one of our own is none";
  told = answered_request();
  told.report.status = 503;
  told.report.is_failure = true;
  EXPECT_TRUE(use_of(rules, told).log);
  told.report.status = 200;
  told.report.outcome = RequestReport::Outcome::kAborted;
  EXPECT_TRUE(use_of(rules, told).log);
}

TEST_F(RecorderTest, SlowerThan) {
  const RecordRules rules{.log = true, .log_slower_than = milliseconds(25)};
  Told told = answered_request();
  EXPECT_TRUE(use_of(rules, told).log);
  told.report.ended -= Duration(1);
  EXPECT_FALSE(use_of(rules, told).log);
}

TEST_F(RecorderTest, AShareOfRequestsIsLogged) {
  ShardRecorder recorder(*memory, *memory, ring,
                         RecordRules{.log = true, .log_per_million = 250'000}, 5);
  const Told told = answered_request();
  size_t logged = 0;
  for (int i = 0; i < 8000; ++i) {
    recorder.on_ended(told.report, told);
    logged += ring.drain(9, [](std::string_view) {});
  }
  EXPECT_NEAR(static_cast<double>(logged), 2000, 200);  // five deviations
  EXPECT_FALSE(use_of(RecordRules{.log = true, .log_per_million = 0}, told).log);
  EXPECT_EQ(memory->requests[0].counters.requests, 8001U) << "what is not logged is counted";
}

TEST_F(RecorderTest, SampledTracesAreKept) {
  Told told = answered_request();
  EXPECT_FALSE(use_of({}, told).trace);
  const RecordRules rules{.trace = true};
  EXPECT_TRUE(use_of(rules, told).trace);
  EXPECT_FALSE(use_of(rules, told).log);
  told.report.trace = {};
  EXPECT_FALSE(use_of(rules, told).trace) << "not traced at all";
}

TEST_F(RecorderTest, FailedAndSlowTracesAreKeptWithoutBeingSampled) {
  const RecordRules rules{.trace = true};
  Told told = answered_request();
  told.report.trace.sampled = false;
  EXPECT_FALSE(use_of(rules, told).trace);
  told.report.is_failure = true;
  EXPECT_TRUE(use_of(rules, told).trace);
  EXPECT_FALSE(use_of(RecordRules{.trace = true, .trace_slower_than = {}}, told).trace);
  told.report.is_failure = false;
  told.report.ended = told.report.started + std::chrono::seconds(1);
  EXPECT_TRUE(use_of(rules, told).trace);
}

TEST_F(RecorderTest, AFullRingCostsTheRecordAndNotTheCount) {
  ShardRecorder recorder(*memory, *memory, ring, RecordRules{.log = true}, 1);
  const Told told = answered_request();
  uint64_t told_requests = 0;
  while (ring.lost() < 10) {
    recorder.on_ended(told.report, told);
    ++told_requests;
  }
  EXPECT_EQ(memory->requests[0].counters.requests, told_requests);
  EXPECT_EQ(ring.drain(SIZE_MAX, [](std::string_view) {}) + 10, told_requests);
}

}  // namespace
}  // namespace np::metrics
