// SPDX-License-Identifier: Apache-2.0
// What the compiler learns from when it optimizes the request path (tools/release): a shard of this
// process, real sockets, and a little of every kind of request, so that no kind is taken for rare.
// How often a kind comes is how much it matters that it is fast. Needs no root; ends by itself.
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/time.h"
#include "metrics/telemetry.h"
#include "policy/compile.h"
#include "policy/object.h"
#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/unit/shard/client.h"
#include "tests/unit/shard/origin.h"

namespace np::shard {
namespace {

using test::Client;

constexpr char kBare[] = R"(
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  servers:
  - {port: {number: GATEWAY, name: http, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: origin}
spec:
  hosts: [origin.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: ORIGIN}}
  - {address: 127.0.0.2, ports: {http: ORIGIN}}
---
)";
constexpr char kPlainRoutes[] = R"(
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - {match: [{uri: {exact: /first}}], route: [{destination: {host: origin.internal}}]}
  - {route: [{destination: {host: origin.internal}}]}
)";
constexpr char kEverything[] = R"(
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: origin}
spec:
  host: origin.internal
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
    connectionPool:
      tcp: {maxConnections: 1000}
      http: {http2MaxRequests: 1000, http1MaxPendingRequests: 1000}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - {match: [{uri: {exact: /first}}], route: [{destination: {host: origin.internal}}]}
  - {match: [{uri: {regex: "/items/[0-9]+"}, headers: {x-user: {exact: test}}}],
     route: [{destination: {host: origin.internal}}]}
  - {match: [{uri: {prefix: /late}}], fault: {delay: {percentage: {value: 100}, fixedDelay: 1ms}},
     route: [{destination: {host: origin.internal}}]}
  - {match: [{uri: {prefix: /old/}}], rewrite: {uri: /},
     route: [{destination: {host: origin.internal}}]}
  - route: [{destination: {host: origin.internal}}]
    timeout: 10s
    retries: {attempts: 2, perTryTimeout: 2s, retryOn: "connect-failure,gateway-error,reset"}
    headers:
      request: {set: {x-one: one, x-two: two}, remove: [x-gone]}
      response: {set: {x-three: three}, add: {x-four: four}}
---
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {name: origin}
spec:
  services: [{host: origin.internal}]
  rules:
  - {name: by-address, countBy: [{caller: ip}], bucket: {requests: 100000000, per: 1s}}
)";

