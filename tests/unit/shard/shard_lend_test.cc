// SPDX-License-Identifier: Apache-2.0
// Idle connections to endpoints that serve whichever shard needs one, on real sockets.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/counters.h"
#include "proxy/limits.h"
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
using Counted = proxy::EngineCounters;

class ShardLend : public testing::Test {
 protected:
  void start(bool fixed_files = true) {
    counters_.assign(2, {});
    ShardPoolOptions options;
    options.workers = 2;
    options.limits.balance.is_on = false;  // clients stay where they are
    options.limits.fixed_files = fixed_files;
    options.engine_limits = &limits_;
    for (Counted& one : counters_) options.engine_counters.push_back(&one);
    shard_counters_.assign(2, {});
    for (ShardCounters& one : shard_counters_) options.shard_counters.push_back(&one);
    test::PolicyFixture policy;
    test::PrefixTable& table = policy.add_table();
    policy::Cluster& cluster = policy.add_cluster("origin", {origin_.address()});
    cluster.pool.max_connections = max_connections_;
    cluster.pool.idle_timeout = 100ms;
    table.entries.emplace_back("/", &policy.add_route(&cluster));
    pool_ = ShardPool::create(std::move(options)).value();
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    const SocketAddress bind = local_address(listener.get()).value();
    port_ = bind.port;
    policy.listen(bind.to_string(), &table);
    ASSERT_TRUE(pool_->publish(policy.snapshot).has_value());
    ASSERT_TRUE(pool_->add_gateway_listener(bind, std::move(listener)).has_value());
    ASSERT_TRUE(pool_->start().has_value());
  }
  // Which shard serves a client is the shards' choice: one for each is kept.
  void connect_to_both() {
    std::vector<std::unique_ptr<Client>> others;
    for (int i = 0; i < 100 && (clients_[0] == nullptr || clients_[1] == nullptr); ++i) {
      const uint64_t before = read_counter(shard_counters_[0].adopted);
      auto client = std::make_unique<Client>(port_);
      EXPECT_EQ(ask(*client, "first"), "first");
      const size_t shard = read_counter(shard_counters_[0].adopted) == before ? 1 : 0;
      if (clients_[shard] == nullptr) std::swap(clients_[shard], client);
      others.push_back(std::move(client));
    }
    ASSERT_NE(clients_[0], nullptr);
    ASSERT_NE(clients_[1], nullptr);
  }
  template <typename Done>
  static bool eventually(Done done) {
    for (int i = 0; i < 500 && !done(); ++i) std::this_thread::sleep_for(10ms);
    return done();
  }
  // After stop().
  uint64_t sum(uint64_t Counted::*which) { return counters_[0].*which + counters_[1].*which; }
  // The endpoint closes the connection that this was asked on.
  static void end_upstream(Client& client) {
    EXPECT_TRUE(client.send("GET /ignore HTTP/1.1\r\nHost: test\r\n\r\n"));
    std::string input;
    EXPECT_EQ(test::read_body(client, input), "ignored");
  }
  // Asks, with pauses that let connections idle, and ends one now and then.
  void ask_on(uint32_t number, const std::atomic<bool>& stop) {
    Client client(port_);
    uint32_t state = number * 0x9e3779b1U + 1;
    for (uint32_t i = 0; !stop; ++i) {
      state = state * 1664525U + 1013904223U;
      const std::string body = std::to_string(number) + "/" + std::to_string(i);
      if (const std::string got = ask(client, body); got != body) {
        ADD_FAILURE() << "asked " << body << ", got " << got;
        return;
      }
      if (state >> 29U == 0) end_upstream(client);
      if (state >> 30U == 1) std::this_thread::sleep_for(std::chrono::microseconds(state >> 22U));
    }
  }

  test::Origin origin_;
  proxy::EngineLimits limits_;
  uint32_t max_connections_ = policy::kUnlimited;
  std::vector<Counted> counters_;
  std::vector<ShardCounters> shard_counters_;
  std::unique_ptr<ShardPool> pool_;
  std::unique_ptr<Client> clients_[2];
  uint16_t port_ = 0;
};

TEST_F(ShardLend, OneConnectionServesBothShards) {
  limits_.lend_idle_after = 1ms;
  for (const bool fixed_files : {true, false}) {
    start(fixed_files);
    connect_to_both();
    for (const auto& client : clients_) end_upstream(*client);
    const uint64_t connections = origin_.connections();
    const ShardCounters before = pool_->counters();
    for (size_t i = 0; i < 10; ++i) {
      const std::string body = std::to_string(i);
      EXPECT_EQ(ask(*clients_[i % 2], body), body);
      std::this_thread::sleep_for(20ms);
    }
    const ShardCounters seen = pool_->counters();
    EXPECT_EQ(seen.lent - before.lent, 9U);
    EXPECT_EQ(seen.borrowed - before.borrowed, 9U);
    EXPECT_EQ(seen.not_lent, before.not_lent);
    EXPECT_EQ(origin_.connections() - connections, 1U);
    EXPECT_EQ(seen.stale_completions, 0U);
    EXPECT_EQ(seen.unexpected_completions, 0U);
    clients_[0].reset();
    clients_[1].reset();
    pool_->stop();
  }
}

// With both shards at work, endpoints that close, a limit below what the clients ask for, and
// connections that are lent as soon as they idle.
TEST_F(ShardLend, EveryAnswerIsRightWhateverIsLent) {
  limits_.lend_idle_after = 0ms;
  for (const uint32_t limit : {policy::kUnlimited, 3U}) {
    for (const bool fixed_files : {true, false}) {
      max_connections_ = limit;
      start(fixed_files);
      std::atomic<bool> stop{false};
      std::vector<std::thread> threads;
      for (uint32_t i = 0; i < 8; ++i) threads.emplace_back([&, i] { ask_on(i, stop); });
      EXPECT_TRUE(eventually([&] { return pool_->counters().lent >= 50; }))
          << pool_->counters().lent;
      stop = true;
      for (std::thread& thread : threads) thread.join();
      EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
      EXPECT_EQ(pool_->drain(5s), 0U);
      std::this_thread::sleep_for(300ms);  // what idles has ended
      const ShardCounters seen = pool_->counters();
      EXPECT_EQ(seen.stale_completions, 0U);
      EXPECT_EQ(seen.unexpected_completions, 0U);
      pool_->stop();
      EXPECT_EQ(sum(&Counted::downstream_rq_started),
                sum(&Counted::downstream_rq_completed) + sum(&Counted::downstream_rq_aborted));
      EXPECT_EQ(sum(&Counted::upstream_cx_total), seen.upstream_opened);
      EXPECT_EQ(sum(&Counted::upstream_cx_destroy), seen.upstream_opened);
      EXPECT_LE(seen.borrowed, seen.lent);
      std::cerr << "lent " << seen.lent << ", borrowed " << seen.borrowed << ", not lent "
                << seen.not_lent << ", opened " << seen.upstream_opened << "\n";
    }
  }
}

}  // namespace
}  // namespace np::shard
