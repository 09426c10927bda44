// SPDX-License-Identifier: Apache-2.0
// SpinLock: for state that all shards share and that cannot be split among them, where the section
// under the lock is a few memory accesses. Not held across memory management, except where a thing
// is made once, nor while anybody could block: whoever waits burns its core. Right for it and wrong
// for a mutex: shards must not sleep, and one futex call costs more than a thousand of these
// sections. If the holder lost its core, the others give theirs away instead of spinning through
// its absence.
#pragma once

#include <atomic>
#include <thread>

namespace np {

class SpinLock {
 public:
  void lock() {
    while (flag_.test_and_set(std::memory_order_acquire)) wait();
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  static constexpr int kSpins = 128;  // about a microsecond

  // Reads only: the cache line stays shared until the lock is free.
  void wait() const {
    for (int i = 0; flag_.test(std::memory_order_relaxed); ++i) {
      if (i >= kSpins) {
        std::this_thread::yield();
        continue;
      }
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

  std::atomic_flag flag_;
};

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
