// SPDX-License-Identifier: Apache-2.0
// MemoryWatch: reads how much memory is in use, finds the MemoryStage and publishes it to the
// shards. Owns its thread and the descriptors of the files that it reads, which are opened before
// the sandbox. Made and started by run_worker; state() may be asked by any thread.
//
// Where somebody named a limit, the resident memory of this process counts against it. Where the
// limit is a cgroup's, what that cgroup is charged counts, if that is more: the kernel kills for
// the sum of its processes and their socket buffers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/life_page.h"
#include "base/memory_stage.h"
#include "base/result.h"
#include "base/time.h"
#include "overload/memory_gate.h"
#include "overload/memory_limit.h"
#include "overload/memory_trend.h"

namespace np::overload {

// Far below the first threshold, and from kNearPercent below it on. A look reads two small files.
inline constexpr Duration kLookFar = std::chrono::milliseconds(50);
inline constexpr Duration kLookNear = std::chrono::milliseconds(25);
inline constexpr uint32_t kNearPercent = 15;
// What requests have freed counts as used until the heap gives it back to the kernel. That is asked
// for before a stage begins, so that none does for memory that is free already, and again above
// kNormal; this far apart, and as far as keeps it below a tenth of a CPU. It takes up to 300 ms
// with a heap of 200 MiB: where the use may come to kReset meanwhile, the stage comes first.
inline constexpr Duration kTrimEvery = std::chrono::milliseconds(500);
inline constexpr Duration kTrimEveryAtReset = std::chrono::milliseconds(100);
inline constexpr int kTrimShare = 10;
inline constexpr Duration kTrimTakes = std::chrono::milliseconds(100);  // until it is known

struct MemoryWatchOptions {
  uint64_t limit_bytes = 0;                    // 0: find_memory_limit()
  std::optional<MemoryThresholds> thresholds;  // none: no stage is ever reached
  // Counts how often each stage began, by stage; null: nobody wants to know. Outlives the watch.
  LifePage* life = nullptr;
  MemoryFiles files;
};

struct MemoryState {
  uint64_t used_bytes = 0, limit_bytes = 0;
  uint64_t bytes_per_second = 0;  // by which the use rises
  std::string limit_source;
  MemoryStage stage = MemoryStage::kNormal;
  std::optional<MemoryThresholds> thresholds;
  Instant since{};  // when it began; zero: it has never been another
};

class MemoryWatch {
 public:
  // An error: this process's own use cannot be read.
  static Result<std::unique_ptr<MemoryWatch>> create(const MemoryWatchOptions& options);
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  void start();
  const MemorySignal& signal() const { return signal_; }
  MemoryState state() const;

  // One look, as the thread takes them; returns after how long the next one is due.
  Duration look(Instant now);

 private:
  MemoryWatch(const MemoryWatchOptions& options, MemoryLimit limit);
  void count(MemoryStage begun) const;
  void run();
  Duration pause_after(uint64_t used) const;
  bool wants_trim(uint64_t used, Instant now) const;
  void trim(Instant now);
  bool may_fill_up(uint64_t soon) const;
  void decide(uint64_t used, uint64_t soon, Instant now, bool is_trimmed);
  uint64_t used_bytes() const;
  void tell(MemoryStage before, const MemoryState& now) const;

  const std::optional<MemoryThresholds> thresholds_;
  const MemoryLimit limit_;
  LifePage* const life_;
  Fd statm_, usage_, stat_;
  MemoryGate gate_;
  MemoryTrend trend_;
  MemorySignal signal_;
  uint32_t looks_ = 0;
  Instant trim_at_{};      // not before
  Duration trim_takes_{};  // the latest one

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable stop_wanted_;
  MemoryState state_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace np::overload
