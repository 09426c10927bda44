// SPDX-License-Identifier: Apache-2.0
#include "base/spin_lock.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace np {
namespace {

// More threads than cores, so that holders lose theirs; a plain counter shows a lock that leaks,
// and TSan what it does not order.
TEST(SpinLock, KeepsOthersOut) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 50'000;
  SpinLock lock;
  uint64_t counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const SpinGuard guard(lock);
        ++counter;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, uint64_t{kThreads} * kRounds);
}

}  // namespace
}  // namespace np
