// SPDX-License-Identifier: Apache-2.0
// Question: what do a charge and a dimension cost, and what when all shards want one counter?
// Baseline: one thread. Noise: with fewer cores than threads the shared case also measures the
// scheduler; read the column CPU.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "policy/attribute_view.h"
#include "proxy/quota_windows.h"

namespace np::proxy {
namespace {

const Instant kStart{std::chrono::hours(5)};

QuotaCharge charge_of(std::string_view tuple) {
  QuotaCharge charge;
  charge.quota = 1;
  charge.limit = {INT64_MAX / 2,
                  {policy::CounterWindow::Kind::kTicks, 10, std::chrono::milliseconds(100)}};
  charge.tuple = tuple;
  return charge;
}

QuotaWindows& shared_windows() {
  static QuotaWindows windows(7);
  return windows;
}

void one_counter(benchmark::State& state) {
  const QuotaCharge charge = charge_of("reviews v3 ratings unknown");
  Instant now = kStart;
  for (auto _ : state) {
    now += std::chrono::microseconds(20);
    benchmark::DoNotOptimize(shared_windows().charge(charge, now));
  }
}
BENCHMARK(one_counter)->ThreadRange(1, 4)->UseRealTime();

void ten_thousand_counters(benchmark::State& state) {
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back("user-" + std::to_string(i));
  QuotaWindows windows(7);
  size_t next = 0;
  for (auto _ : state) {
    next = (next + 7919) % names.size();
    benchmark::DoNotOptimize(windows.charge(charge_of(names[next]), kStart));
  }
}
BENCHMARK(ten_thousand_counters);

void dimension_of_the_sample(benchmark::State& state) {
  policy::ExpressionProblem problem;
  const auto expression =
      policy::parse_expression("source.labels[\"app\"] | source.service | \"unknown\"", problem);
  policy::Pod pod;
  pod.labels = {{"app", "reviews"}, {"version", "v3"}};
  policy::CallerView caller;
  caller.pod = &pod;
  const policy::RequestView request;
  const policy::DestinationAttributes destination;
  policy::AttributeView view;
  view.request = &request;
  view.caller = &caller;
  view.destination = &destination;
  Arena arena;
  for (auto _ : state) {
    arena.reset();
    benchmark::DoNotOptimize(policy::evaluate(*expression, view, arena));
  }
}
BENCHMARK(dimension_of_the_sample);

}  // namespace
}  // namespace np::proxy

BENCHMARK_MAIN();
