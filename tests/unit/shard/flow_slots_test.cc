// SPDX-License-Identifier: Apache-2.0
#include "shard/flow_slots.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace np::shard {
namespace {

const SocketAddress kPeer = *SocketAddress::parse("10.1.0.2:40000");
const SocketAddress kLocal = *SocketAddress::parse("10.96.0.10:9080");

TEST(FlowSlots, FillsKeyAndState) {
  std::vector<FlowRecord> records(4);
  FlowSlots slots(records);
  FlowRecord* record = slots.acquire(kPeer, kLocal, instant_from_ns(77));
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->state, kRecordOpen);
  EXPECT_EQ(record->seq % 2, 0U);
  EXPECT_EQ(record->key.source_port, 40000);
  EXPECT_EQ(record->key.destination_port, 9080);
  EXPECT_EQ(record->key.source_ip[12], 10);
  EXPECT_EQ(record->key.destination_ip[13], 96);
  EXPECT_EQ(record->start_ns, 77U);
  record->started = 3;
  slots.release(record, instant_from_ns(99));
  EXPECT_EQ(record->state, kRecordClosed);
  EXPECT_EQ(record->last_ns, 99U);
  EXPECT_EQ(record->started, 3U);  // stays readable
}

TEST(FlowSlots, ReusesTheOldestClosedRecord) {
  std::vector<FlowRecord> records(3);
  FlowSlots slots(records);
  FlowRecord* first = slots.acquire(kPeer, kLocal, {});
  FlowRecord* second = slots.acquire(kPeer, kLocal, {});
  FlowRecord* third = slots.acquire(kPeer, kLocal, {});
  EXPECT_EQ(slots.acquire(kPeer, kLocal, {}), nullptr);
  slots.release(second, {});
  slots.release(first, {});
  EXPECT_EQ(slots.acquire(kPeer, kLocal, {}), second);
  slots.release(third, {});
  EXPECT_EQ(slots.acquire(kPeer, kLocal, {}), first);
  EXPECT_EQ(slots.acquire(kPeer, kLocal, {}), third);
  EXPECT_EQ(slots.free_slots(), 0U);
}

TEST(FlowSlots, BooksWhatADeadWorkerLeft) {
  std::vector<FlowRecord> records(4);
  records[1].state = kRecordOpen;
  records[1].seq = 5;  // died while writing
  records[1].started = 10;
  records[1].completed = 7;
  records[1].refused = 1;
  records[3].state = kRecordClosed;
  records[3].started = 2;
  FlowSlots slots(records);
  EXPECT_EQ(slots.lost_requests(), 2U);
  EXPECT_EQ(records[1].state, kRecordClosed);
  EXPECT_EQ(records[1].seq % 2, 0U);
}

TEST(FlowSlots, KeepsWhatADeadWorkerToldAsLongAsThereAreOthers) {
  std::vector<FlowRecord> records(4);
  for (const uint32_t slot : {0U, 2U}) {
    records[slot].state = kRecordClosed;
    records[slot].completed = 7;
    records[slot].last_ns = 100 - slot;  // slot 2 is the older one
  }
  FlowSlots slots(records);
  const SocketAddress none;
  EXPECT_EQ(slots.acquire(none, none, {}), &records[1]);
  EXPECT_EQ(slots.acquire(none, none, {}), &records[3]);
  EXPECT_EQ(slots.acquire(none, none, {}), &records[2]);
  EXPECT_EQ(records[0].completed, 7U);
  EXPECT_EQ(slots.acquire(none, none, {}), &records[0]);
}

TEST(FlowSlots, NoneGiven) {
  FlowSlots slots({});
  EXPECT_EQ(slots.acquire(kPeer, kLocal, {}), nullptr);
}

}  // namespace
}  // namespace np::shard
