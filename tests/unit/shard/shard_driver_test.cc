// SPDX-License-Identifier: Apache-2.0
// The driver alone: real sockets, real rings, an engine that does what its client says
// (line_engine.cc). Each test makes a pool of its own on ports that the kernel chooses.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "proxy/counters.h"
#include "proxy/engine.h"
#include "shard/shard_pool.h"
#include "tests/unit/shard/client.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::Client;

struct Pool {
  explicit Pool(uint32_t workers = 1, ShardPoolOptions options = {}) {
    options.workers = workers;
    counters.resize(workers);
    for (proxy::EngineCounters& one : counters) options.engine_counters.push_back(&one);
    auto made = ShardPool::create(std::move(options));
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().to_string());
    pool = std::move(made).value();
    port = listen();
    const auto started = pool->start();
    EXPECT_TRUE(started.has_value()) << (started ? "" : started.error().to_string());
  }
  uint16_t listen() {
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    bind = local_address(listener.get()).value();
    EXPECT_TRUE(pool->add_gateway_listener(bind, std::move(listener)).has_value());
    return bind.port;
  }
  // Waits until `done` holds, for at most five seconds.
  template <typename Done>
  bool eventually(Done done) const {
    for (int i = 0; i < 500; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return done();
  }
  std::vector<proxy::EngineCounters> counters;
  std::unique_ptr<ShardPool> pool;
  SocketAddress bind;
  uint16_t port = 0;
};

size_t open_descriptors() {
  size_t open = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++open;
  ::closedir(directory);
  return open;
}

size_t resident_kib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoul(line.substr(6));
  }
  return 0;
}

TEST(ShardDriver, Echo) {
  Pool pool;
  Client client(pool.port);
  EXPECT_EQ(client.ask("echo hello"), "hello\n");
  EXPECT_EQ(client.ask("echo again"), "again\n");
  EXPECT_EQ(pool.pool->open_connections(), 1U);
  EXPECT_TRUE(pool.pool->is_live());
  EXPECT_EQ(pool.pool->counters().adopted, 1U);
}

TEST(ShardDriver, SendAndOrderlyCloseInOneStep) {
  Pool pool;
  Client client(pool.port);
  EXPECT_EQ(client.ask("close"), "bye\n");
  EXPECT_EQ(client.receive(), "");  // FIN, not RST: linger{1,0} was cleared
}

TEST(ShardDriver, OrderlyCloseStillDeliversEverything) {
  Pool pool;
  Client client(pool.port, 4096);
  client.send("bigclose 8000000\n");
  std::this_thread::sleep_for(100ms);  // the first send is short by now
  EXPECT_EQ(client.drain(), 8'000'000);
  EXPECT_GT(pool.pool->counters().short_sends, 0U);
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == 0; }));
}

TEST(ShardDriver, FlushHasADeadline) {
  ShardPoolOptions options;
  options.limits.close_flush_max = 200ms;
  Pool pool(1, std::move(options));
  Client client(pool.port, 4096);
  client.send("bigclose 8000000\n");
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().closed == 1; }));
  EXPECT_EQ(client.drain(), -1);
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

TEST(ShardDriver, AbortiveCloseIsReset) {
  Pool pool;
  Client client(pool.port);
  client.send("abort\n");
  EXPECT_EQ(client.receive(), "error: " + std::to_string(ECONNRESET));
}

