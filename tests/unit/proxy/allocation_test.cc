// SPDX-License-Identifier: Apache-2.0
// Performance.md 3.1: no heap allocation per request in a steady state. Counts operator new inside
// the engine's calls over 100 000 keep-alive requests, with a body and header rules.
#include <gtest/gtest.h>

#include <malloc.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include "proxy/counters.h"
#include "proxy/engine.h"
#include "proxy/pipe.h"
#include "tests/support/check_fixture.h"
#include "tests/support/policy_fixture.h"

namespace {
bool g_counting = false;
uint64_t g_allocations = 0;
int64_t g_bytes = 0;  // held by the heap, as malloc sizes them
}  // namespace

[[gnu::noinline]] void* operator new(size_t size) {
  if (g_counting) ++g_allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  g_bytes += static_cast<int64_t>(malloc_usable_size(memory)) + 8;
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory != nullptr) g_bytes -= static_cast<int64_t>(malloc_usable_size(memory)) + 8;
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  operator delete(memory);
}

namespace np::test {
namespace {

using proxy::Action;
using proxy::TransportEvent;

constexpr char kService[] = "10.96.0.10:80";

// Receive buffers as a shard has them: a fixed set that comes and goes.
class Buffers : public BufferOwner {
 public:
  Buffers() {
    for (size_t i = 0; i < all_.size(); ++i) {
      all_[i].owner = this;
      all_[i].data = bytes_[i].data();
      all_[i].size_bytes = static_cast<uint32_t>(bytes_[i].size());
      free_[free_count_++] = &all_[i];
    }
  }
  Slice fill(std::string_view text) {
    Buffer* buffer = free_[--free_count_];
    std::memcpy(buffer->data, text.data(), text.size());
    return {BufferRef(buffer), {buffer->data, text.size()}};
  }
  void recycle(Buffer* buffer) override { free_[free_count_++] = buffer; }
  size_t free_count() const { return free_count_; }

 private:
  std::array<std::array<char, 4096>, 32> bytes_;
  std::array<Buffer, 32> all_;
  std::array<Buffer*, 32> free_{};
  size_t free_count_ = 0;
};

// One client, one origin, both kept; everything the engine sends is counted and forgotten.
class Loop {
 public:
  explicit Loop(PolicyFixture& policy) {
    proxy::EngineConfig config;
    config.counters = &counters;
    engine_ = std::make_unique<proxy::Engine>(config);
    actions_.reserve(64);
    engine_->set_snapshot(policy.snapshot, now_, actions_);
    proxy::Accepted accepted;
    accepted.captured = true;
    accepted.local = SocketAddress::parse(kService).value();
    accepted.peer = SocketAddress::parse("10.0.0.9:4000").value();
    client_ = engine_->accept(accepted, now_, actions_);
    act();
  }

  void exchange(std::string_view request, std::string_view answer) {
    now_ += std::chrono::microseconds(100);
    receive(client_, request);
    if (!opened_) {
      TransportEvent event;
      event.kind = TransportEvent::Kind::kOpened;
      opened_ = true;
      step(origin_, event);
    }
    const uint64_t asked = counters.upstream_rq_total;
    if (std::exchange(asked_, asked) != asked) receive(origin_, answer);
    if (engine_->next_deadline() <= now_) {
      g_counting = true;
      engine_->on_time(now_, actions_);
      g_counting = false;
      act();
    }
  }

  proxy::EngineCounters counters{};
  Buffers buffers;

 private:
  void receive(proxy::ConnectionId id, std::string_view bytes) {
    TransportEvent event;
    event.kind = TransportEvent::Kind::kReceived;
    event.data = buffers.fill(bytes);
    step(id, event);
  }
  void step(proxy::ConnectionId id, const TransportEvent& event) {
    g_counting = true;
    engine_->on_transport(id, event, now_, actions_);
    g_counting = false;
    act();
  }
  void act() {
    for (size_t i = 0; i < actions_.size(); ++i) {
      if (actions_[i].kind == Action::Kind::kConnect) origin_ = actions_[i].connection;
      if (actions_[i].kind != Action::Kind::kSend) continue;
      TransportEvent event;
      event.kind = TransportEvent::Kind::kSent;
      for (uint32_t n = 0; n < actions_[i].iov_count; ++n) {
        event.sent_bytes += actions_[i].iov[n].iov_len;
      }
      g_counting = true;
      engine_->on_transport(actions_[i].connection, event, now_, actions_);
      g_counting = false;
    }
    actions_.clear();
  }

