// SPDX-License-Identifier: Apache-2.0
// Pool: a running ShardPool with one gateway listener on a port that the kernel chose.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/unit/shard/client.h"

namespace np::test {

// What a process shares with the kernel's programs, read as another thread writes it.
inline uint32_t flags_of(uint32_t& word) {
  return std::atomic_ref(word).load();
}

struct Pool {
  explicit Pool(uint32_t workers = 1, shard::ShardPoolOptions options = {}) {
    options.workers = workers;
    counters.resize(workers);
    for (proxy::EngineCounters& one : counters) options.engine_counters.push_back(&one);
    auto made = shard::ShardPool::create(std::move(options));
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().to_string());
    pool = std::move(made).value();
    port = listen();
    const auto started = pool->start();
    EXPECT_TRUE(started.has_value()) << (started ? "" : started.error().to_string());
  }
  uint16_t listen() {
    Fd listener = shard::open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    bind = shard::local_address(listener.get()).value();
    EXPECT_TRUE(pool->add_gateway_listener(bind, std::move(listener)).has_value());
    return bind.port;
  }
  // Waits until `done` holds, for at most five seconds.
  template <typename Done>
  bool eventually(Done done) const {
    for (int i = 0; i < 500; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return done();
  }
  std::vector<proxy::EngineCounters> counters;
  std::unique_ptr<shard::ShardPool> pool;
  SocketAddress bind;
  uint16_t port = 0;
};

}  // namespace np::test
