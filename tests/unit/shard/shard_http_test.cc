// SPDX-License-Identifier: Apache-2.0
// The whole data path on real sockets: client -> ShardPool with the real engine and a policy made
// by hand -> a small origin. What is asked here is that bytes arrive, all of them and in order, and
// that the counters of the two sides agree.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/support/policy_fixture.h"
#include "tests/unit/shard/client.h"
#include "tests/unit/shard/origin.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::Client;

struct Answer {
  std::string head;
  std::string body;
  int status = 0;
  bool complete = false;
};

// Reads one response with Content-Length or chunked coding. `input` keeps what comes after it.
Answer read_answer(Client& client, std::string& input) {
  Answer answer;
  const auto more = [&] {
    const std::string bytes = client.receive();
    if (bytes.empty() || client.last_errno() != 0) return false;
    input += bytes;
    return true;
  };
  size_t end = 0;
  while ((end = input.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return answer;
  }
  answer.head = input.substr(0, end + 2);
  answer.status = std::stoi(answer.head.substr(9, 3));
  input.erase(0, end + 4);
  std::string lower = answer.head;
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const size_t at = lower.find("content-length: ");
  if (at != std::string::npos) {
    const size_t length = std::stoul(lower.substr(at + 16));
    while (input.size() < length) {
      if (!more()) {
        answer.body = input;
        return answer;
      }
    }
    answer.body = input.substr(0, length);
    input.erase(0, length);
    answer.complete = true;
    return answer;
  }
  while (true) {
    size_t line = 0;
    while ((line = input.find("\r\n")) == std::string::npos) {
      if (!more()) return answer;
    }
    const size_t size = std::stoul(input.substr(0, line), nullptr, 16);
    while (input.size() < line + 2 + size + 2) {
      if (!more()) return answer;
    }
    answer.body += input.substr(line + 2, size);
    input.erase(0, line + 2 + size + 2);
    if (size == 0) break;
  }
  answer.complete = true;
  return answer;
}

Answer ask(Client& client, const std::string& request) {
  std::string input;
  if (!client.send(request)) return {};
  return read_answer(client, input);
}

std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
}
std::string post(const std::string& path, const std::string& body) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

size_t resident_kib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoul(line.substr(6));
  }
  return 0;
}

template <typename Done>
bool eventually(Done done) {
  for (int i = 0; i < 500; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return done();
}

class ShardHttp : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    counters_.resize(GetParam());
    ShardPoolOptions options;
    options.workers = GetParam();
    for (proxy::EngineCounters& one : counters_) options.engine_counters.push_back(&one);
    pool_ = ShardPool::create(std::move(options)).value();
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    const SocketAddress bind = local_address(listener.get()).value();
    port_ = bind.port;
    test::PolicyFixture policy;
    test::PrefixTable& table = policy.add_table();
    policy::Cluster& origin = policy.add_cluster("origin", {origin_.address()});
    policy::Cluster& nowhere = policy.add_cluster("nowhere", {"127.0.0.1:1"});
    table.entries.emplace_back("/nowhere", &policy.add_route(&nowhere));
    policy::Route& delayed = policy.add_route(&origin);
    delayed.fault.emplace().delay = policy::Fault::Delay{std::chrono::hours(1), 1'000'000};
    table.entries.emplace_back("/delayed", &delayed);
    table.entries.emplace_back("/", &policy.add_route(&origin));
    policy.listen(bind.to_string(), &table);
    ASSERT_TRUE(pool_->publish(policy.snapshot).has_value());
    ASSERT_TRUE(pool_->add_gateway_listener(bind, std::move(listener)).has_value());
    ASSERT_TRUE(pool_->start().has_value());
  }
  void TearDown() override {
    pool_->stop();
    const auto sum = [&](uint64_t proxy::EngineCounters::*field) {
      uint64_t total = 0;
      for (const proxy::EngineCounters& one : counters_) total += one.*field;
      return total;
    };
    if (!cut_off_) {
      EXPECT_EQ(sum(&proxy::EngineCounters::downstream_rq_started),
                sum(&proxy::EngineCounters::downstream_rq_completed) +
                    sum(&proxy::EngineCounters::downstream_rq_refused) +
                    sum(&proxy::EngineCounters::downstream_rq_aborted));
    }
    EXPECT_EQ(pool_->counters().unexpected_completions, 0U);
  }
  test::Origin origin_;
  std::vector<proxy::EngineCounters> counters_;
  std::unique_ptr<ShardPool> pool_;
  uint16_t port_ = 0;
  bool cut_off_ = false;  // the pool was stopped with requests under way
};

