// SPDX-License-Identifier: Apache-2.0
// Question: does the cost of finding a route, or of compiling, depend on the number of routes?
// Baseline: 10 routes. Noise: a few nanoseconds per match on a quiet machine.
#include <benchmark/benchmark.h>

#include <string>

#include "policy/compile.h"

namespace np::policy {
namespace {

constexpr char kHost[] = "shop.default.svc.cluster.local";

enum Kind : int64_t { kExactPath, kPathPrefix, kExpression, kHeader };

std::string number(int64_t i) {
  return std::to_string(100000 + i);
}

MatchCondition condition(int64_t kind, int64_t i) {
  MatchCondition out;
  switch (kind) {
    case kExactPath:
      out.path = StringMatch{StringMatch::Kind::kExact, "/svc/" + number(i) + "/x", false};
      break;
    case kPathPrefix:
      out.path = StringMatch{StringMatch::Kind::kPrefix, "/svc/" + number(i) + "/", false};
      break;
    case kExpression:
      out.path = StringMatch{StringMatch::Kind::kRegex, "/svc/" + number(i) + "/.*", false};
      break;
    default:
      out.headers.push_back(
          {"user", StringMatch{StringMatch::Kind::kExact, "user" + number(i), false}});
  }
  return out;
}

Model model_of(int64_t kind, int64_t count) {
  Model model;
  Service service;
  service.origin = {"Service", "default", "shop", "", 0, 1};
  service.host = kHost;
  service.ns = "default";
  service.addresses.push_back(IpAddress::v4(10, 96, 0, 1));
  service.ports.push_back({"http", 80, Protocol::kHttp, 0, ""});
  model.services.push_back(service);
  RouteSet set;
  set.origin = {"VirtualService", "default", "shop", "", 0, 2};
  set.hosts = {kHost};
  for (int64_t i = 0; i < count; ++i) {
    RouteRule rule;
    rule.name = number(i);
    rule.matches.push_back(condition(kind, i));
    rule.destinations.resize(1);
    rule.destinations[0].host = kHost;
    set.http.push_back(std::move(rule));
  }
  model.routes.push_back(std::move(set));
  return model;
}

void compile_model(benchmark::State& state) {
  const Model model = model_of(state.range(0), state.range(1));
  for (auto _ : state) {
    IdTable ids;
    benchmark::DoNotOptimize(compile({&model, nullptr, 1, Instant()}, ids));
  }
}

void match_last(benchmark::State& state) {
  const Model model = model_of(state.range(0), state.range(1));
  IdTable ids;
  const auto snapshot = compile({&model, nullptr, 1, Instant()}, ids);
  const CapturedPort* port = snapshot->find_captured({IpAddress::v4(10, 96, 0, 1), 80});
  const std::string path = "/svc/" + number(state.range(1) - 1) + "/x";
  const std::string user = "user" + number(state.range(1) - 1);
  const Field fields[] = {{"accept", "*/*"}, {"user", user}};
  RequestView request;
  request.method = "GET";
  request.path = path;
  request.fields = fields;
  if (port->http_routes->match(request, {}).route == nullptr) {
    state.SkipWithError("the request matches no route");
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(port->http_routes->match(request, {}).route);
  }
}

const std::vector<std::vector<int64_t>> kCases = {{kExactPath, kPathPrefix, kExpression, kHeader},
                                                  {10, 10000}};

BENCHMARK(match_last)->ArgNames({"kind", "routes"})->ArgsProduct(kCases);
BENCHMARK(compile_model)
    ->ArgNames({"kind", "routes"})
    ->ArgsProduct(kCases)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace np::policy

BENCHMARK_MAIN();