  std::unique_ptr<proxy::Engine> engine_;
  proxy::ActionList actions_;
  proxy::ConnectionId client_, origin_;
  bool opened_ = false;
  uint64_t asked_ = 0;
  Instant now_{std::chrono::seconds(10)};
};

void run(policy::Route& route, PolicyFixture& policy, const std::string& request,
         const std::string& answer, uint64_t refused = 0) {
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kService, &table);
  Loop loop(policy);
  for (int i = 0; i < 1000; ++i) loop.exchange(request, answer);  // warm
  g_allocations = 0;
  for (int i = 0; i < 100'000; ++i) loop.exchange(request, answer);
  EXPECT_EQ(g_allocations, 0U);
  EXPECT_EQ(loop.counters.downstream_rq_completed, 101'000U - refused);
  EXPECT_EQ(loop.counters.downstream_rq_refused, refused);
  EXPECT_EQ(loop.buffers.free_count(), 32U);
}

// Design.md 7: user memory per idle connection, after it has carried a request.
TEST(Memory, IdleConnectionsAreSmall) {
  constexpr int kConnections = 10'000;
  PolicyFixture policy;
  policy::Route& route = policy.add_route(nullptr);
  route.action = policy::Route::Action::kDirectResponse;
  route.direct_response = policy::DirectResponse{200, "ok", ""};
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kService, &table);
  proxy::EngineCounters counters{};
  proxy::EngineConfig config;
  config.counters = &counters;
  proxy::Engine engine(config);
  proxy::ActionList actions;
  const Instant now{std::chrono::seconds(10)};
  engine.set_snapshot(policy.snapshot, now, actions);
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kService).value();
  const int64_t before = g_bytes;
  for (int i = 0; i < kConnections; ++i) {
    actions.clear();
    const proxy::ConnectionId id = engine.accept(accepted, now, actions);
    actions.clear();
    TransportEvent event;
    event.kind = TransportEvent::Kind::kReceived;
    event.data.bytes = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    engine.on_transport(id, event, now, actions);
    TransportEvent sent;
    sent.kind = TransportEvent::Kind::kSent;
    for (const Action& action : actions) {
      if (action.kind != Action::Kind::kSend) continue;
      for (uint32_t n = 0; n < action.iov_count; ++n) sent.sent_bytes += action.iov[n].iov_len;
    }
    engine.on_transport(id, sent, now, actions);
  }
  EXPECT_EQ(counters.downstream_rq_2xx, static_cast<uint64_t>(kConnections));
  const double each = static_cast<double>(g_bytes - before) / kConnections;
  RecordProperty("bytes_per_idle_connection", static_cast<int>(each));
  std::printf("bytes per idle connection: %.0f\n", each);
  EXPECT_LE(each, 1024);
}

// Many requests at once leave little behind when they have ended.
TEST(Memory, ABurstOfRequestsIsForgotten) {
  constexpr int kConnections = 5000;
  PolicyFixture policy;
  policy::Route& route = policy.add_route(nullptr);
  route.action = policy::Route::Action::kDirectResponse;
  route.direct_response = policy::DirectResponse{200, "ok", ""};
  route.fault.emplace();
  route.fault->delay = policy::Fault::Delay{std::chrono::seconds(1), policy::kPerMillion};
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kService, &table);
  proxy::EngineCounters counters{};
  proxy::EngineConfig config;
  config.counters = &counters;
  proxy::Engine engine(config);
  proxy::ActionList actions;
  const Instant now{std::chrono::seconds(10)};
  engine.set_snapshot(policy.snapshot, now, actions);
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kService).value();
  const std::string request =
      "GET / HTTP/1.1\r\nHost: a\r\nx: " + std::string(5000, 'y') + "\r\n\r\n";
  const int64_t before = g_bytes;
  for (int i = 0; i < kConnections; ++i) {
    const proxy::ConnectionId client = engine.accept(accepted, now, actions);
    TransportEvent event;
    event.kind = TransportEvent::Kind::kReceived;
    event.data.bytes = request;
    engine.on_transport(client, event, now, actions);
  }
  const int64_t busy = (g_bytes - before) / kConnections;
  actions.clear();
  engine.on_time(now + std::chrono::seconds(1), actions);
  EXPECT_EQ(counters.downstream_rq_completed, static_cast<uint64_t>(kConnections));
  TransportEvent gone;
  gone.kind = TransportEvent::Kind::kFailed;
  proxy::ActionList sends = std::move(actions);
  actions = {};
  for (const Action& action : sends) engine.on_transport(action.connection, gone, now, actions);
  EXPECT_EQ(engine.open_downstream(), 0U);
  sends = {};
  actions = {};
  const int64_t left = (g_bytes - before) / kConnections;
  std::printf("bytes per connection: %ld at work, %ld afterwards\n", static_cast<long>(busy),
              static_cast<long>(left));
  EXPECT_GT(busy, 8000);
  EXPECT_LT(left, 4000);
}