// R31: a client must not take a dead proxy for an orderly end.
TEST(ShardDriver, KilledWorkerIsAReset) {
  int channel[2] = {-1, -1};
  ASSERT_EQ(::pipe2(channel, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Pool pool;
    (void)!::write(channel[1], &pool.port, sizeof pool.port);
    ::pause();
    ::_exit(0);
  }
  uint16_t port = 0;
  ASSERT_EQ(::read(channel[0], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  Client idle(port);
  EXPECT_EQ(idle.ask("echo x"), "x\n");
  Client busy(port, 4096);
  EXPECT_EQ(busy.ask("echo x"), "x\n");
  busy.send("big 4000000\n");
  std::this_thread::sleep_for(50ms);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(idle.receive(), "error: " + std::to_string(ECONNRESET));
  EXPECT_EQ(busy.drain(), -1);
  ::close(channel[0]);
  ::close(channel[1]);
}

TEST(ShardDriver, StopResetsWhatIsOpen) {
  Pool pool;
  Client client(pool.port);
  EXPECT_EQ(client.ask("echo x"), "x\n");
  pool.pool->stop();
  EXPECT_EQ(client.receive(), "error: " + std::to_string(ECONNRESET));
}

TEST(ShardDriver, ShortSendsAreReportedAndContinued) {
  Pool pool;
  Client client(pool.port, 4096);
  client.send("big 4000000\nshut\n");
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(client.drain(), 4'000'004);
  EXPECT_GT(pool.pool->counters().short_sends, 0U);
}

TEST(ShardDriver, PauseAndResume) {
  Pool pool;
  Client client(pool.port);
  for (int i = 0; i < 5; ++i) {
    client.send("pause\n");
    std::this_thread::sleep_for(10ms);
    EXPECT_EQ(client.ask("echo later"), "later\n");
  }
}

TEST(ShardDriver, Upstream) {
  Pool pool;
  Client client(pool.port);
  const std::string self = "127.0.0.1:" + std::to_string(pool.port);
  EXPECT_EQ(client.ask("dial " + self), "opened\n");
  EXPECT_EQ(client.ask("echo through"), "through\n");
  client.finish();  // FIN goes through, the other side closes, FIN comes back
  EXPECT_EQ(client.receive(), "");
  EXPECT_EQ(pool.pool->counters().upstream_opened, 1U);
}

TEST(ShardDriver, UpstreamRefused) {
  Pool pool;
  uint16_t closed_port = 0;
  {
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    closed_port = local_address(listener.get()).value().port;
  }
  Client client(pool.port);
  EXPECT_EQ(client.ask("dial 127.0.0.1:" + std::to_string(closed_port)),
            "failed " + std::to_string(static_cast<int>(proxy::Failure::kRefused)) + "\n");
  EXPECT_EQ(client.ask("echo still here"), "still here\n");
  EXPECT_EQ(pool.pool->counters().upstream_failed, 1U);
}

TEST(ShardDriver, PodSourceWithoutNetnsUsesTheNode) {
  Pool pool;
  Client client(pool.port);
  EXPECT_EQ(client.ask("dialpod 127.0.0.9 127.0.0.1:" + std::to_string(pool.port)), "opened\n");
  EXPECT_EQ(pool.pool->counters().pod_source_fallbacks, 1U);
}

TEST(ShardDriver, BuffersGrowWhenHeldAndStarvedReceiversRecover) {
  ShardPoolOptions options;
  options.limits.receive_buffer_bytes = 1024;
  options.limits.receive_buffers_initial = 8;
  options.limits.receive_buffers_max = 32;
  Pool pool(1, std::move(options));
  Client holder(pool.port);
  EXPECT_EQ(holder.ask("echo before"), "before\n");
  Client other(pool.port);
  EXPECT_EQ(other.ask("echo before"), "before\n");
  holder.send("hold\n");
  std::this_thread::sleep_for(20ms);
  // All 32 buffers end up held: the ring has grown to its limit and the receivers starve.
  holder.send(std::string(40 * 1024, 'h'));
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().receive_starved > 0; }));
  EXPECT_GT(pool.pool->counters().buffer_grown, 0U);
  // A starved shard does not spin.
  const uint64_t before = pool.pool->counters().iterations;
  std::this_thread::sleep_for(200ms);
  EXPECT_LT(pool.pool->counters().iterations - before, 50U);
  EXPECT_TRUE(pool.pool->is_live());
}

TEST(ShardDriver, TinyQueues) {
  ShardPoolOptions options;
  options.limits.submit_entries = 1;
  options.limits.completion_entries = 2;
  Pool pool(1, std::move(options));
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(std::make_unique<Client>(pool.port));
  for (auto& client : clients) client->send("echo one\necho two\n");
  for (auto& client : clients) {
    EXPECT_EQ(client->line(), "one\n");
    EXPECT_EQ(client->line(), "two\n");
    EXPECT_EQ(client->ask("close"), "bye\n");
  }
}

