// SPDX-License-Identifier: Apache-2.0
// FlowSlots: one shard's range of np_conn. Hands out a record per captured connection, writes its
// key and state under `seq`, and takes it back at close. Slots are reused first in, first out, so
// that a closed record stays readable as long as possible. Shard's thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/address.h"
#include "base/flow_record.h"
#include "base/time.h"

namespace np::shard {

inline constexpr uint32_t kRecordFree = 0;
inline constexpr uint32_t kRecordOpen = 1;
inline constexpr uint32_t kRecordClosed = 2;

class FlowSlots {
 public:
  // Closes records that a dead predecessor left open; their unanswered requests are lost_requests.
  explicit FlowSlots(std::span<FlowRecord> records);

  // Null when every slot is in use.
  FlowRecord* acquire(const SocketAddress& peer, const SocketAddress& local, Instant now);
  void release(FlowRecord* record, Instant now);
  // The two halves of it, for a record that another shard wrote last: that shard, then its owner.
  static void close(FlowRecord& record, Instant now);
  void take_back(FlowRecord* record);

  uint64_t lost_requests() const { return lost_requests_; }
  uint32_t free_slots() const { return free_count_; }

 private:
  std::span<FlowRecord> records_;
  std::vector<uint32_t> queue_;  // a ring of free slots
  uint32_t head_ = 0;
  uint32_t free_count_ = 0;
  uint64_t lost_requests_ = 0;
};

}  // namespace np::shard
