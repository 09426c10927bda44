// SPDX-License-Identifier: Apache-2.0
// RecordRing: records of any size from one shard to the telemetry thread. One writer, one reader,
// no lock and no system call; a record that finds no room is lost and counted. Owned by the
// Telemetry that made it, which outlives the shards. `due` counts all records, also those that are
// lost; its memory may outlive the process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace np::metrics {

class RecordRing {
 public:
  static constexpr size_t kBytes = size_t{1} << 20U;  // a power of two
  static constexpr size_t kRecordBytesMax = 64 * 1024;

  explicit RecordRing(uint64_t* due = nullptr)
      : due_(due != nullptr ? due : &own_due_), memory_(std::make_unique<char[]>(kBytes)) {}
  RecordRing(const RecordRing&) = delete;
  RecordRing& operator=(const RecordRing&) = delete;

  // Writer. Room for `bytes` in one piece, or null: then the record is lost. commit() follows.
  char* reserve(size_t bytes) {
    const size_t whole = padded(bytes);
    const uint64_t head = head_.load(std::memory_order_relaxed);
    const size_t at = head % kBytes;
    // A record never wraps: what is left of the ring is skipped.
    skipped_ = at + whole > kBytes ? kBytes - at : 0;
    const uint64_t used = head - tail_.load(std::memory_order_acquire);
    if (bytes > kRecordBytesMax || used + skipped_ + whole > kBytes) {
      lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      count_due();
      return nullptr;
    }
    if (skipped_ > 0) write_size(at, kSkip);
    const size_t start = skipped_ > 0 ? 0 : at;
    write_size(start, static_cast<uint32_t>(bytes));
    reserved_ = whole;
    return memory_.get() + start + kHeaderBytes;
  }
  void commit() {
    count_due();
    head_.store(head_.load(std::memory_order_relaxed) + skipped_ + reserved_,
                std::memory_order_release);
  }

  // Reader. Calls visit(record) for what is there now, at most `most` records; returns how many.
  template <typename Visit>
  size_t drain(size_t most, Visit&& visit) {
    size_t count = 0;
    uint64_t tail = tail_.load(std::memory_order_relaxed);
    const uint64_t head = head_.load(std::memory_order_acquire);
    while (tail != head && count < most) {
      const size_t at = tail % kBytes;
      uint32_t size = 0;
      std::memcpy(&size, memory_.get() + at, sizeof(size));
      if (size == kSkip) {
        tail += kBytes - at;
        continue;
      }
      visit(std::string_view(memory_.get() + at + kHeaderBytes, size));
      tail += padded(size);
      tail_.store(tail, std::memory_order_release);
      ++count;
    }
    tail_.store(tail, std::memory_order_release);
    return count;
  }

  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kHeaderBytes = 8;  // keeps records aligned
  static constexpr uint32_t kSkip = UINT32_MAX;
  void count_due() {
    const std::atomic_ref<uint64_t> due(*due_);
    due.store(due.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  static size_t padded(size_t bytes) { return (kHeaderBytes + bytes + 7) / 8 * 8; }
  void write_size(size_t at, uint32_t size) {
    std::memcpy(memory_.get() + at, &size, sizeof(size));
  }

  uint64_t own_due_ = 0;
  uint64_t* const due_;
  std::unique_ptr<char[]> memory_;
  size_t skipped_ = 0, reserved_ = 0;  // writer's
  alignas(64) std::atomic<uint64_t> head_{0};
  std::atomic<uint64_t> lost_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace np::metrics
