// SPDX-License-Identifier: Apache-2.0
// Records on their way from a shard to the telemetry thread: the ring, and what is in it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "metrics/record_codec.h"
#include "metrics/record_ring.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

bool put(RecordRing& ring, std::string_view text) {
  char* room = ring.reserve(text.size());
  if (room == nullptr) return false;
  std::copy(text.begin(), text.end(), room);
  ring.commit();
  return true;
}

std::vector<std::string> all_of(RecordRing& ring, size_t most = SIZE_MAX) {
  std::vector<std::string> records;
  ring.drain(most, [&](std::string_view record) { records.emplace_back(record); });
  return records;
}

TEST(RecordRing, GivesRecordsInOrderAndAsManyAsAsked) {
  RecordRing ring;
  for (const char* text : {"one", "", "three"}) EXPECT_TRUE(put(ring, text));
  EXPECT_EQ(all_of(ring, 2), (std::vector<std::string>{"one", ""}));
  EXPECT_EQ(all_of(ring), std::vector<std::string>{"three"});
  EXPECT_TRUE(all_of(ring).empty());
  EXPECT_EQ(ring.lost(), 0U);
}

TEST(RecordRing, ARecordThatWasNotCommittedIsNotThere) {
  RecordRing ring;
  EXPECT_NE(ring.reserve(10), nullptr);
  EXPECT_TRUE(all_of(ring).empty());
  EXPECT_TRUE(put(ring, "in its place"));
  EXPECT_EQ(all_of(ring), std::vector<std::string>{"in its place"});
}

TEST(RecordRing, ARecordOfTheGreatestSizeFitsAndAGreaterOneIsLost) {
  RecordRing ring;
  const std::string greatest(RecordRing::kRecordBytesMax, 'x');
  EXPECT_TRUE(put(ring, greatest));
  EXPECT_FALSE(put(ring, greatest + "x"));
  EXPECT_EQ(ring.lost(), 1U);
  EXPECT_EQ(all_of(ring), std::vector<std::string>{greatest});
}

TEST(RecordRing, WhatFindsNoRoomIsLostAndCounted) {
  RecordRing ring;
  const std::string record(1016, 'r');  // 1024 with its header
  const size_t fitting = RecordRing::kBytes / 1024;
  for (size_t i = 0; i < fitting; ++i) ASSERT_TRUE(put(ring, record)) << i;
  EXPECT_FALSE(put(ring, ""));
  EXPECT_FALSE(put(ring, record));
  EXPECT_EQ(ring.lost(), 2U);
  EXPECT_EQ(all_of(ring, 1).size(), 1U);
  EXPECT_TRUE(put(ring, record));
  EXPECT_FALSE(put(ring, record));
  EXPECT_EQ(all_of(ring).size(), fitting);
}

// Sizes that do not divide the ring, so that the end is skipped at every turn in another way.
TEST(RecordRing, TurnsManyTimes) {
  RecordRing ring;
  Rng random(7);
  uint64_t bytes = 0;
  for (int i = 0; bytes < 20 * RecordRing::kBytes; ++i) {
    const std::string record(random.below(RecordRing::kRecordBytesMax + 1),
                             static_cast<char>('a' + i % 26));
    bytes += record.size();
    ASSERT_TRUE(put(ring, record));
    const std::vector<std::string> records = all_of(ring);
    ASSERT_EQ(records.size(), 1U);
    ASSERT_EQ(records.front(), record);
  }
  EXPECT_EQ(ring.lost(), 0U);
}