constexpr char kBrowserLines[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n"
    "X-User: test\r\nX-Gone: 1\r\nCache-Control: max-age=0\r\n";
constexpr char kToolLines[] = "User-Agent: curl/8.5.0\r\nAccept: */*\r\n";

struct Kind {
  std::string request;
  size_t body_bytes;  // of the answer; 0: in chunks
  int count;          // per client
};

std::string get(const std::string& path, const char* lines) {
  return "GET " + path + " HTTP/1.1\r\nHost: shop.example\r\n" + lines + "\r\n";
}

std::string post(size_t bytes) {
  return "POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: " + std::to_string(bytes) +
         "\r\n\r\n" + std::string(bytes, 'u');
}

constexpr size_t kKibi = 1024;
constexpr size_t kHello = 5;

std::vector<Kind> kinds() {
  return {{get("/bytes/128", kToolLines), 128, 4000},
          {get("/bytes/128", kBrowserLines), 128, 4000},
          {get("/bytes/1024", ""), kKibi, 2000},
          {get("/first", kToolLines), kHello, 500},
          {get("/items/17", kBrowserLines), kHello, 500},
          {get("/old/hello", kToolLines), kHello, 250},
          {get("/late", kToolLines), kHello, 100},
          {get("/bytes/16384", kToolLines), 16 * kKibi, 500},
          {get("/chunks/3000", kToolLines), 0, 150},
          {get("/bytes/1048576", kToolLines), kKibi * kKibi, 50},
          {post(10), 10, 500},
          {post(64 * kKibi), 64 * kKibi, 100}};
}

bool is_whole(const std::string& input, size_t body_bytes) {
  if (body_bytes == 0) return input.ends_with("\r\n0\r\n\r\n");
  const size_t head_end = input.find("\r\n\r\n");
  return head_end != std::string::npos && input.size() >= head_end + 4 + body_bytes;
}

void ask(Client& client, const Kind& kind) {
  NP_CHECK(client.send(kind.request));
  for (std::string input; !is_whole(input, kind.body_bytes);) {
    const std::string bytes = client.receive();
    NP_CHECK(!bytes.empty() && client.last_errno() == 0);
    input += bytes;
  }
}

void be_a_client(uint16_t port) {
  constexpr int kConnections = 500;
  Client client(port);
  for (const Kind& kind : kinds()) {
    for (int i = 0; i < kind.count; ++i) ask(client, kind);
  }
  const Kind short_one = kinds().front();
  for (int i = 0; i < kConnections; ++i) {
    Client once(port);
    ask(once, short_one);
  }
}

std::shared_ptr<const policy::Snapshot> snapshot_of(std::string yaml, const SocketAddress& gateway,
                                                    const std::string& origin) {
  const auto set = [&yaml](const std::string& name, const std::string& value) {
    for (size_t at = 0; (at = yaml.find(name)) != std::string::npos;) {
      yaml.replace(at, name.size(), value);
    }
  };
  set("GATEWAY", std::to_string(gateway.port));
  set("ORIGIN", origin.substr(origin.rfind(':') + 1));
  policy::Diagnostics diagnostics;
  const auto objects = policy::parse_objects(yaml, {"train.yaml", "default"}, diagnostics);
  const policy::Model model = policy::load_model(objects, diagnostics);
  for (const policy::Diagnostic& one : diagnostics) {
    (void)std::fprintf(stderr, "%s\n", one.to_string().c_str());
  }
  NP_CHECK(!policy::has_errors(diagnostics));
  policy::CompileInput input;
  input.model = &model;
  input.generation = 1;
  policy::IdTable ids;
  return policy::compile(input, ids);
}

void run(const std::string& policy, bool is_told) {
  constexpr int kClients = 6;
  test::Origin origin("0.0.0.0:0");
  proxy::EngineCounters counters{};
  const auto series = std::make_unique<metrics::ShardSeries>();
  metrics::TelemetryOptions to_tell;
  to_tell.access_log = "/dev/null";
  to_tell.tracing.enabled = true;
  const auto telemetry = metrics::Telemetry::create(to_tell, {series.get()}).value();
  ShardPoolOptions options;
  options.engine_counters = {&counters};
  if (is_told) {
    options.observers = telemetry->observers();
    options.tracing = telemetry->tracing();
    telemetry->start();
  }
  const auto pool = ShardPool::create(std::move(options)).value();
  Fd socket = open_listener(*SocketAddress::parse("0.0.0.0:0")).value();
  const SocketAddress bind = local_address(socket.get()).value();
  NP_CHECK(pool->publish(snapshot_of(policy, bind, origin.address())).has_value());
  NP_CHECK(pool->add_gateway_listener(bind, std::move(socket)).has_value());
  NP_CHECK(pool->start().has_value());
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back(be_a_client, bind.port);
  for (std::thread& client : clients) client.join();
  pool->stop();
  std::printf("%llu requests, %llu of them answered by the origin\n",
              static_cast<unsigned long long>(counters.downstream_rq_completed),
              static_cast<unsigned long long>(origin.requests()));
  NP_CHECK(origin.requests() == counters.downstream_rq_completed);
}

}  // namespace
}  // namespace np::shard

int main() {
  const std::string bare = np::shard::kBare;
  np::shard::run(bare + np::shard::kPlainRoutes, false);
  np::shard::run(bare + np::shard::kEverything, true);
}