// Clients that ask for much and read nothing.
TEST(Memory, LargeDirectResponsesAreNotCopied) {
  constexpr int kConnections = 50;
  PolicyFixture policy;
  policy::Route& route = policy.add_route(nullptr);
  route.action = policy::Route::Action::kDirectResponse;
  route.direct_response = policy::DirectResponse{200, std::string(1 << 20, 'd'), ""};
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kService, &table);
  proxy::EngineCounters counters{};
  proxy::EngineConfig config;
  config.counters = &counters;
  proxy::Engine engine(config);
  proxy::ActionList actions;
  const Instant now{std::chrono::seconds(10)};
  engine.set_snapshot(policy.snapshot, now, actions);
  const std::weak_ptr<policy::Snapshot> snapshot = policy.snapshot;
  policy.snapshot.reset();
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kService).value();
  const int64_t before = g_bytes;
  std::vector<proxy::ConnectionId> clients;
  for (int i = 0; i < kConnections; ++i) {
    clients.push_back(engine.accept(accepted, now, actions));
    TransportEvent event;
    event.kind = TransportEvent::Kind::kReceived;
    event.data.bytes = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    engine.on_transport(clients.back(), event, now, actions);
  }
  EXPECT_LE(g_bytes - before, kConnections * 64 * 1024);
  engine.set_snapshot(std::make_shared<policy::Snapshot>(), now, actions);
  EXPECT_FALSE(snapshot.expired());  // the clients are still owed its bytes
  TransportEvent gone;
  gone.kind = TransportEvent::Kind::kFailed;
  for (const proxy::ConnectionId client : clients) engine.on_transport(client, gone, now, actions);
  actions.clear();
  EXPECT_TRUE(snapshot.expired());
}

// A client that always pipelines one more request, an upload that is always a piece ahead.
TEST(Memory, QueuesThatAreNeverEmptyDoNotGrow) {
  const std::string piece(4000, 'x');
  proxy::BlockPool blocks;
  proxy::ByteQueue queue;
  proxy::Pipe pipe;
  queue.append_copy(piece, blocks);
  pipe.append({{}, piece}, true, blocks);
  const int64_t before = g_bytes;
  for (int i = 0; i < 100'000; ++i) {
    queue.append_copy(piece, blocks);
    queue.consume(piece.size());
    pipe.append({{}, piece}, true, blocks);
    while (pipe.unsent_bytes() > piece.size()) (void)pipe.take();
  }
  EXPECT_LT(g_bytes - before, 64 * 1024);
}

TEST(Allocation, NoneForGet) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  run(route, policy,
      "GET /products?id=7 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1.0\r\n"
      "Accept: */*\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\nhello world");
}

TEST(Allocation, NoneForPostWithRulesRetriesAndChunkedAnswer) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  route.retry.attempts = 2;
  route.retry.on = policy::kRetry5xx;
  route.timeout = std::chrono::seconds(15);
  route.request_headers.set = {{"x-a", "1"}};
  route.response_headers.add = {{"x-b", "2"}};
  run(route, policy,
      "POST /a/../orders HTTP/1.1\r\nHost: Shop.Example\r\nContent-Length: 2000\r\n\r\n" +
          std::string(2000, 'b'),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5dc\r\n" + std::string(1500, 'c') +
          "\r\n0\r\n\r\n");
}

TEST(Allocation, NoneForCallersThatAskForTimeoutsAndRetries) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  run(route, policy,
      "GET /orders HTTP/1.1\r\nHost: shop\r\nx-envoy-upstream-rq-timeout-ms: 15000\r\n"
      "x-envoy-upstream-rq-per-try-timeout-ms: 3000\r\nx-envoy-max-retries: 2\r\n"
      "x-envoy-retry-on: gateway-error,connect-failure,nonsense\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

TEST(Allocation, NoneWithAQuotaInForce) {
  PolicyFixture policy;
  policy::Cluster& cluster = policy.add_cluster("c", {"10.1.0.1:80"});
  CheckFixture checks(policy);
  checks.pod("caller", "10.0.0.9", {{"app", "web"}, {"version", "v1"}});
  policy::CheckRule& rule =
      checks.rule(cluster, "\"^/pro\".matches(request.path) && request.headers[\"a\"] == \"1,2\"");
  checks.quota(rule, "hits", 1'000'000,
               {"source.labels[\"app\"] | source.service | \"unknown\"", "source.ip",
                "destination.labels[\"version\"] | \"unknown\"", "destination.port"});
  checks.quota(checks.rule(cluster, "source.user == \"skipped\""), "never", 0);
  // Nine times in ten the same request again, then charged anew.
  run(policy.add_route(&cluster), policy,
      "GET /products?id=7 HTTP/1.1\r\nHost: shop.example\r\nA: 1\r\nx-request-id: same\r\n"
      "A: 2\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

TEST(Allocation, NoneForRequestsThatAreRefused) {
  PolicyFixture policy;
  policy::Cluster& cluster = policy.add_cluster("c", {"10.1.0.1:80"});
  CheckFixture checks(policy);
  checks.pod("caller", "10.0.0.9", {{"app", "web"}});
  checks.quota(checks.rule(cluster), "hits", 1, {"source.labels[\"app\"]"});
  // One request each 0.1 ms, one of them each second is granted.
  run(policy.add_route(&cluster), policy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 101'000 - 11);
}

}  // namespace
}  // namespace np::test
