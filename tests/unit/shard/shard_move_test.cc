// SPDX-License-Identifier: Apache-2.0
// Clients that move between shards, on real sockets with the real engine: every answer is the one
// of the request that was asked, on its connection and in order, whatever moves meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/support/policy_fixture.h"
#include "tests/unit/shard/client.h"
#include "tests/unit/shard/echo_client.h"
#include "tests/unit/shard/origin.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::ask;
using test::Client;
using test::post;
using test::read_body;

// Half of the clients, others each 50 ms: the loads of the shards go up and down.
bool is_lazy(uint32_t number) {
  const auto phase = static_cast<uint32_t>(monotonic_now().time_since_epoch() / 50ms);
  return ((phase * 0x9e3779b1U ^ number * 0x85ebca6bU) * 0xc2b2ae35U >> 31U) != 0;
}

// Windows so short and gaps so small that something always moves.
BalanceLimits restless() {
  BalanceLimits limits;
  limits.window = test::kSanitized ? 20ms : 2ms;  // a move has to fit in
  limits.gives_from_permille = 1;
  limits.takes_below_permille = 1001;
  limits.gap_min_permille = 1;
  limits.pause_windows = 0;
  limits.stays_windows = 0;
  return limits;
}

class ShardMove : public testing::Test {
 protected:
  void start(const BalanceLimits& balance, bool fixed_files = true) {
    counters_.resize(2);
    ShardPoolOptions options;
    options.workers = 2;
    options.flow_records = records_;
    options.limits.balance = balance;
    options.limits.fixed_files = fixed_files;
    for (proxy::EngineCounters& one : counters_) options.engine_counters.push_back(&one);
    shard_counters_.assign(2, {});
    for (ShardCounters& one : shard_counters_) options.shard_counters.push_back(&one);
    test::PolicyFixture policy;
    test::PrefixTable& table = policy.add_table();
    policy::Cluster& origin = policy.add_cluster("origin", {origin_.address()});
    table.entries.emplace_back("/", &policy.add_route(&origin));
    Fd captured = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    const SocketAddress dialled = local_address(captured.get()).value();
    captured_port_ = dialled.port;
    policy.capture(dialled.to_string(), &table);
    options.captured_listeners.push_back(std::move(captured));
    pool_ = ShardPool::create(std::move(options)).value();
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    const SocketAddress bind = local_address(listener.get()).value();
    port_ = bind.port;
    policy.listen(bind.to_string(), &table);
    ASSERT_TRUE(pool_->publish(policy.snapshot).has_value());
    ASSERT_TRUE(pool_->add_gateway_listener(bind, std::move(listener)).has_value());
    ASSERT_TRUE(pool_->start().has_value());
  }
  template <typename Done>
  static bool eventually(Done done) {
    for (int i = 0; i < 500 && !done(); ++i) std::this_thread::sleep_for(10ms);
    return done();
  }
  // A client that asks until it is told to stop; every fourth request is written in two pieces, and
  // now and then two are sent at once.
  void ask_on(uint32_t number, uint16_t port, const std::atomic<bool>& stop) {
    Client client(port);
    std::string input;
    for (uint32_t i = 0; !stop; ++i) {
      const std::string body =
          std::to_string(number) + "/" + std::to_string(i) + std::string(i % 7, '.');
      const std::string request = post(body);
      bool sent = false;
      if (i % 4 == 1) {
        sent = client.send(request.substr(0, 9)) && client.send(request.substr(9));
      } else if (i % 16 == 2) {
        sent = client.send(request + post("second " + body));
      } else {
        sent = client.send(request);
      }
      const std::string got = read_body(client, input);
      if (!sent || got != body) {
        ADD_FAILURE() << "asked " << body << ", got " << got;
        break;
      }
      if (i % 16 == 2) {
        EXPECT_EQ(read_body(client, input), "second " + body);
        ++answers_;
      }
      ++answers_;
      if (is_lazy(number)) std::this_thread::sleep_for(5ms);
    }
    EXPECT_TRUE(input.empty());
  }
  uint64_t sum(uint64_t proxy::EngineCounters::*which) {
    return counters_[0].*which + counters_[1].*which;
  }
  // After stop(): counters and records are not written any more.
  void expect_balanced() {
    using C = proxy::EngineCounters;
    EXPECT_EQ(sum(&C::downstream_cx_total), sum(&C::downstream_cx_destroy));
    EXPECT_EQ(sum(&C::downstream_rq_started), sum(&C::downstream_rq_completed));
    EXPECT_EQ(pool_->counters().moved_away, pool_->counters().taken_in);
  }