TEST_P(ShardHttp, GetAndKeepAlive) {
  Client client(port_);
  for (int i = 0; i < 100; ++i) {
    const Answer answer = ask(client, get("/hello"));
    ASSERT_EQ(answer.status, 200) << answer.head;
    ASSERT_EQ(answer.body, "hello");
  }
  EXPECT_EQ(origin_.requests(), 100U);
  EXPECT_EQ(origin_.connections(), 1U);  // kept open on both sides
}

TEST_P(ShardHttp, Pipelined) {
  Client client(port_);
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += get("/bytes/" + std::to_string(i));
  ASSERT_TRUE(client.send(requests));
  std::string input;
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(read_answer(client, input).body.size(), i);
}

TEST_P(ShardHttp, PostBodies) {
  Client client(port_);
  for (const size_t size : {0U, 1U, 100U, 16384U, 16385U, 100'000U, 1'000'000U}) {
    std::string body(size, 'p');
    for (size_t i = 0; i < size; i += 97) body[i] = static_cast<char>('a' + i % 26);
    const Answer answer = ask(client, post("/echo", body));
    ASSERT_EQ(answer.status, 200) << answer.head;
    ASSERT_EQ(answer.body, body);
  }
}

TEST_P(ShardHttp, TenMebibytesBothWays) {
  std::string body(10U << 20U, '\0');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23);
  Client client(port_);
  for (int i = 0; i < 3; ++i) {
    const Answer answer = ask(client, post("/echo", body));
    ASSERT_EQ(answer.status, 200);
    ASSERT_TRUE(answer.body == body);
  }
}

TEST_P(ShardHttp, ChunkedBothWays) {
  Client client(port_);
  const Answer answer = ask(client, get("/chunks/1000"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), 5000U);
  const Answer echoed =
      ask(client,
          "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
  EXPECT_EQ(echoed.body, "abcdefg");
}

TEST_P(ShardHttp, SlowReaderStopsTheOriginAndGetsEverything) {
  Client client(port_, 4096);
  constexpr size_t kSize = 64U << 20U;
  ASSERT_EQ(ask(client, get("/hello")).status, 200);
  ASSERT_TRUE(client.send(get("/bytes/" + std::to_string(kSize))));
  // The origin comes to a stop: what it has sent lies in socket buffers and two pipes.
  uint64_t before = 0;
  ASSERT_TRUE(eventually([&] {
    std::this_thread::sleep_for(200ms);
    const uint64_t now = origin_.sent_bytes();
    return now > 1000 && std::exchange(before, now) == now;
  }));
  EXPECT_LT(origin_.sent_bytes(), kSize / 2);
  EXPECT_EQ(pool_->counters().buffer_grown, 0U);
  std::string input;
  const Answer answer = read_answer(client, input);
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.body.size(), kSize);
}

// Each answer is small enough to be sent quietly; at some point the socket takes only a part of
// one, then nothing.
TEST_P(ShardHttp, SmallAnswersToASlowReaderAllArrive) {
  Client client(port_, 4096);
  constexpr size_t kAnswers = 3000, kSize = 3000;
  for (size_t i = 0; i < kAnswers; ++i) {
    ASSERT_TRUE(client.send(get("/bytes/" + std::to_string(kSize + i % 7))));
    std::this_thread::sleep_for(50us);
  }
  ASSERT_TRUE(eventually([&] { return pool_->counters().short_sends > 0; }));
  std::string input;
  for (size_t i = 0; i < kAnswers; ++i) {
    ASSERT_EQ(read_answer(client, input).body.size(), kSize + i % 7) << i;
  }
  EXPECT_EQ(input, "");
}

TEST_P(ShardHttp, OriginRefuses) {
  Client client(port_);
  EXPECT_EQ(ask(client, get("/nowhere")).status, 503);
  EXPECT_EQ(ask(client, get("/hello")).status, 200);
}