// What older kernels get: no fixed files, no deferred completions.
TEST(ShardDriver, OlderKernels) {
  for (const bool fixed_files : {true, false}) {
    for (const bool deferred : {true, false}) {
      ShardPoolOptions options;
      options.limits.fixed_files = fixed_files;
      options.limits.deferred_completions = deferred;
      Pool pool(2, std::move(options));
      const size_t before = open_descriptors();
      for (int i = 0; i < 5; ++i) {
        Client client(pool.port);
        EXPECT_EQ(client.ask("echo x"), "x\n");
        EXPECT_EQ(client.ask("pause\necho y"), "y\n");
        EXPECT_EQ(client.ask("dial 127.0.0.1:" + std::to_string(pool.port)), "opened\n");
        EXPECT_EQ(client.ask("close"), "bye\n");
        EXPECT_EQ(client.receive(), "");
        Client aborted(pool.port);
        aborted.send("abort\n");
        EXPECT_EQ(aborted.receive(), "error: " + std::to_string(ECONNRESET));
        Client big(pool.port, 4096);
        big.send("bigclose 300000\n");
        EXPECT_EQ(big.drain(), 300'000);
      }
      EXPECT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == 0; }));
      EXPECT_TRUE(pool.eventually([&] { return open_descriptors() <= before; }));
      EXPECT_EQ(pool.pool->probe_report()[2].find("fixed files used") != std::string::npos,
                fixed_files);
    }
  }
}

TEST(ShardDriver, AcceptsAreBalanced) {
  Pool pool(2);
  std::map<std::string, int> served;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<Client>(pool.port));
    ++served[clients.back()->ask("shard")];
  }
  ASSERT_EQ(served.size(), 2U);
  for (const auto& [shard, connections] : served) EXPECT_EQ(connections, 20) << shard;
}

TEST(ShardDriver, StopsAcceptingAtTheLimitAndBeginsAgain) {
  ShardPoolOptions options;
  options.limits.sockets_max = 20;  // ten clients
  Pool pool(1, std::move(options));
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(pool.port));
    EXPECT_EQ(clients.back()->ask("echo in"), "in\n");
  }
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->is_overloaded(); }));
  EXPECT_FALSE(pool.pool->is_live());
  Client waiting(pool.port);  // in the kernel's queue, not refused
  clients.resize(5);
  EXPECT_EQ(waiting.ask("echo at last"), "at last\n");
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->is_live(); }));
  EXPECT_GT(pool.pool->counters().accept_paused, 0U);
}

TEST(ShardDriver, ListenersComeAndGo) {
  Pool pool(2);
  Client kept(pool.port);
  EXPECT_EQ(kept.ask("echo x"), "x\n");
  const SocketAddress first = pool.bind;
  const uint16_t second_port = pool.listen();
  EXPECT_EQ(pool.pool->gateway_listeners().size(), 2U);
  EXPECT_EQ(Client(second_port).ask("echo second"), "second\n");
  EXPECT_TRUE(pool.pool->remove_gateway_listener(first).has_value());
  EXPECT_FALSE(Client(first.port).connected());
  EXPECT_EQ(kept.ask("echo still"), "still\n");
  EXPECT_EQ(pool.pool->remove_gateway_listener(first).error().code, ErrorCode::kNotFound);
}

TEST(ShardDriver, PublishReachesEveryShardBeforeItReturns) {
  Pool pool(2);
  Client one(pool.port);
  Client two(pool.port);
  EXPECT_NE(one.ask("shard"), two.ask("shard"));
  for (uint64_t generation = 1; generation <= 20; ++generation) {
    auto snapshot = std::make_shared<policy::Snapshot>();
    snapshot->generation = generation;
    ASSERT_TRUE(pool.pool->publish(std::move(snapshot)).has_value());
    EXPECT_EQ(one.ask("snap"), std::to_string(generation) + "\n");
    EXPECT_EQ(two.ask("snap"), std::to_string(generation) + "\n");
  }
}