  test::Origin origin_;
  std::vector<FlowRecord> records_ = std::vector<FlowRecord>(64);
  std::vector<proxy::EngineCounters> counters_;
  std::vector<ShardCounters> shard_counters_;
  std::unique_ptr<ShardPool> pool_;
  uint16_t port_ = 0, captured_port_ = 0;
  std::atomic<uint64_t> answers_{0};
};

TEST_F(ShardMove, EveryAnswerIsRightWhateverMoves) {
  constexpr uint32_t kClients = 24;
  for (const bool fixed_files : {true, false}) {
    answers_ = 0;
    counters_.clear();
    start(restless(), fixed_files);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < kClients; ++i) {
      const uint16_t port = i % 2 == 0 ? port_ : captured_port_;
      threads.emplace_back([&, i, port] { ask_on(i, port, stop); });
    }
    EXPECT_TRUE(eventually([&] { return pool_->counters().moved_away >= 20; }))
        << pool_->counters().moved_away;
    std::this_thread::sleep_for(500ms);
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
    const ShardCounters seen = pool_->counters();
    EXPECT_EQ(seen.adopted, kClients);
    EXPECT_EQ(seen.stale_completions, 0U);
    EXPECT_EQ(seen.unexpected_completions, 0U);
    std::this_thread::sleep_for(100ms);  // records are on their way back
    pool_->stop();
    expect_balanced();
    EXPECT_EQ(sum(&proxy::EngineCounters::downstream_cx_total), kClients);
    EXPECT_EQ(sum(&proxy::EngineCounters::downstream_rq_started), answers_);
    // One record for each captured client, with all that it asked wherever it was.
    uint64_t started = 0, closed = 0;
    for (const FlowRecord& one : records_) {
      EXPECT_NE(one.state, 1U);
      EXPECT_EQ(one.seq % 2, 0U);
      if (one.state != 2) continue;
      ++closed;
      started += one.started;
      EXPECT_EQ(one.started, one.completed);
    }
    EXPECT_EQ(closed, kClients / 2);
    EXPECT_GT(started, 0U);
    EXPECT_LT(started, answers_);
    std::cerr << "moved " << seen.moved_away << ", given up " << seen.moves_off << ", answers "
              << answers_ << "\n";
    std::fill(records_.begin(), records_.end(), FlowRecord{});
  }
}

// Every slot of np_conn comes back to the shard that hands it out.
TEST_F(ShardMove, RecordsComeBack) {
  start(restless());
  for (uint32_t round = 0; round < 6; ++round) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    const uint64_t before = pool_->counters().moved_away;
    for (uint32_t i = 0; i < 24; ++i) {
      threads.emplace_back([&, i] { ask_on(i, captured_port_, stop); });
    }
    EXPECT_TRUE(eventually([&] { return pool_->counters().moved_away >= before + 10; }));
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(pool_->counters().adopted, 144U);  // of 64 slots
  EXPECT_EQ(pool_->counters().records_exhausted, 0U);
  pool_->stop();
  expect_balanced();
}

