// SPDX-License-Identifier: Apache-2.0
// Envoy's names
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats
// and .../http/http_conn_man/stats), as its Prometheus page writes them.
#include <array>
#include <set>

#include "metrics/exposition.h"

namespace np::metrics {
namespace {

Labels cluster_labels(std::string_view cluster) {
  // Envoy's own label, and the one that many dashboards were written with.
  return {{"cluster_name", std::string(cluster)}, {"envoy_cluster_name", std::string(cluster)}};
}

Labels with(Labels labels, const char* name, std::string_view value) {
  labels.push_back({name, std::string(value)});
  return labels;
}

uint64_t value_of(const std::vector<Counted>& list, std::string_view name) {
  for (const Counted& one : list) {
    if (one.name == name) return one.value;
  }
  return 0;
}

HistogramValues durations_ms(const RequestCounters& counters) {
  return {kDurationBoundsMs, counters.duration_buckets, as_double(counters.duration_us) * kMsPerUs};
}

// ---- clusters --------------------------------------------------------------------------------

void add_counters(std::string_view cluster, const ClusterCounters& counters, FamilySet& out) {
  const Labels labels = cluster_labels(cluster);
#define NP_X(name, help) out.count("envoy_cluster_" #name, help, labels, as_double(counters.name));
  NP_CLUSTER_COUNTERS(NP_X)
#undef NP_X
  out.gauge("envoy_cluster_upstream_cx_active", "Connections to endpoints that are open", labels,
            as_double(under_way(counters.upstream_cx_total, counters.upstream_cx_destroy)));
  out.gauge("envoy_cluster_upstream_rq_active", "Tries under way", labels,
            as_double(under_way(counters.upstream_rq_total, counters.upstream_rq_ended)));
  const std::array<uint64_t, 4> classes = {counters.upstream_rq_2xx, counters.upstream_rq_3xx,
                                           counters.upstream_rq_4xx, counters.upstream_rq_5xx};
  for (size_t i = 0; i < classes.size(); ++i) {
    const std::string digit = std::to_string(i + 2);
    out.count(
        "envoy_cluster_upstream_rq_xx", "Answers of endpoints by class of status",
        with(with(labels, "envoy_response_code_class", digit), "response_code_class", digit + "xx"),
        as_double(classes[i]));
  }
}

void add_state(const ClusterState& state, FamilySet& out) {
  const Labels labels = cluster_labels(state.name);
  out.untyped("envoy_cluster_membership_total", "Endpoints", labels, as_double(state.endpoints));
  out.gauge("envoy_cluster_membership_healthy", "Endpoints that are neither ejected nor unhealthy",
            labels, as_double(state.healthy));
  out.gauge("envoy_cluster_membership_excluded", "Endpoints that get no requests", labels,
            as_double(state.endpoints - state.healthy));
  out.gauge("envoy_cluster_outlier_detection_ejections_active", "Endpoints that are ejected",
            labels, as_double(state.ejected));
  out.gauge("envoy_cluster_upstream_rq_pending_active", "Requests that wait for a place", labels,
            as_double(state.waiting));
  const auto breaker = [&](const char* name, const char* help, uint64_t used, uint64_t most) {
    if (most == 0) return;
    out.gauge(std::string("envoy_cluster_circuit_breakers_default_") + name + "_open", help, labels,
              used >= most ? 1 : 0);
    out.gauge(std::string("envoy_cluster_circuit_breakers_default_remaining_") + name, help, labels,
              used >= most ? 0 : as_double(most - used));
  };
  breaker("cx", "Requests that hold a connection, against maxConnections", state.busiest_requests,
          state.max_connections);
  breaker("pending", "Requests that wait, against their limit", state.busiest_waiting,
          state.max_pending);
  breaker("rq", "Requests under way, against their limit", state.busiest_requests,
          state.max_requests);
  breaker("rq_retry", "Repeats under way, against their limit", state.busiest_retries,
          state.max_retries);
}

// What 0.x sent by way of statsd: the cluster in the name.
void add_statsd_gauges(const ClusterState& state, const SeriesSums& sums,
                       std::set<std::string>& used, FamilySet& out) {
  // Others had no name in 0.x.
  const std::string prefix = "envoy_cluster_" + statsd_name(state.legacy_name) + "_";
  // Names that differ in marks only are one name there: the first has it.
  if (!state.legacy_name.starts_with("out.") || !used.insert(prefix).second) return;
  const auto gauge = [&](const char* name, const char* help, uint64_t value) {
    out.gauge(prefix + name, help, {}, as_double(value));
  };
  gauge("outlier_detection_ejections_active", "Endpoints that are ejected", state.ejected);
  out.untyped(prefix + "membership_total", "Endpoints", {}, as_double(state.endpoints));
  gauge("membership_healthy", "Endpoints in service", state.healthy);
  const auto counted = sums.clusters.find(state.name);
  if (counted == sums.clusters.end()) return;
  const ClusterCounters& counters = counted->second;
  gauge("upstream_cx_active", "Connections to endpoints that are open",
        under_way(counters.upstream_cx_total, counters.upstream_cx_destroy));
  gauge("upstream_rq_active", "Tries under way",
        under_way(counters.upstream_rq_total, counters.upstream_rq_ended));
}

void add_answers(const SeriesSums& sums, FamilySet& out) {
  GroupedRequests by_cluster({SeriesLabel::kCluster});
  GroupedRequests by_status({SeriesLabel::kCluster, SeriesLabel::kStatus});
  for (const auto& [name, counters] : sums.requests) {
    const SeriesName labels = labels_of(name);
    if (labels[SeriesLabel::kCluster].empty() || labels[SeriesLabel::kProtocol] != "http") continue;
    by_cluster.add(labels, counters);
    by_status.add(labels, counters);
  }
  for (const auto& [key, group] : by_cluster.groups()) {
    out.histogram("envoy_cluster_upstream_rq_time", "Milliseconds of whole requests",
                  cluster_labels(group[0]), durations_ms(group.counters));
  }
  for (const auto& [key, group] : by_status.groups()) {
    out.count("envoy_cluster_upstream_rq", "Requests by the status given to the client",
              with(cluster_labels(group[0]), "envoy_response_code", group[1]),
              as_double(group.counters.requests));
  }
}

// ---- listener --------------------------------------------------------------------------------

constexpr std::array kListenerCounters = std::to_array<std::pair<const char*, const char*>>({
    {"downstream_cx_total", "downstream_cx_total"},
    {"downstream_cx_destroy", "downstream_cx_destroy"},
    {"downstream_cx_rx_bytes_total", "downstream_cx_rx_bytes_total"},
    {"downstream_cx_tx_bytes_total", "downstream_cx_tx_bytes_total"},
    {"downstream_cx_protocol_error", "downstream_cx_protocol_error"},
    {"downstream_cx_idle_timeout", "downstream_cx_idle_timeout"},
    {"downstream_rq_total", "downstream_rq_started"},
    {"downstream_rq_completed", "downstream_rq_completed"},
    {"downstream_rq_timeout", "downstream_rq_timeout"},
    {"rq_total", "downstream_rq_started"},
    {"no_route", "no_route"},
    {"fault_delays_injected", "fault_delays_injected"},
    {"fault_aborts_injected", "fault_aborts_injected"},
});

void add_classes(const NodeTotals& node, const Labels& labels, FamilySet& out) {
  for (char digit = '1'; digit <= '5'; ++digit) {
    const std::string one(1, digit);
    out.count(
        "envoy_http_downstream_rq_xx", "Answers to clients by class of status",
        with(with(labels, "envoy_response_code_class", one), "response_code_class", one + "xx"),
        as_double(value_of(node.engine, "downstream_rq_" + one + "xx")));
  }
}

}  // namespace

std::string statsd_name(std::string_view name) {
  std::string mangled;
  for (const char c : name) {
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    mangled += is_plain ? c : '_';
  }
  return mangled;
}

void add_envoy_listener(const NodeTotals& node, const SeriesSums& sums, FamilySet& out) {
  const Labels labels = {{"envoy_http_conn_manager_prefix", node.instance},
                         {"http_conn_manager_prefix", node.instance}};
  for (const auto& [name, from] : kListenerCounters) {
    out.count(std::string("envoy_http_") + name, "Of all clients of this node", labels,
              as_double(value_of(node.engine, from)));
  }
  const uint64_t begun = value_of(node.engine, "downstream_rq_started");
  const uint64_t ended = value_of(node.engine, "downstream_rq_completed") +
                         value_of(node.engine, "downstream_rq_refused") +
                         value_of(node.engine, "downstream_rq_aborted") +
                         value_of(node.shard, "lost_requests");
  out.gauge("envoy_http_downstream_rq_active", "Requests under way", labels,
            as_double(under_way(begun, ended)));
  out.gauge("envoy_http_downstream_cx_active", "Connections of clients that are open", labels,
            as_double(node.open_connections));
  add_classes(node, labels, out);
  RequestCounters all{};
  for (const auto& [name, counters] : sums.requests) {
    if (labels_of(name)[SeriesLabel::kProtocol] == "http") add_to(all, counters);
  }
  out.histogram("envoy_http_downstream_rq_time", "Milliseconds of whole requests", labels,
                durations_ms(all));
}

void add_envoy_clusters(const NodeTotals& node, const SeriesSums& sums, FamilySet& out) {
  for (const auto& [name, counters] : sums.clusters) {
    if (name != kOverflow || counters.upstream_cx_total > 0) add_counters(name, counters, out);
  }
  for (const ClusterState& state : node.clusters) add_state(state, out);
  add_answers(sums, out);
}

void add_envoy_statsd(const NodeTotals& node, const SeriesSums& sums, FamilySet& out) {
  std::set<std::string> used;
  for (const ClusterState& state : node.clusters) add_statsd_gauges(state, sums, used, out);
}

}  // namespace np::metrics
