// SPDX-License-Identifier: Apache-2.0
// The driver alone: real sockets, real rings, an engine that does what its client says
// (line_engine.cc).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "proxy/engine.h"
#include "tests/unit/shard/pool_fixture.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::Client;
using test::Pool;

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

TEST(ShardDriver, CapturedConnectionsHaveARecord) {
  std::vector<FlowRecord> records(8);
  ShardPoolOptions options;
  options.flow_records = records;
  Fd listener = open_listener(*SocketAddress::parse("0.0.0.0:0")).value();
  const uint16_t port = local_address(listener.get()).value().port;
  options.captured_listeners.push_back(std::move(listener));
  Pool pool(2, std::move(options));
  uint16_t source_port = 0;
  {
    Client client(port);
    EXPECT_EQ(client.ask("echo captured"), "captured\n");
    source_port = local_address(client.fd()).value().port;
  }
  EXPECT_TRUE(pool.eventually([&] { return pool.pool->open_connections() == 0; }));
  pool.pool->stop();  // the shard writes with plain stores: now they can be read
  const auto closed = [](const FlowRecord& one) { return one.state == 2; };
  EXPECT_EQ(std::count_if(records.begin(), records.end(), closed), 1);
  const auto record = std::find_if(records.begin(), records.end(), closed);
  ASSERT_NE(record, records.end());
  EXPECT_EQ(record->key.destination_port, port);
  EXPECT_EQ(record->key.destination_ip[12], 127);  // the dialled address, not the wildcard
  EXPECT_EQ(record->key.source_port, source_port);
  EXPECT_GT(record->start_ns, 0U);
  EXPECT_GE(record->last_ns, record->start_ns);
  EXPECT_EQ(record->bytes_up, 14U);
  EXPECT_EQ(pool.pool->counters().records_exhausted, 0U);
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

// Also for another process that keeps the listener open, as the supervisor does.
TEST(ShardDriver, DrainRefusesNewClientsAtOnceAndLosesNoneThatConnectedBefore) {
  Pool pool(2);
  Fd listener = shard::open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
  const SocketAddress bind = shard::local_address(listener.get()).value();
  const Fd copy(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_TRUE(pool.pool->add_gateway_listener(bind, std::move(listener)).has_value());
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(std::make_unique<Client>(bind.port));
  std::thread drain([&] { pool.pool->drain(5s); });
  bool refused = false;
  for (int i = 0; i < 200 && !refused; ++i) {
    refused = !Client(bind.port).connected();
    if (!refused) std::this_thread::sleep_for(5ms);
  }
  EXPECT_TRUE(refused);
  for (const auto& client : clients) EXPECT_EQ(client->receive(), "");  // closed in order
  drain.join();
}

TEST(ShardDriver, ALenderThatIsHeldUpIsNotWaitedFor) {
  ShardPoolOptions options;
  std::vector<ShardCounters> counters(2);
  for (ShardCounters& one : counters) options.shard_counters.push_back(&one);
  Pool pool(2, std::move(options));
  std::unique_ptr<Client> clients[2];
  for (int i = 0; i < 100 && (clients[0] == nullptr || clients[1] == nullptr); ++i) {
    const uint64_t before = read_counter(counters[0].adopted);
    auto client = std::make_unique<Client>(pool.port);
    EXPECT_EQ(client->ask("echo"), "\n");
    clients[read_counter(counters[0].adopted) == before ? 1 : 0] = std::move(client);
  }
  ASSERT_TRUE(clients[0] != nullptr && clients[1] != nullptr);
  const std::string order = "borrow 1 127.0.0.1:" + std::to_string(pool.port);
  clients[1]->send("slow 1000\n");
  std::this_thread::sleep_for(50ms);
  const Instant begin = monotonic_now();
  EXPECT_EQ(clients[0]->ask(order), "opened\n");
  EXPECT_LT(monotonic_now() - begin, 500ms);
  EXPECT_EQ(pool.pool->counters().not_lent, 1U);
  // Its answer comes when nobody asks for it any more.
  EXPECT_EQ(clients[1]->ask("echo"), "\n");
  Client another(pool.port);
  EXPECT_EQ(another.ask(order), "opened\n");
  EXPECT_EQ(pool.pool->counters().not_lent, 2U);
  EXPECT_EQ(pool.pool->counters().borrowed, 0U);
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

}  // namespace
}  // namespace np::shard
