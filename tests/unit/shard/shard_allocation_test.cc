// SPDX-License-Identifier: Apache-2.0
// Performance.md 3.1, of the whole shard: ring, transport, engine and what is told of requests
// allocate nothing per request once they are warm. Counts operator new on the shard's thread over
// 100 000 requests of every kind that the benchmark has, on real sockets. How much is under way at
// once is not ours to say here, and what holds the most there ever was may still grow by a few (the
// engine alone is counted to the last one, in allocation_test).
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "tests/support/every_kind.h"

namespace {

std::atomic<bool> g_counting{false};
std::atomic<uint64_t> g_allocations{0};

bool is_shard_thread() {
  static thread_local int known = -1;
  if (known < 0) {
    char name[16] = "";
    (void)::pthread_getname_np(::pthread_self(), name, sizeof name);
    known = std::strncmp(name, "np-shard-", 9) == 0 ? 1 : 0;
  }
  return known == 1;
}

}  // namespace

[[gnu::noinline]] void* operator new(size_t size) {
  if (g_counting && is_shard_thread()) ++g_allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace np::test {
namespace {

constexpr int kClients = 4;
constexpr uint64_t kGrowthMax = 16;  // over all requests
constexpr int kWarmClients = 8;  // so that nothing measured has more at once than there was before

void ask_all(uint16_t port, int percent, std::atomic<int>& failed) {
  Client client(port);
  for (const RequestKind& kind : every_kind()) {
    const int times = std::max(1, kind.count * percent / 100);
    for (int i = 0; i < times; ++i) failed += ask(client, kind) ? 0 : 1;
  }
}

void run_clients(uint16_t port, int count, int percent) {
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < count; ++i) {
    clients.emplace_back([&] { ask_all(port, percent, failed); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failed, 0);
}

void expect_no_allocation(bool has_every_feature) {
  KindsStage stage(has_every_feature);
  run_clients(stage.port, kWarmClients, 10);
  const uint64_t before = stage.origin.requests();
  g_allocations = 0;
  g_counting = true;
  run_clients(stage.port, kClients, 200);
  g_counting = false;
  EXPECT_GE(stage.origin.requests() - before, 100'000U);
  EXPECT_LE(g_allocations, kGrowthMax);
}

TEST(ShardAllocation, NoneForAnyKindOfRequest) {
  expect_no_allocation(false);
}

TEST(ShardAllocation, NoneWithEveryFeature) {
  expect_no_allocation(true);
}

// A new connection for each request.
TEST(ShardAllocation, NoneForNewConnections) {
  constexpr int kWarm = 2000;
  constexpr int kMeasured = 10'000;
  KindsStage stage(true);
  const RequestKind kind = every_kind().front();
  const auto connect = [&](int times) {
    for (int i = 0; i < times; ++i) {
      Client once(stage.port);
      ASSERT_TRUE(ask(once, kind));
    }
  };
  connect(kWarm);
  g_allocations = 0;
  g_counting = true;
  connect(kMeasured);
  g_counting = false;
  EXPECT_LE(g_allocations, kGrowthMax);
}

}  // namespace
}  // namespace np::test
