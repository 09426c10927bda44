// SPDX-License-Identifier: Apache-2.0
// What the engine alone costs per request: parsing, routing, counting, writing, without a socket.
// Real time on an otherwise idle core: take the least of several repetitions.
#include <benchmark/benchmark.h>

#include <string>

#include "tests/support/engine_loop.h"
#include "tests/support/policy_fixture.h"

namespace np::test {
namespace {

constexpr char kRequest[] =
    "GET /products?id=7 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1.0\r\n"
    "Accept: */*\r\n\r\n";

std::string answer_of(size_t body_bytes) {
  return "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 26 Nov 2026 19:00:00 GMT\r\n"
         "Content-Type: text/plain\r\nContent-Length: " +
         std::to_string(body_bytes) + "\r\nConnection: keep-alive\r\n\r\n" +
         std::string(body_bytes, 'x');
}

void exchange(benchmark::State& state, policy::Route& route, PolicyFixture& policy,
              const std::string& request) {
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"/", &route});
  policy.capture(kLoopService, &table);
  EngineLoop<> loop(policy);
  const std::string answer = answer_of(static_cast<size_t>(state.range(0)));
  for (auto _ : state) loop.exchange(request, answer);
  state.SetItemsProcessed(state.iterations());
}

void bare(benchmark::State& state) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  exchange(state, route, policy, kRequest);
}
BENCHMARK(bare)->Arg(128)->Arg(1024);

void many_headers(benchmark::State& state) {
  PolicyFixture policy;
  policy::Route& route = policy.add_route(&policy.add_cluster("c", {"10.1.0.1:80"}));
  std::string request = "GET / HTTP/1.1\r\nHost: shop.example\r\n";
  for (int i = 0; i < 20; ++i) request += "x-header-" + std::to_string(i) + ": some value\r\n";
  exchange(state, route, policy, request + "\r\n");
}
BENCHMARK(many_headers)->Arg(128);

}  // namespace
}  // namespace np::test

BENCHMARK_MAIN();
