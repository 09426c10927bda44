// SPDX-License-Identifier: Apache-2.0
// SpinLock: guards what few instructions change and several shards share (limits, ejections). Any
// thread. A shard must never sleep while it holds one, so nothing is called under it that could
// block; that keeps the wait of others at nanoseconds, where a mutex would cost a system call.
#pragma once

#include <atomic>

namespace np {

class SpinLock {
 public:
  SpinLock() = default;
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire)) {
      // Looking does not take the cache line away from the holder.
      while (taken_.load(std::memory_order_relaxed)) pause();
    }
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  std::atomic<bool> taken_{false};
};

// Holds a SpinLock for a scope.
class SpinGuard {
 public:
  explicit SpinGuard(SpinLock& lock) : lock_(lock) { lock_.lock(); }
  ~SpinGuard() { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace np
