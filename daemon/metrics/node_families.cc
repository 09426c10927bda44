// SPDX-License-Identifier: Apache-2.0
// Our own names: per policy object, per pod, and of the daemon itself.
#include <array>

#include "metrics/exposition.h"

namespace np::metrics {
namespace {

constexpr double kSecondsPerNs = 1e-9;
constexpr double kSecondsPerMs = 1e-3;

std::span<const double> duration_bounds_seconds() {
  static const std::vector<double> bounds = [] {
    std::vector<double> seconds;
    for (const double ms : kDurationBoundsMs) seconds.push_back(ms * kSecondsPerMs);
    return seconds;
  }();
  return bounds;
}

std::string total(std::string name) {
  return name.ends_with("_total") ? name : std::move(name) + "_total";
}

// A sentence of ours as a checker wants it: something, and no control bytes.
std::string help_of(const Counted& counted) {
  return counted.help.empty() ? "Counted by name" : counted.help;
}

void add_lateness(const NodeTotals& node, FamilySet& out) {
  if (node.timer_late_ms.empty()) return;
  std::vector<double> bounds;
  double sum = 0;
  for (size_t i = 0; i + 1 < node.timer_late_ms.size(); ++i) {
    bounds.push_back(static_cast<double>(i + 1) * kSecondsPerMs);
  }
  for (size_t i = 0; i < node.timer_late_ms.size(); ++i) {
    sum += as_double(node.timer_late_ms[i]) * static_cast<double>(i) * kSecondsPerMs;
  }
  out.histogram("nodeproxy_timer_lateness_seconds", "How late deadlines were acted on", {},
                {bounds, node.timer_late_ms, sum});
}

void add_told(const ToldCounters& told, FamilySet& out) {
#define NP_X(name, help) \
  out.count("nodeproxy_told_" #name "_total", help, {}, as_double(told.name));
  NP_TOLD_COUNTERS(NP_X)
#undef NP_X
}

void add_series_use(const SeriesSums& sums, FamilySet& out) {
  const auto gauge = [&out](const char* name, const char* help, const char* kind, double value) {
    out.gauge(name, help, {{"kind", kind}}, value);
  };
  const char* used = "Series that the fullest shard has taken; what comes later is \"overflow\"";
  gauge("nodeproxy_series_used", used, "clusters", as_double(sums.cluster_slots));
  gauge("nodeproxy_series_used", used, "requests", as_double(sums.request_slots));
  const char* most = "Series that a shard has room for";
  gauge("nodeproxy_series_limit", most, "clusters", as_double(kClusterSlots));
  gauge("nodeproxy_series_limit", most, "requests", as_double(kRequestSlots));
}

void add_overload(const OverloadTotals& overload, FamilySet& out) {
  out.gauge("nodeproxy_memory_used_bytes", "Memory that counts against the limit", {},
            as_double(overload.memory_used_bytes));
  out.gauge("nodeproxy_memory_limit_bytes", "The memory limit; 0: none is known", {},
            as_double(overload.memory_limit_bytes));
  out.gauge(
      "nodeproxy_memory_stage",
      "0 normal, 1 nothing is kept alive, 2 new requests are refused, 3 the largest are ended", {},
      overload.memory_stage);
  for (const Counted& stage : overload.stages_begun) {
    out.count("nodeproxy_memory_stages_begun_total", "How often each stage began",
              {{"stage", stage.name}}, as_double(stage.value));
  }
  out.gauge("nodeproxy_late_shards", "Shards whose loop runs late", {}, overload.late_shards);
  out.count("nodeproxy_watchdog_aborts_total", "Workers replaced because a shard hung", {},
            as_double(overload.watchdog_aborts));
}

Labels pod_labels(const PodState& pod) {
  return {{"namespace", std::string(namespace_part(pod.name))},
          {"pod", std::string(name_part(pod.name))}};
}

void add_pod_requests(const Labels& labels, const PodCounters& counters, FamilySet& out) {
  const auto count = [&](const char* name, const char* help, double value) {
    out.count(name, help, labels, value);
  };
  count("nodeproxy_pod_requests_total", "Requests that the pod made", as_double(counters.requests));
  count("nodeproxy_pod_failures_total", "Of these, answered 5xx or not in full",
        as_double(counters.failures));
  count("nodeproxy_pod_request_bytes_total", "Bytes of the bodies it sent",
        as_double(counters.request_bytes));
  count("nodeproxy_pod_response_bytes_total", "Bytes of the bodies it got",
        as_double(counters.response_bytes));
  count("nodeproxy_pod_delays_injected_total", "Its requests that a fault delayed",
        as_double(counters.delays));
  count("nodeproxy_pod_retries_total", "Repeats of its requests", as_double(counters.retries));
}

}  // namespace

void add_routes(const SeriesSums& sums, FamilySet& out) {
  GroupedRequests by_answer({SeriesLabel::kObject, SeriesLabel::kRoute, SeriesLabel::kHost,
                             SeriesLabel::kVersion, SeriesLabel::kStatus, SeriesLabel::kFlags});
  GroupedRequests by_route({SeriesLabel::kObject, SeriesLabel::kRoute, SeriesLabel::kHost});
  for (const auto& [name, counters] : sums.requests) {
    const SeriesName labels = labels_of(name);
    if (labels[SeriesLabel::kProtocol] != "http") continue;
    by_answer.add(labels, counters);
    by_route.add(labels, counters);
  }
  const auto labels_of_route = [](const GroupedRequests::Group& group) {
    return Labels{{"object", std::string(group[0])},
                  {"route", std::string(group[1])},
                  {"host", std::string(group[2])}};
  };
  for (const auto& [key, group] : by_answer.groups()) {
    Labels labels = labels_of_route(group);
    labels.push_back({"version", std::string(group[3])});
    labels.push_back({"response_code", std::string(group[4])});
    labels.push_back({"response_flags", group[5].empty() ? "-" : std::string(group[5])});
    out.count("nodeproxy_route_requests_total", "Requests by the rule that they took",
              std::move(labels), as_double(group.counters.requests));
  }
  for (const auto& [key, group] : by_route.groups()) {
    const RequestCounters& counters = group.counters;
    const Labels labels = labels_of_route(group);
    out.count("nodeproxy_route_delays_injected_total", "Delays that the rule's fault injected",
              labels, as_double(counters.delays));
    out.count("nodeproxy_route_aborts_injected_total", "Aborts that the rule's fault injected",
              labels, as_double(counters.aborts));
    out.count("nodeproxy_route_retries_total", "Repeats", labels, as_double(counters.retries));
    out.histogram("nodeproxy_route_duration_seconds", "Duration of requests by rule", labels,
                  {duration_bounds_seconds(), counters.duration_buckets,
                   as_double(counters.duration_us) * kSecondsPerUs});
  }
}

void add_pods(const NodeTotals& node, const std::vector<ShardSeries*>& shards, FamilySet& out) {
  for (const PodState& pod : node.pods) {
    const Labels labels = pod_labels(pod);
    add_pod_requests(labels, sum_pod(shards, pod.id), out);
    out.count("nodeproxy_pod_cpu_seconds_total", "CPU time of the shards that the pod's work took",
              labels, as_double(pod.cpu_ns) * kSecondsPerNs);
    out.count("nodeproxy_pod_transmit_bytes_total", "Payload from the pod, by the kernel's count",
              labels, as_double(pod.tx_bytes));
    out.count("nodeproxy_pod_receive_bytes_total", "Payload to the pod, by the kernel's count",
              labels, as_double(pod.rx_bytes));
    out.gauge("nodeproxy_pod_flows_open", "Captured connections of the pod", labels,
              as_double(pod.flows_open));
    out.gauge("nodeproxy_pod_buffer_bytes", "Receive buffers that hold bytes of the pod", labels,
              as_double(pod.buffer_bytes));
    for (const Counted& use : pod.use) {
      out.count(total("nodeproxy_pod_" + use.name), help_of(use), labels, as_double(use.value));
    }
  }
}

void add_node(const NodeTotals& node, const SeriesSums& sums, const ToldCounters& told,
              FamilySet& out) {
  out.gauge("nodeproxy_build_info", "1, with the version as a label", {{"version", node.version}},
            1);
  out.gauge("nodeproxy_start_time_seconds", "When this worker began, since 1970", {},
            static_cast<double>(node.started_unix_ms) * kSecondsPerMs);
  out.gauge("nodeproxy_shards", "Threads that serve connections", {}, node.shards);
  out.gauge("nodeproxy_policy_revision", "Counts changes of policy", {}, as_double(node.revision));
  out.gauge("nodeproxy_overloaded", "1 while new connections follow their fail mode", {},
            node.is_overloaded ? 1 : 0);
  add_overload(node.overload, out);
  out.gauge("nodeproxy_open_connections", "Connections of clients", {},
            as_double(node.open_connections));
  // Gauges: they begin again with each worker.
  out.gauge("nodeproxy_worker_cpu_seconds", "CPU time that this worker has used", {},
            node.cpu_seconds);
  out.gauge("nodeproxy_worker_resident_bytes", "Memory of this worker", {},
            as_double(node.resident_bytes));
  for (const Counted& one : node.engine) {
    out.count(total("nodeproxy_" + one.name), help_of(one), {}, as_double(one.value));
  }
  for (const Counted& one : node.ended) {
    out.count("nodeproxy_requests_ended_total", "Requests by how they ended", {{"how", one.name}},
              as_double(one.value));
  }
  for (const Counted& one : node.shard) {
    if (one.name == "slowest_iteration_ns") {
      out.gauge("nodeproxy_shard_slowest_iteration_seconds", one.help, {},
                as_double(one.value) * kSecondsPerNs);
      continue;
    }
    out.count(total("nodeproxy_shard_" + one.name), help_of(one), {}, as_double(one.value));
  }
  for (const Counted& one : node.kernel) {
    out.count("nodeproxy_kernel_packets_total", "Packets by what the programs did with them",
              {{"reason", one.name}}, as_double(one.value));
  }
  add_lateness(node, out);
  add_told(told, out);
  add_series_use(sums, out);
}

std::string exposition(const NodeTotals& node, const Telemetry& telemetry,
                       const FamilyChoice& choice) {
  const SeriesSums sums = sum_series(telemetry.series());
  FamilySet out;
  if (choice.nodeproxy) add_node(node, sums, telemetry.counts(), out);
  if (choice.envoy) add_envoy_listener(node, sums, out);
  if (choice.envoy) add_envoy_clusters(node, sums, out);
  if (choice.envoy_statsd) add_envoy_statsd(node, sums, out);
  if (choice.istio) add_istio(sums, out);
  if (choice.istio_legacy) add_istio_before_1(sums, out);
  if (choice.nodeproxy) add_routes(sums, out);
  if (choice.nodeproxy) add_pods(node, telemetry.series(), out);
  return out.text();
}

}  // namespace np::metrics
