// SPDX-License-Identifier: Apache-2.0
// What shadow mode looks at and what it tells. Owned by the NodeState.
//   ShadowUse  how much is under way where limits in shadow mode look on: one for each cluster and
//              caller, beside the AdmissionGroup of the limits in force. Any shard, without a lock.
//   ShadowLog  what would have been done, for the log: note() by any shard, only when something
//              would have been; the rest by the watcher. One line for each object and kind in
//              kEvery, with the count since the last one; none is left out for good.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/spin_lock.h"
#include "base/time.h"
#include "policy/model.h"

namespace np::proxy {

class ShadowUse {
 public:
  bool is_full(const policy::ConnectionPool& limits) const {
    return would_hold(running_.load(std::memory_order_relaxed), limits);
  }
  // A request goes on. True: `limits` would have made it wait, or refused it.
  bool begin(const policy::ConnectionPool& limits) {
    return would_hold(running_.fetch_add(1, std::memory_order_relaxed), limits);
  }
  void end() { running_.fetch_sub(1, std::memory_order_relaxed); }
  // The same for a repeat, which would have been refused.
  bool begin_retry(const policy::ConnectionPool& limits) {
    return retries_.fetch_add(1, std::memory_order_relaxed) >= limits.max_retries;
  }
  void end_retry() { retries_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  static bool would_hold(uint32_t running, const policy::ConnectionPool& limits) {
    return running >= limits.max_connections || running >= limits.max_requests;
  }
  std::atomic<uint32_t> running_{0};
  std::atomic<uint32_t> retries_{0};
};

enum class ShadowKind : uint8_t { kFault, kLimit, kRetry };

class ShadowLog {
 public:
  static constexpr Duration kEvery = std::chrono::seconds(10);
  static constexpr size_t kEntriesMax = 256;  // objects beyond these are only counted

  // True: the watcher should look when take() has something.
  bool note(ShadowKind kind, std::string_view object, Instant now);

  struct Note {
    ShadowKind kind;
    std::string object;  // "TrafficPolicy default/slow"
    uint64_t count;
  };
  std::vector<Note> take(Instant now);
  // When take() has something; kNever: nothing is untold.
  Instant next_due();

 private:
  struct Entry {
    ShadowKind kind;
    std::string object;
    uint64_t count = 0;
    Instant due;
  };
  SpinLock lock_;
  std::vector<Entry> entries_;
};

}  // namespace np::proxy