TEST(ShardDriver, Drain) {
  Pool pool(2);
  Client idle(pool.port);
  EXPECT_EQ(idle.ask("echo x"), "x\n");
  EXPECT_EQ(pool.pool->drain(5s), 0U);
  EXPECT_EQ(idle.receive(), "");
}

TEST(ShardDriver, HeartbeatStopsWhenAShardHangs) {
  uint64_t heartbeat = 0;
  ShardPoolOptions options;
  options.heartbeat_ns = &heartbeat;
  Pool pool(2, std::move(options));
  const auto age = [&] {
    const uint64_t beat = std::atomic_ref(heartbeat).load();
    return std::chrono::nanoseconds(to_ns(monotonic_now()) - beat);
  };
  EXPECT_TRUE(pool.eventually([&] { return age() < 100ms; }));
  Client one(pool.port);
  Client two(pool.port);
  EXPECT_EQ(one.ask("echo"), "\n");
  EXPECT_EQ(two.ask("echo"), "\n");
  for (Client* client : {&one, &two}) {  // one of them is on the shard that does not write it
    client->send("slow 600\n");
    std::this_thread::sleep_for(400ms);
    EXPECT_GT(age(), 250ms);
    EXPECT_TRUE(pool.eventually([&] { return age() < 100ms; }));
  }
  EXPECT_GE(pool.pool->counters().slow_iterations, 2U);
  EXPECT_GT(pool.pool->counters().slowest_iteration_ns, 500'000'000U);
}

TEST(ShardDriver, TenThousandCyclesLeakNothing) {
  Pool pool(2);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(Client(pool.port).ask("close"), "bye\n");
  ASSERT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == 0; }));
  const size_t before = open_descriptors();
  for (int i = 0; i < 10'000; ++i) {
    Client client(pool.port);
    switch (i % 4) {
      case 0:
        ASSERT_EQ(client.ask("close"), "bye\n");
        break;
      case 1:
        ASSERT_EQ(client.ask("echo a"), "a\n");
        break;
      case 2:
        client.send("abort\n");
        break;
      default:
        break;  // connects and goes
    }
  }
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == 0; }));
  EXPECT_TRUE(pool.eventually([&] { return open_descriptors() <= before; }));
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().closed == 10'200U; }));
  EXPECT_EQ(pool.pool->counters().adopted, 10'200U);
  EXPECT_EQ(pool.pool->counters().unexpected_completions, 0U);
}

TEST(ShardDriver, MemoryPerIdleConnection) {
  Pool pool;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 12'000) GTEST_SKIP() << "RLIMIT_NOFILE is " << limit.rlim_cur;
  constexpr size_t kConnections = 4000;
  std::vector<std::unique_ptr<Client>> clients;
  clients.reserve(kConnections);
  for (int i = 0; i < 600; ++i) {  // touches the buffer ring
    EXPECT_EQ(Client(pool.port).ask("echo warm"), "warm\n");
  }
  // The clients' own objects are allocated first, so that only the worker's memory is measured.
  for (size_t i = 0; i < kConnections; ++i) clients.push_back(std::make_unique<Client>(pool.port));
  clients.resize(kConnections / 2);
  ASSERT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == kConnections / 2; }));
  std::printf("[ measured ] %zu KiB RSS with %zu connections\n", resident_kib(), kConnections / 2);
  const size_t before = resident_kib();
  constexpr size_t kMore = 6000;
  std::vector<Fd> more;
  more.reserve(kMore);
  for (size_t i = 0; i < kMore; ++i) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(pool.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    more.push_back(std::move(fd));
  }
  ASSERT_TRUE(
      pool.eventually([&] { return pool.pool->open_connections() == kConnections / 2 + kMore; }));
  const size_t grown_bytes = (resident_kib() - before) * 1024;
  std::printf("[ measured ] %zu bytes per idle connection, the test engine's share included\n",
              grown_bytes / kMore);
  if (test::kSanitized) return;
  EXPECT_LT(grown_bytes / kMore, 1500U);
}

}  // namespace
}  // namespace np::shard