TEST_P(ShardHttp, OriginDiesInTheBody) {
  Client client(port_);
  const Answer answer = ask(client, get("/cut"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(answer.complete);  // the client must not take it for whole
  EXPECT_LE(answer.body.size(), 10U);
  Client next(port_);
  EXPECT_EQ(ask(next, get("/hello")).status, 200);
}

TEST_P(ShardHttp, OriginAnswersBeforeTheBodyEnds) {
  Client client(port_);
  const Answer answer = ask(client, post("/ignore", std::string(2'000'000, 'i')));
  // The origin closes with our bytes unread: its answer may be lost to its own reset.
  EXPECT_TRUE(answer.status == 200 || answer.status == 503 || answer.status == 502)
      << answer.status;
}

TEST_P(ShardHttp, ClientDiesInTheBody) {
  for (int i = 0; i < 20; ++i) {
    Client client(port_);
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nonly this");
    if (i % 2 == 0) {
      const linger reset{1, 0};
      ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
  }
  for (int i = 0; i < 20; ++i) {
    Client client(port_, 4096);
    client.send(get("/bytes/5000000"));
    (void)client.receive(1000);
  }
  EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
  Client next(port_);
  EXPECT_EQ(ask(next, get("/hello")).status, 200);
}

// Nothing is received from a client whose body has nowhere to go; that it has gone is seen anyway.
TEST_P(ShardHttp, ClientThatResetsWhileItIsPausedIsGone) {
  {
    Client client(port_);
    const std::string body(4 << 20, 'x');
    ASSERT_TRUE(client.send(post("/delayed", body).substr(0, 200'000)));
    std::this_thread::sleep_for(100ms);  // what has not arrived meanwhile waits in the kernel
    const linger reset{1, 0};
    ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  EXPECT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
  pool_->stop();
  uint64_t gone = 0;
  for (const proxy::EngineCounters& one : counters_) gone += one.ended_client_gone;
  EXPECT_EQ(gone, 1U);
}

TEST_P(ShardHttp, ConnectionCloseAndHttp10) {
  Client client(port_);
  const Answer answer =
      ask(client, "GET /bytes/100000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(answer.body.size(), 100'000U);
  EXPECT_EQ(client.receive(), "");  // FIN
  Client old(port_);
  EXPECT_EQ(ask(old, "GET /hello HTTP/1.0\r\nHost: test\r\n\r\n").body, "hello");
  EXPECT_EQ(old.receive(), "");
}

TEST_P(ShardHttp, BadRequestIsAnsweredBeforeTheClose) {
  Client client(port_);
  const Answer answer =
      ask(client, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + std::string(100'000, 'j'));
  EXPECT_EQ(answer.status, 400);
}

TEST_P(ShardHttp, StoppedInTheBodyIsAReset) {
  Client client(port_);
  client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nonly this");
  std::this_thread::sleep_for(50ms);
  cut_off_ = true;
  pool_->stop();
  EXPECT_EQ(client.receive(), "error: " + std::to_string(ECONNRESET));
}

TEST_P(ShardHttp, DrainLetsTheRequestEnd) {
  Client client(port_, 4096);
  client.send(get("/bytes/3000000"));
  std::this_thread::sleep_for(50ms);
  std::thread reader([&] {
    std::this_thread::sleep_for(200ms);
    std::string input;
    EXPECT_EQ(read_answer(client, input).body.size(), 3'000'000U);
    EXPECT_EQ(client.receive(), "");
  });
  EXPECT_EQ(pool_->drain(10s), 0U);
  reader.join();
  EXPECT_FALSE(ask(client, get("/hello")).complete);
}

TEST_P(ShardHttp, ManyClientsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 25; ++i) {
        Client client(port_);
        for (int j = 0; j < 4; ++j) {
          const std::string body(static_cast<size_t>(thread * 1000 + i * 10 + j), 'm');
          if (ask(client, post("/echo", body)).body == body) ++good;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 25 * 4);
}

// What is left of a connection between two requests. Clients live in the same process, so only
// descriptors are kept of them, and the first half of the connections warms every pool up.
TEST_P(ShardHttp, MemoryPerIdleConnection) {
  constexpr size_t kConnections = 3000;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2 * kConnections + 1000) GTEST_SKIP() << "RLIMIT_NOFILE is too low";
  std::vector<Client> idle;
  idle.reserve(2 * kConnections);
  const std::string request = get("/hello");
  const auto open = [&] {
    for (size_t i = 0; i < kConnections; ++i) {
      idle.emplace_back(port_);
      std::string input;
      ASSERT_TRUE(idle.back().send(request));
      ASSERT_EQ(read_answer(idle.back(), input).status, 200);
    }
  };
  open();
  const size_t before_kib = resident_kib();
  open();
  const size_t after_kib = std::max(resident_kib(), before_kib);
  const size_t bytes = (after_kib - before_kib) * 1024 / kConnections;
  std::printf("[ measured ] %zu bytes per idle connection\n", bytes);
  if (test::kSanitized) return;
  // design.md 7 wants 1 KiB; the rest is what this test itself keeps, and pages begun.
  EXPECT_LE(bytes, 1100U);
}

// One shard with few sockets, and origins that a route leads to in turn.
class ShardShortage : public testing::Test {
 protected:
  using Clients = std::vector<std::unique_ptr<Client>>;

  void start(uint32_t sockets) {
    ShardPoolOptions options;
    options.engine_counters.push_back(&counters_);
    options.limits.sockets_max = sockets;
    pool_ = ShardPool::create(std::move(options)).value();
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    bind_ = local_address(listener.get()).value();
    ASSERT_TRUE(pool_->add_gateway_listener(bind_, std::move(listener)).has_value());
    ASSERT_TRUE(pool_->start().has_value());
  }
  void TearDown() override { pool_->stop(); }

  void route_to(size_t origin) {
    test::PolicyFixture policy;
    policy::Cluster* clusters[] = {&policy.add_cluster("one", {origins_[0].address()}),
                                   &policy.add_cluster("two", {origins_[1].address()}),
                                   &policy.add_cluster("three", {origins_[2].address()})};
    test::PrefixTable& table = policy.add_table();
    table.entries.emplace_back("/", &policy.add_route(clusters[origin]));
    policy.listen(bind_.to_string(), &table);
    ASSERT_TRUE(pool_->publish(policy.snapshot).has_value());
  }
  Clients connect(int count) const {
    Clients clients;
    for (int i = 0; i < count; ++i) clients.push_back(std::make_unique<Client>(bind_.port));
    return clients;
  }
  // All at once: each holds a connection to the origin until all have one.
  static void ask_all(Clients& clients) {
    std::string start = post("/echo", "ab");
    start.pop_back();
    for (auto& client : clients) ASSERT_TRUE(client->send(start));
    std::this_thread::sleep_for(100ms);
    for (auto& client : clients) ASSERT_TRUE(client->send("b"));
    for (auto& client : clients) {
      std::string input;
      EXPECT_EQ(read_answer(*client, input).body, "ab");
    }
  }

  test::Origin origins_[3];
  proxy::EngineCounters counters_{};
  std::unique_ptr<ShardPool> pool_;
  SocketAddress bind_;
};

// Sixteen sockets: seven clients, seven connections kept for one origin, and then another is asked
// by all clients at once.
TEST_F(ShardShortage, ConnectionsKeptForOneOriginGiveWayToAnother) {
  start(16);
  Clients clients = connect(7);
  for (const size_t origin : {size_t{0}, size_t{1}, size_t{0}}) {
    route_to(origin);
    ask_all(clients);
  }
  pool_->stop();
  EXPECT_GE(counters_.upstream_cx_trimmed, 10U);  // twice seven, less what was free
  EXPECT_EQ(counters_.downstream_rq_completed, 21U);
}

// Thirty-two sockets, twenty-two of them kept for origins when the clients have gone; then come
// more clients than there are sockets left.
TEST_F(ShardShortage, ConnectionsThatNobodyUsesGiveWayToClients) {
  start(32);
  {
    Clients first = connect(8);
    for (size_t origin = 0; origin < std::size(origins_); ++origin) {
      route_to(origin);
      ask_all(first);
    }
  }
  ASSERT_TRUE(eventually([&] { return pool_->open_connections() == 0; }));
  Clients next = connect(15);
  ask_all(next);
  EXPECT_EQ(pool_->counters().refused_full, 0U);
  pool_->stop();
  EXPECT_EQ(counters_.downstream_rq_completed, 24U + 15U);
}

INSTANTIATE_TEST_SUITE_P(Workers, ShardHttp, testing::Values(1U, 2U));

}  // namespace
}  // namespace np::shard