// Clients that come, ask and leave, or leave in the middle, while others move.
TEST_F(ShardMove, ClientsThatLeave) {
  start(restless());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { ask_on(i, port_, stop); });
    threads.emplace_back([&, i] {
      for (uint32_t turn = 0; !stop; ++turn) {
        Client client(i % 2 == 0 ? captured_port_ : port_);
        for (uint32_t n = 0; n < turn % 40; ++n) {
          const std::string body = std::to_string(turn) + ":" + std::to_string(n);
          if (ask(client, body) != body) {
            ADD_FAILURE() << body;
            return;
          }
        }
        if (turn % 3 == 0) (void)client.send(post("nobody reads this").substr(0, turn % 90));
        if (turn % 3 == 1) {
          client.finish();
          EXPECT_EQ(client.receive(), "");
        }
      }
    });
  }
  std::this_thread::sleep_for(2s);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
  EXPECT_GT(pool_->counters().moved_away, 0U);
  pool_->stop();
  EXPECT_EQ(sum(&proxy::EngineCounters::downstream_cx_total),
            sum(&proxy::EngineCounters::downstream_cx_destroy));
  EXPECT_EQ(pool_->counters().moved_away, pool_->counters().taken_in);
  EXPECT_EQ(pool_->counters().records_exhausted, 0U);
}

// A drain ends what is at rest with a FIN, also what is on its way, and leaves nothing open.
TEST_F(ShardMove, Drain) {
  constexpr uint32_t kClients = 16;
  for (uint32_t round = 0; round < 5; ++round) {
    counters_.clear();
    start(restless());
    std::atomic<uint32_t> orderly{0};
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < kClients; ++i) {
      threads.emplace_back([&, i] {
        Client client(port_);
        for (uint32_t n = 0;; ++n) {
          if (is_lazy(i)) std::this_thread::sleep_for(5ms);
          // The proxy may close between two requests: that request was not answered, and not lost.
          if (!client.send(post(std::to_string(n)))) break;
          std::string input;
          const std::string got = read_body(client, input);
          if (got == std::to_string(n)) continue;
          EXPECT_EQ(got, "closed after: ");
          break;
        }
        ++orderly;
      });
    }
    EXPECT_TRUE(eventually([&] { return pool_->counters().moved_away >= 5; }));
    const Instant begin = monotonic_now();
    EXPECT_EQ(pool_->drain(5s), 0U);
    EXPECT_LT(monotonic_now() - begin, 1s);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(orderly, kClients);
    pool_->stop();
    expect_balanced();
  }
}

// The clients of one shard ask all the time, those of the other one are silent. With the limits of
// production it would depend on what else the machine does whether a shard is busy enough to give.
TEST_F(ShardMove, AnIdleShardTakesFromABusyOne) {
  BalanceLimits limits;
  limits.gives_from_permille = 50;
  limits.gap_min_permille = 30;
  start(limits);
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Client>> silent;
  std::vector<std::thread> threads;
  // Where a client comes to is the shards' choice: one whose loop runs late gets none.
  for (uint32_t i = 0; (silent.size() < 3 || threads.size() < 3) && i < 100; ++i) {
    const uint64_t on_first = read_counter(shard_counters_[0].adopted);
    auto client = std::make_unique<Client>(port_);
    EXPECT_EQ(ask(*client, "first"), "first");
    if (read_counter(shard_counters_[0].adopted) == on_first) {
      if (silent.size() < 3) silent.push_back(std::move(client));
      continue;
    }
    if (threads.size() == 3) continue;
    threads.emplace_back([&stop, client = std::move(client)] {
      // Eight at a time: the client is not what the shard waits for.
      std::string many;
      for (int k = 0; k < 8; ++k) many += post("x");
      std::string input;
      while (!stop) {
        if (!client->send(many)) break;
        for (int k = 0; k < 8; ++k) EXPECT_EQ(read_body(*client, input), "x");
      }
    });
  }
  EXPECT_EQ(silent.size() + threads.size(), 6U);
  const bool has_moved = eventually([&] { return pool_->counters().taken_in > 0; });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(has_moved);
  EXPECT_LE(pool_->counters().moved_away, 3U);
}

// One connection that makes all the load would only take it along.
TEST_F(ShardMove, AnOnlyOneStays) {
  BalanceLimits limits;
  limits.gives_from_permille = 1;
  limits.gap_min_permille = 1;
  start(limits);
  Client client(port_);
  const Instant end = monotonic_now() + 1500ms;
  for (uint32_t n = 0; monotonic_now() < end; ++n) EXPECT_EQ(ask(client, "x"), "x");
  EXPECT_EQ(pool_->counters().moved_away, 0U);
}

}  // namespace
}  // namespace np::shard
