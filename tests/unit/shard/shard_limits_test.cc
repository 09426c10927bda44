// SPDX-License-Identifier: Apache-2.0
// The driver at its limits: buffers, queues, descriptors, memory, and what older kernels lack.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "bpf/abi/np_abi.h"
#include "shard/accept_gate.h"
#include "tests/unit/shard/pool_fixture.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::Client;
using test::flags_of;
using test::Pool;

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

TEST(ShardLimits, BuffersGrowWhenHeldAndStarvedReceiversRecover) {
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
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->counters().buffer_grown > 0; }));
  // A starved shard does not spin.
  const uint64_t before = pool.pool->counters().iterations;
  std::this_thread::sleep_for(200ms);
  EXPECT_LT(pool.pool->counters().iterations - before, 50U);
  EXPECT_TRUE(pool.pool->is_live());
}

TEST(ShardLimits, TinyQueues) {
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
TEST(ShardLimits, OlderKernels) {
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

// A flag that an earlier worker left behind.
TEST(ShardLimits, ClearsAnOverloadThatIsOver) {
  ShardPoolOptions options;
  uint32_t live_flags = NP_LIVE_OVERLOAD | NP_LIVE_DRAIN;
  options.live_flags = &live_flags;
  const Pool pool(2, std::move(options));
  EXPECT_TRUE(pool.eventually([&] { return flags_of(live_flags) == NP_LIVE_DRAIN; }));
}

TEST(ShardLimits, StopsAcceptingAtTheLimitAndBeginsAgain) {
  ShardPoolOptions options;
  options.limits.sockets_max = 20;  // ten clients
  uint32_t live_flags = NP_LIVE_KILLSWITCH;
  options.live_flags = &live_flags;
  Pool pool(1, std::move(options));
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(pool.port));
    EXPECT_EQ(clients.back()->ask("echo in"), "in\n");
  }
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->is_overloaded(); }));
  EXPECT_TRUE(pool.pool->is_live()) << "many clients are no reason for a restart";
  EXPECT_EQ(flags_of(live_flags), NP_LIVE_KILLSWITCH | NP_LIVE_OVERLOAD);
  Client waiting(pool.port);  // in the kernel's queue, not refused
  clients.resize(5);
  EXPECT_EQ(waiting.ask("echo at last"), "at last\n");
  EXPECT_TRUE(pool.eventually([&] { return !pool.pool->is_overloaded(); }));
  EXPECT_TRUE(pool.eventually([&] { return flags_of(live_flags) == NP_LIVE_KILLSWITCH; }));
  EXPECT_GT(pool.pool->counters().accept_paused, 0U);
}

// R43, in a child whose descriptors are used up: the client waits, nothing is refused.
int exhausted_child(int port_out) {
  const rlimit few{80, 80};
  ::setrlimit(RLIMIT_NOFILE, &few);
  uint32_t live_flags = 0;
  ShardPoolOptions options;
  options.live_flags = &live_flags;
  Pool pool(1, std::move(options));
  std::vector<Fd> fillers;
  // Twice: a thread that has just started may have one open for a moment.
  for (int round = 0; round < 2; ++round) {
    do {
      fillers.emplace_back(::dup(0));
    } while (fillers.back().is_open());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  (void)!::write(port_out, &pool.port, sizeof pool.port);
  if (!pool.eventually([&] { return pool.pool->counters().accept_errors > 0; })) return 1;
  if (!pool.eventually([&] { return !pool.pool->is_live(); })) return 2;
  // It stays so, although nobody asks for a connection any more.
  std::this_thread::sleep_for(3 * kAcceptPause);
  if (pool.pool->is_live() || flags_of(live_flags) != NP_LIVE_OVERLOAD) return 6;
  fillers.clear();
  if (!pool.eventually([&] { return pool.pool->counters().adopted == 1; })) return 3;
  if (!pool.eventually([&] { return pool.pool->is_live(); })) return 4;
  if (!pool.eventually([&] { return flags_of(live_flags) == 0; })) return 7;
  return pool.eventually([&] { return pool.pool->open_connections() == 0; }) ? 0 : 5;
}

TEST(ShardLimits, WithoutDescriptorsItWaitsAndGoesOn) {
  int channel[2] = {-1, -1};
  ASSERT_EQ(::pipe2(channel, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(exhausted_child(channel[1]));
  uint16_t port = 0;
  ASSERT_EQ(::read(channel[0], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  {
    Client client(port);
    EXPECT_EQ(client.ask("echo late"), "late\n");
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(channel[0]);
  ::close(channel[1]);
}

TEST(ShardLimits, TenThousandCyclesLeakNothing) {
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

TEST(ShardLimits, MemoryPerIdleConnection) {
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
