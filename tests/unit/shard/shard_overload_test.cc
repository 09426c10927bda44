// SPDX-License-Identifier: Apache-2.0
// Shards that are told of short memory, that run late, and that show that they go on.
#include <gtest/gtest.h>

#include <cerrno>

#include "base/life_page.h"
#include "base/memory_stage.h"
#include "bpf/abi/np_abi.h"
#include "shard/peers.h"
#include "tests/unit/shard/pool_fixture.h"

namespace np::shard {
namespace {

using std::chrono::milliseconds;
using test::Client;
using test::flags_of;
using test::Pool;

TEST(ShardOverload, WithoutMemoryItAcceptsNothingAndGoesOn) {
  MemorySignal memory;
  uint32_t live_flags = 0;
  ShardPoolOptions options;
  options.memory = &memory;
  options.live_flags = &live_flags;
  Pool pool(2, std::move(options));
  Client open(pool.port);
  EXPECT_EQ(open.ask("echo before"), "before\n");
  memory.publish({MemoryStage::kDrain, 1});
  EXPECT_EQ(Client(pool.port).ask("echo drain"), "drain\n");
  memory.publish({MemoryStage::kRefuse, 2});
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().accept_paused == 2; }));
  EXPECT_TRUE(pool.pool->is_overloaded());
  EXPECT_TRUE(pool.pool->is_live()) << "it is no reason for a restart";
  EXPECT_EQ(flags_of(live_flags), NP_LIVE_OVERLOAD);
  EXPECT_EQ(open.ask("echo during"), "during\n") << "open connections are served";
  const uint64_t accepted = pool.pool->counters().accepted;
  Client waiting(pool.port);  // in the kernel's queue, not refused
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(pool.pool->counters().accepted, accepted);
  memory.publish({MemoryStage::kNormal, 3});
  EXPECT_EQ(waiting.ask("echo after"), "after\n");
  EXPECT_TRUE(pool.eventually([&] { return !pool.pool->is_overloaded(); }));
  EXPECT_TRUE(pool.eventually([&] { return flags_of(live_flags) == 0; }));
}

TEST(ShardOverload, ShortMemoryTakesTheIdleBuffers) {
  MemorySignal memory;
  ShardPoolOptions options;
  options.memory = &memory;
  Pool pool(1, std::move(options));
  Client client(pool.port);
  EXPECT_EQ(client.ask("echo before"), "before\n");
  for (uint32_t look = 1; look < 50; ++look) {
    memory.publish({MemoryStage::kReset, look});
    std::this_thread::sleep_for(milliseconds(30));
    EXPECT_EQ(client.ask("echo during"), "during\n");
  }
  EXPECT_GT(pool.pool->counters().buffer_bytes_given_back, 0U);
}

TEST(ShardOverload, ShowsThatItGoesOnAndThatItEnded) {
  LifePage life{};
  ShardPoolOptions options;
  options.life = &life;
  {
    const Pool pool(2, std::move(options));
    const uint64_t begin = read_word(life.shards[1].progress_ns);
    EXPECT_NE(begin, 0U);
    // Idle, and going on all the same: a shard wakes itself.
    EXPECT_TRUE(pool.eventually([&] {
      return read_word(life.shards[0].progress_ns) > begin + 200'000'000 &&
             read_word(life.shards[1].progress_ns) > begin + 200'000'000;
    }));
  }
  EXPECT_EQ(read_word(life.shards[0].progress_ns), 0U);
  EXPECT_EQ(read_word(life.shards[1].progress_ns), 0U);
  EXPECT_EQ(read_word(life.shards[2].progress_ns), 0U);
}

TEST(PeersLate, NobodyLateGetsAConnectionWhileAnotherIsInTime) {
  Peers peers(3, nullptr, {});
  peers.status[0].load = 5;
  peers.status[1].load = 1;
  peers.status[2].load = 3;
  EXPECT_EQ(peers.least_loaded(0), 1U);
  peers.status[1].late = true;
  EXPECT_EQ(peers.least_loaded(0), 2U);
  EXPECT_EQ(peers.least_loaded(1), 2U);
  EXPECT_FALSE(peers.are_all_late());
  peers.status[2].late = true;
  EXPECT_EQ(peers.least_loaded(1), 0U);
  peers.status[0].late = true;
  EXPECT_EQ(peers.least_loaded(0), 1U);
  EXPECT_TRUE(peers.are_all_late());
}

// A limit that no loop keeps: work alone takes longer than this.
TEST(ShardOverload, WhenAllLoopsRunLateNewConnectionsAreReset) {
  uint32_t live_flags = 0;
  ShardPoolOptions options;
  options.live_flags = &live_flags;
  options.overload_lag = Duration(1);
  Pool pool(1, std::move(options));
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->late_shards() == 1; }));
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->is_overloaded(); }));
  EXPECT_EQ(flags_of(live_flags), NP_LIVE_OVERLOAD);
  EXPECT_TRUE(pool.pool->is_live());
  Client shed(pool.port);
  shed.send("echo x\n");
  (void)shed.receive();
  EXPECT_TRUE(shed.last_errno() == ECONNRESET || shed.last_errno() == EPIPE) << shed.last_errno();
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().shed_late == 1; }));
  EXPECT_EQ(pool.pool->counters().late_begun, 1U);
  EXPECT_EQ(pool.pool->open_connections(), 0U);
}

}  // namespace
}  // namespace np::shard