// A record that would need the skipped end as well as the whole beginning has no room.
TEST(RecordRing, TheSkippedEndCountsAsUsed) {
  RecordRing ring;
  const std::string record(16000, 'r');
  size_t held = 0;
  while (put(ring, record)) ++held;
  EXPECT_EQ(all_of(ring, 1).size(), 1U);
  EXPECT_FALSE(put(ring, std::string(20'000, 's'))) << "would reach into the second place";
  EXPECT_TRUE(put(ring, std::string(15000, 's'))) << "the end is skipped, the first place is free";
  EXPECT_FALSE(put(ring, std::string(15000, 's')));
  const std::vector<std::string> records = all_of(ring);
  ASSERT_EQ(records.size(), held);
  EXPECT_EQ(records.front(), record);
  EXPECT_EQ(records.back(), std::string(15000, 's'));
}

char byte_of(uint64_t record, size_t i) {
  return static_cast<char>((record * 31 + i * 7) & 0xffU);
}

TEST(RecordRing, OneWriterAndOneReader) {
  constexpr uint64_t kRecords = 60'000;
  RecordRing ring;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    Rng random(1);
    for (uint64_t number = 0; number < kRecords; ++number) {
      const size_t size = sizeof(number) + random.below(random.below(8) == 0 ? 4000 : 200);
      char* room = ring.reserve(size);
      if (room == nullptr) {
        std::this_thread::yield();
        continue;
      }
      std::memcpy(room, &number, sizeof(number));
      for (size_t i = sizeof(number); i < size; ++i) room[i] = byte_of(number, i);
      ring.commit();
    }
    done = true;
  });
  uint64_t next = 0, missing = 0, wrong = 0, seen = 0;
  for (bool is_over = false; !is_over;) {
    const bool was_done = done;
    const size_t count = ring.drain(64, [&](std::string_view record) {
      uint64_t number = 0;
      std::memcpy(&number, record.data(), sizeof(number));
      wrong += number < next ? 1 : 0;
      missing += number - next;
      next = number + 1;
      ++seen;
      for (size_t i = sizeof(number); i < record.size(); ++i) {
        wrong += record[i] != byte_of(number, i) ? 1 : 0;
      }
    });
    is_over = was_done && count == 0;
  }
  writer.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(seen + ring.lost(), kRecords);
  EXPECT_EQ(missing + (kRecords - next), ring.lost());
}

// ---- what is in a record -----------------------------------------------------------------------

constexpr std::string_view RequestTexts::*kTextMembers[] = {
    &RequestTexts::method,          &RequestTexts::authority,      &RequestTexts::path,
    &RequestTexts::protocol,        &RequestTexts::user_agent,     &RequestTexts::request_id,
    &RequestTexts::forwarded_for,   &RequestTexts::flags,          &RequestTexts::details,
    &RequestTexts::route,           &RequestTexts::object,         &RequestTexts::cluster,
    &RequestTexts::legacy_cluster,  &RequestTexts::host,           &RequestTexts::subset,
    &RequestTexts::gateway,         &RequestTexts::source_pod,     &RequestTexts::source_namespace,
    &RequestTexts::source_app,      &RequestTexts::source_version, &RequestTexts::source_service,
    &RequestTexts::source_workload, &RequestTexts::endpoint_pod,   &RequestTexts::endpoint_app,
    &RequestTexts::endpoint_version};

RequestReport random_report(Rng& random) {
  RequestReport report;
  for (Instant* instant : {&report.started, &report.ended, &report.sent, &report.answered}) {
    *instant = instant_from_ns(random.next() >> 1U);
  }
  report.request_bytes = random.next();
  report.response_bytes = random.next();
  for (uint32_t* id : {&report.workload_id, &report.route_id, &report.cluster_id,
                       &report.endpoint_id, &report.retries}) {
    *id = static_cast<uint32_t>(random.next());
  }
  report.status = static_cast<uint16_t>(random.next());
  report.reason = static_cast<uint8_t>(random.next());
  report.outcome = static_cast<RequestReport::Outcome>(random.below(3));
  for (bool* flag : {&report.opaque, &report.gateway, &report.is_failure, &report.retries_used_up,
                     &report.waited, &report.trace.sampled}) {
    *flag = random.below(2) == 1;
  }
  report.delay = Duration(random.below(1'000'000));
  report.fault_status = static_cast<uint16_t>(random.next());
  for (uint64_t* id : {&report.trace.trace_high, &report.trace.trace_low, &report.trace.parent_span,
                       &report.trace.client_span, &report.trace.server_span}) {
    *id = random.next();
  }
  return report;
}

void expect_same(const RequestReport& a, const RequestReport& b) {
  EXPECT_EQ(a.started, b.started);
  EXPECT_EQ(a.ended, b.ended);
  EXPECT_EQ(a.sent, b.sent);
  EXPECT_EQ(a.answered, b.answered);
  EXPECT_EQ(a.request_bytes, b.request_bytes);
  EXPECT_EQ(a.response_bytes, b.response_bytes);
  EXPECT_EQ(a.workload_id, b.workload_id);
  EXPECT_EQ(a.route_id, b.route_id);
  EXPECT_EQ(a.cluster_id, b.cluster_id);
  EXPECT_EQ(a.endpoint_id, b.endpoint_id);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_EQ(a.opaque, b.opaque);
  EXPECT_EQ(a.gateway, b.gateway);
  EXPECT_EQ(a.is_failure, b.is_failure);
  EXPECT_EQ(a.retries, b.retries);
  EXPECT_EQ(a.retries_used_up, b.retries_used_up);
  EXPECT_EQ(a.delay, b.delay);
  EXPECT_EQ(a.fault_status, b.fault_status);
  EXPECT_EQ(a.waited, b.waited);
  EXPECT_EQ(a.trace.trace_high, b.trace.trace_high);
  EXPECT_EQ(a.trace.trace_low, b.trace.trace_low);
  EXPECT_EQ(a.trace.parent_span, b.trace.parent_span);
  EXPECT_EQ(a.trace.client_span, b.trace.client_span);
  EXPECT_EQ(a.trace.server_span, b.trace.server_span);
  EXPECT_EQ(a.trace.sampled, b.trace.sampled);
}

TEST(RecordCodec, RoundTripOfRandomReports) {
  Rng random(3);
  for (int round = 0; round < 200; ++round) {
    const RequestReport report = random_report(random);
    std::vector<std::string> kept;
    for (size_t i = 0; i < std::size(kTextMembers); ++i) {
      std::string text(random.below(round % 2 == 0 ? 20 : 3000), '\0');
      for (char& c : text) c = static_cast<char>(random.next());
      kept.push_back(std::move(text));
    }
    RequestTexts texts;
    for (size_t i = 0; i < kept.size(); ++i) texts.*kTextMembers[i] = kept[i];
    for (SocketAddress* address : {&texts.client, &texts.dialled, &texts.endpoint}) {
      for (uint8_t& byte : address->ip.bytes) byte = static_cast<uint8_t>(random.next());
      address->port = static_cast<uint16_t>(random.next());
    }
    const RecordUse use{random.below(2) == 1, random.below(2) == 1};
    std::string bytes(encoded_bytes(texts), '\0');
    encode(use, report, texts, bytes.data());
    const Record record = decode(bytes);
    EXPECT_EQ(record.use.log, use.log);
    EXPECT_EQ(record.use.trace, use.trace);
    expect_same(record.report, report);
    for (size_t i = 0; i < kept.size(); ++i) {
      EXPECT_EQ(record.texts.*kTextMembers[i], kept[i].substr(0, kTextBytesMax));
    }
    EXPECT_EQ(record.texts.client, texts.client);
    EXPECT_EQ(record.texts.dialled, texts.dialled);
    EXPECT_EQ(record.texts.endpoint, texts.endpoint);
  }
}

// A client must not be able to keep its requests out of the log by long fields.
TEST(RecordCodec, LongFieldsOfAClientFitIntoARecord) {
  Told told = answered_request();
  const std::string text(60'000, 'x');
  const std::string name(253, 'n');
  for (std::string_view RequestTexts::*member : kTextMembers) told.texts.*member = name;
  for (std::string_view RequestTexts::*member :
       {&RequestTexts::method, &RequestTexts::authority, &RequestTexts::path,
        &RequestTexts::user_agent, &RequestTexts::request_id, &RequestTexts::forwarded_for}) {
    told.texts.*member = text;
  }
  EXPECT_LE(encoded_bytes(told.texts), RecordRing::kRecordBytesMax);
}

}  // namespace
}  // namespace np::metrics
