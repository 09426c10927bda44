// SPDX-License-Identifier: Apache-2.0
// Performance.md 3.1: no heap allocation per request in a steady state. Counts operator new inside
// the engine's calls over 100 000 keep-alive requests, with a body and header rules.
#include <gtest/gtest.h>

#include <malloc.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include "metrics/record_ring.h"
#include "metrics/shard_recorder.h"
#include "proxy/counters.h"
#include "proxy/engine.h"
#include "proxy/pipe.h"
#include "tests/support/check_fixture.h"
#include "tests/support/engine_loop.h"
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

struct Counting {
  Counting() { g_counting = true; }
  ~Counting() { g_counting = false; }
};
using Loop = EngineLoop<Counting>;
constexpr const char* kLoopAddress = kLoopService;

void run(policy::Route& route, PolicyFixture& policy, const std::string& request,
         const std::string& answer, uint64_t refused = 0, proxy::EngineConfig config = {}) {
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kLoopAddress, &table);
  Loop loop(policy, config);
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
  policy.capture(kLoopAddress, &table);
  proxy::EngineCounters counters{};
  proxy::EngineConfig config;
  config.counters = &counters;
  proxy::Engine engine(config);
  proxy::ActionList actions;
  const Instant now{std::chrono::seconds(10)};
  engine.set_snapshot(policy.snapshot, now, actions);
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kLoopAddress).value();
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
  policy.capture(kLoopAddress, &table);
  proxy::EngineCounters counters{};
  proxy::EngineConfig config;
  config.counters = &counters;
  proxy::Engine engine(config);
  proxy::ActionList actions;
  const Instant now{std::chrono::seconds(10)};
  engine.set_snapshot(policy.snapshot, now, actions);
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kLoopAddress).value();
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
  policy.capture(kLoopAddress, &table);
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
  accepted.local = SocketAddress::parse(kLoopAddress).value();
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

constexpr char kProducts[] = "GET /products?id=7 HTTP/1.1\r\nHost: shop.example\r\n\r\n";
constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

TEST(Allocation, NoneWithLimitsAndEjectionInForce) {
  PolicyFixture policy;
  policy::Cluster& cluster = policy.add_cluster("c", {"10.1.0.1:80", "10.1.0.1:81"});
  cluster.pool.max_connections = 10;
  cluster.pool.max_pending_requests = 10;
  cluster.pool.max_requests = 10;
  cluster.pool.max_retries = 3;
  cluster.outlier.emplace();
  cluster.outlier->interval = std::chrono::hours(1);  // a sweep makes lists, and is no request
  cluster.outlier->success_rate.emplace();
  cluster.outlier->latency.emplace();
  cluster.endpoints.pop_back();  // the loop has one origin
  run(policy.add_route(&cluster), policy, kProducts, kAnswer);
}

TEST(Allocation, NoneForAThousandEndpointsAndRoutes) {
  PolicyFixture policy;
  policy::Cluster& cluster = policy.add_cluster("c", {"10.1.0.1:80"});
  policy::Cluster& others = policy.add_cluster("others", {});
  PrefixTable& table = policy.add_table();
  for (int i = 0; i < 1000; ++i) {
    table.entries.push_back({"/route/" + std::to_string(i), &policy.add_route(&others)});
  }
  table.entries.push_back({"/", &policy.add_route(&cluster)});
  policy.capture(kLoopAddress, &table);
  Loop loop(policy);
  for (int i = 0; i < 1000; ++i) loop.exchange(kProducts, kAnswer);
  g_allocations = 0;
  for (int i = 0; i < 100'000; ++i) loop.exchange(kProducts, kAnswer);
  EXPECT_EQ(g_allocations, 0U);
  EXPECT_EQ(loop.counters.downstream_rq_completed, 101'000U);
}

TEST(Allocation, NoneForAClientThatConnectsForEachRequest) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kLoopAddress, &table);
  Loop loop(policy);
  const auto visit = [&] {
    loop.exchange(kProducts, kAnswer);
    loop.reconnect();
  };
  for (int i = 0; i < 1000; ++i) visit();
  g_allocations = 0;
  for (int i = 0; i < 100'000; ++i) visit();
  std::printf("allocations per connection: %.2f\n", static_cast<double>(g_allocations) / 100'000);
  EXPECT_EQ(g_allocations, 0U);
  EXPECT_EQ(loop.counters.downstream_rq_completed, 101'000U);
}

// Counted by kind, each a trace and a line of the log: everything that a request can be told to.
TEST(Allocation, NoneForRequestsThatAreToldToAll) {
  const auto memory = std::make_unique<metrics::ShardSeries>();
  const auto ring = std::make_unique<metrics::RecordRing>();
  metrics::RecordRules rules;
  rules.log = rules.trace = true;
  metrics::ShardRecorder recorder(*memory, *memory, *ring, rules, 1);
  PolicyFixture policy;
  proxy::EngineConfig config;
  config.observer = &recorder;
  config.tracing.enabled = true;
  config.tracing.per_million = 1'000'000;
  size_t told = 0;
  class Draining final : public RequestObserver {
   public:
    Draining(metrics::ShardRecorder& to, metrics::RecordRing& ring, size_t& told)
        : to_(to), ring_(ring), told_(told) {}
    void on_policy() override { to_.on_policy(); }
    ClusterCounters& cluster_counters(std::string_view name) override {
      return to_.cluster_counters(name);
    }
    void on_opened(const RequestReport& report, const ReportSource& source) override {
      to_.on_opened(report, source);
    }
    void on_ended(const RequestReport& report, const ReportSource& source) override {
      to_.on_ended(report, source);
      ring_.drain(1, [this](std::string_view) { ++told_; });
    }

   private:
    metrics::ShardRecorder& to_;
    metrics::RecordRing& ring_;
    size_t& told_;
  } draining(recorder, *ring, told);
  config.observer = &draining;
  run(policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"})), policy, kProducts, kAnswer, 0,
      config);
  EXPECT_EQ(told, 101'000U);
}

}  // namespace
}  // namespace np::test
