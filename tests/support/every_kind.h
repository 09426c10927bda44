// SPDX-License-Identifier: Apache-2.0
// Every kind of request that tools/bench measures, through a real shard: for what must hold for all
// of them (no allocation) and for what learns from them (the training of the release build).
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
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

namespace np::test {

inline constexpr char kOriginPolicy[] = R"(
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
inline constexpr char kNoRoutesYet[] = R"(
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
)";
inline constexpr char kPlainRoutes[] = R"(
  - {match: [{uri: {exact: /first}}], route: [{destination: {host: origin.internal}}]}
  - {route: [{destination: {host: origin.internal}}]}
)";
inline constexpr char kFeaturePolicies[] = R"(
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
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {name: origin}
spec:
  services: [{host: origin.internal}]
  rules:
  - {name: by-address, countBy: [{caller: ip}], bucket: {requests: 100000000, per: 1s}}
---
)";
inline constexpr char kFeatureRoutes[] = R"(
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
)";

inline constexpr char kBrowserLines[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n"
    "X-User: test\r\nX-Gone: 1\r\nCache-Control: max-age=0\r\n";
inline constexpr char kToolLines[] = "User-Agent: curl/8.5.0\r\nAccept: */*\r\n";

struct RequestKind {
  std::string request;
  size_t body_bytes;  // of the answer; 0: in chunks
  int count;          // how often among some 13 000
};

inline std::string get_request(const std::string& path, const char* lines) {
  return "GET " + path + " HTTP/1.1\r\nHost: shop.example\r\n" + lines + "\r\n";
}

inline std::string post_request(size_t bytes) {
  return "POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: " + std::to_string(bytes) +
         "\r\n\r\n" + std::string(bytes, 'u');
}

inline std::vector<RequestKind> every_kind() {
  constexpr size_t kKibi = 1024;
  constexpr size_t kHello = 5;
  return {{get_request("/bytes/128", kToolLines), 128, 4000},
          {get_request("/bytes/128", kBrowserLines), 128, 4000},
          {get_request("/bytes/1024", ""), kKibi, 2000},
          {get_request("/first", kToolLines), kHello, 500},
          {get_request("/items/17", kBrowserLines), kHello, 500},
          {get_request("/old/hello", kToolLines), kHello, 250},
          {get_request("/late", kToolLines), kHello, 100},
          {get_request("/bytes/16384", kToolLines), 16 * kKibi, 500},
          {get_request("/chunks/3000", kToolLines), 0, 150},
          {get_request("/bytes/1048576", kToolLines), kKibi * kKibi, 50},
          {post_request(10), 10, 500},
          {post_request(64 * kKibi), 64 * kKibi, 100}};
}

inline bool is_whole_answer(const std::string& input, size_t body_bytes) {
  if (body_bytes == 0) return input.ends_with("\r\n0\r\n\r\n");
  const size_t head_end = input.find("\r\n\r\n");
  return head_end != std::string::npos && input.size() >= head_end + 4 + body_bytes;
}

// False when the connection ended before the answer did.
inline bool ask(Client& client, const RequestKind& kind) {
  if (!client.send(kind.request)) return false;
  for (std::string input; !is_whole_answer(input, kind.body_bytes);) {
    const std::string bytes = client.receive();
    if (bytes.empty() || client.last_errno() != 0) return false;
    input += bytes;
  }
  return true;
}

inline std::shared_ptr<const policy::Snapshot> compile_text(const std::string& yaml) {
  policy::Diagnostics diagnostics;
  const auto objects = policy::parse_objects(yaml, {"every-kind.yaml", "default"}, diagnostics);
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

inline void set_placeholder(std::string& yaml, const std::string& name, const std::string& value) {
  for (size_t at = 0; (at = yaml.find(name)) != std::string::npos;) {
    yaml.replace(at, name.size(), value);
  }
}

// One shard between its clients and an origin. With every feature: limits, ejection, retries,
// header edits, rate limits, and each request is counted, logged and traced as installed.
class KindsStage {
 public:
  explicit KindsStage(bool has_every_feature) {
    if (has_every_feature) tell_of_requests();
    options_.engine_counters = {&counters};
    pool = shard::ShardPool::create(std::move(options_)).value();
    Fd socket = shard::open_listener(*SocketAddress::parse("0.0.0.0:0")).value();
    const SocketAddress bind = shard::local_address(socket.get()).value();
    port = bind.port;
    std::string yaml = kOriginPolicy;
    if (has_every_feature) yaml += kFeaturePolicies;
    yaml += kNoRoutesYet;
    yaml += has_every_feature ? kFeatureRoutes : kPlainRoutes;
    const std::string from = origin.address();
    set_placeholder(yaml, "GATEWAY", std::to_string(port));
    set_placeholder(yaml, "ORIGIN", from.substr(from.rfind(':') + 1));
    NP_CHECK(pool->publish(compile_text(yaml)).has_value());
    NP_CHECK(pool->add_gateway_listener(bind, std::move(socket)).has_value());
    NP_CHECK(pool->start().has_value());
  }

  Origin origin{"0.0.0.0:0"};
  proxy::EngineCounters counters{};
  uint16_t port = 0;

 private:
  void tell_of_requests() {
    metrics::TelemetryOptions to_tell;
    to_tell.access_log = "/dev/null";
    to_tell.tracing.enabled = true;
    telemetry_ = metrics::Telemetry::create(to_tell, {series_.get()}).value();
    options_.observers = telemetry_->observers();
    options_.tracing = telemetry_->tracing();
    telemetry_->start();
  }
  shard::ShardPoolOptions options_;
  const std::unique_ptr<metrics::ShardSeries> series_ = std::make_unique<metrics::ShardSeries>();
  std::unique_ptr<metrics::Telemetry> telemetry_;

 public:
  std::unique_ptr<shard::ShardPool> pool;  // ends first: it uses all of the above
};

}  // namespace np::test
