// SPDX-License-Identifier: Apache-2.0
#include "shard/flow_slots.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "base/check.h"

namespace np::shard {
namespace {

// Readers retry while seq is odd or has changed; the fences keep the fields between the two stores.
void begin_write(FlowRecord& record) {
  std::atomic_ref<uint32_t>(record.seq).store(record.seq | 1U, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
}

void end_write(FlowRecord& record) {
  std::atomic_ref<uint32_t>(record.seq).store(record.seq + 1, std::memory_order_release);
}

}  // namespace

FlowSlots::FlowSlots(std::span<FlowRecord> records) : records_(records) {
  queue_.resize(records.size());
  std::iota(queue_.begin(), queue_.end(), 0U);
  // What a dead worker told last stays readable longest: what was never used comes first.
  std::stable_sort(queue_.begin(), queue_.end(), [&records](uint32_t a, uint32_t b) {
    return records[a].last_ns < records[b].last_ns;
  });
  for (uint32_t slot = 0; slot < records.size(); ++slot) {
    FlowRecord& record = records_[slot];
    if (record.state != kRecordOpen) continue;
    const uint64_t ended = record.completed + record.refused + record.aborted;
    if (record.started > ended) lost_requests_ += record.started - ended;
    begin_write(record);
    record.state = kRecordClosed;
    end_write(record);
  }
  free_count_ = static_cast<uint32_t>(records.size());
}

FlowRecord* FlowSlots::acquire(const SocketAddress& peer, const SocketAddress& local, Instant now) {
  if (free_count_ == 0) return nullptr;
  FlowRecord& record = records_[queue_[head_]];
  head_ = head_ + 1 == queue_.size() ? 0 : head_ + 1;
  --free_count_;
  begin_write(record);
  const uint32_t seq = record.seq;
  record = FlowRecord{};
  record.seq = seq;
  record.state = kRecordOpen;
  std::copy(peer.ip.bytes.begin(), peer.ip.bytes.end(), record.key.source_ip);
  std::copy(local.ip.bytes.begin(), local.ip.bytes.end(), record.key.destination_ip);
  record.key.source_port = peer.port;
  record.key.destination_port = local.port;
  record.start_ns = to_ns(now);
  record.last_ns = record.start_ns;
  end_write(record);
  return &record;
}

void FlowSlots::release(FlowRecord* record, Instant now) {
  close(*record, now);
  take_back(record);
}

void FlowSlots::close(FlowRecord& record, Instant now) {
  begin_write(record);
  record.state = kRecordClosed;
  record.last_ns = to_ns(now);
  end_write(record);
}

void FlowSlots::take_back(FlowRecord* record) {
  NP_DCHECK(record >= records_.data() && record < records_.data() + records_.size());
  const auto slot = static_cast<uint32_t>(record - records_.data());
  const size_t tail = (head_ + free_count_) % queue_.size();
  queue_[tail] = slot;
  ++free_count_;
}

}  // namespace np::shard
