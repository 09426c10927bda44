// SPDX-License-Identifier: Apache-2.0
// Question: what does one scrape of /metrics cost a node with many services? Each of them has a
// cluster and is called in two ways (200 and 503), from both shards; the argument is their number.
// Baseline: the answer's size, which is counted beside. Noise: below 5 % on a quiet machine.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "metrics/exposition.h"
#include "metrics/series_store.h"

namespace np::metrics {
namespace {

struct Node {
  explicit Node(int64_t services) {
    for (auto& shard : memory) {
      shard = std::make_unique<ShardSeries>();
      pointers.push_back(shard.get());
      SeriesStore store(*shard, *shard);
      for (int64_t i = 0; i < services; ++i) fill(store, std::to_string(i));
    }
    for (int64_t i = 0; i < services; ++i) {
      ClusterState state;
      state.name = cluster_name(std::to_string(i));
      state.legacy_name = "out.service-" + std::to_string(i) + ".default.svc.cluster.local|http";
      state.endpoints = state.healthy = 3;
      totals.clusters.push_back(state);
    }
  }
  static std::string cluster_name(const std::string& i) {
    return "outbound|80||service-" + i + ".default.svc.cluster.local";
  }
  static void fill(SeriesStore& store, const std::string& i) {
    const std::string cluster = cluster_name(i);
    const std::string host = "service-" + i + ".default.svc.cluster.local";
    const std::string workload = "service-" + i;
    RequestTexts texts;
    texts.source_workload = texts.source_app = "frontend";
    texts.source_namespace = "default";
    texts.source_version = "v1";
    texts.host = host;
    texts.cluster = cluster;
    texts.endpoint_app = workload;
    texts.endpoint_version = "v1";
    texts.endpoint_pod = "default/pod";
    texts.route = "default-route";
    for (const uint16_t status : {uint16_t{200}, uint16_t{503}}) {
      RequestReport report;
      report.status = status;
      report.sent = instant_from_ns(1);
      std::string name;
      write_series_name(report, texts, name);
      RequestCounters& counters = store.request(name);
      counters.requests = 100;
      counters.duration_us = 12345;
      counters.duration_buckets[5] = 100;
      counters.request_size_buckets[1] = 100;
      counters.response_size_buckets[2] = 100;
    }
    store.cluster(cluster).upstream_rq_total = 200;
  }

  std::unique_ptr<ShardSeries> memory[2];
  std::vector<ShardSeries*> pointers;
  NodeTotals totals;
};

void scrape(benchmark::State& state, const char* families) {
  const FamilyChoice choice = FamilyChoice::parse(families).value();
  Node node(state.range(0));
  TelemetryOptions options;
  auto telemetry = Telemetry::create(options, node.pointers);
  size_t bytes = 0, lines = 0;
  for (auto _ : state) {
    const std::string text = exposition(node.totals, *telemetry.value(), choice);
    bytes = text.size();
    lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    benchmark::DoNotOptimize(text.data());
  }
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["lines"] = static_cast<double>(lines);
}
constexpr auto kMs = benchmark::kMillisecond;
BENCHMARK_CAPTURE(scrape, all, kAllFamilies)->Arg(10)->Arg(100)->Arg(1000)->Unit(kMs);
BENCHMARK_CAPTURE(scrape, istio, "istio")->Arg(1000)->Unit(kMs);
BENCHMARK_CAPTURE(scrape, envoy, "envoy")->Arg(1000)->Unit(kMs);
BENCHMARK_CAPTURE(scrape, istio_nodeproxy, "istio,nodeproxy")->Arg(1000)->Unit(kMs);

}  // namespace
}  // namespace np::metrics

BENCHMARK_MAIN();
