// SPDX-License-Identifier: Apache-2.0
#include "admin/overview.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/time.h"
#include "metrics/series_sum.h"

namespace np::admin {
namespace {

using Json = nlohmann::json;
using metrics::SeriesLabel;

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr size_t kPoliciesMax = 2000;  // in one answer

// Names come from pods and clients: what is no UTF-8 becomes U+FFFD.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// 0: it is none.
int number_of(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// ---- requests --------------------------------------------------------------------------------

const std::vector<SeriesLabel> kRequestLabels = {
    SeriesLabel::kSourceWorkload, SeriesLabel::kSourceNamespace, SeriesLabel::kSourceVersion,
    SeriesLabel::kHost,           SeriesLabel::kWorkload,        SeriesLabel::kVersion,
    SeriesLabel::kRoute,          SeriesLabel::kObject,          SeriesLabel::kStatus,
    SeriesLabel::kFlags,          SeriesLabel::kProtocol};

Json request_json(const metrics::GroupedRequests::Group& group) {
  const RequestCounters& counters = group.counters;
  return {{"source", group[0]},
          {"source_namespace", group[1]},
          {"source_version", group[2]},
          {"host", group[3]},
          {"workload", group[4]},
          {"version", group[5]},
          {"route", group[6]},
          {"object", group[7]},
          {"status", number_of(group[8])},
          {"flags", group[9]},
          {"protocol", group[10]},
          {"opened", counters.opened},
          {"requests", counters.requests},
          {"delays", counters.delays},
          {"aborts", counters.aborts},
          {"retries", counters.retries},
          {"duration_us", counters.duration_us},
          {"buckets", counters.duration_buckets},
          {"request_bytes", counters.request_bytes},
          {"response_bytes", counters.response_bytes}};
}

Json requests_json(const metrics::SeriesSums& sums) {
  metrics::GroupedRequests requests(kRequestLabels);
  for (const auto& [name, counters] : sums.requests) {
    if (counters.requests + counters.opened > 0) requests.add(metrics::labels_of(name), counters);
  }
  Json list = Json::array();
  for (const auto& [key, group] : requests.groups()) list.push_back(request_json(group));
  return list;
}

// ---- clusters --------------------------------------------------------------------------------

Json cluster_json(const metrics::ClusterState& state, const metrics::SeriesSums& sums) {
  ClusterCounters counters{};
  const auto counted = sums.clusters.find(state.name);
  if (counted != sums.clusters.end()) counters = counted->second;
  return {
      {"cluster", state.name},
      {"host", state.host},
      {"subset", state.subset},
      {"endpoints", state.endpoints},
      {"healthy", state.healthy},
      {"cx_active", metrics::under_way(counters.upstream_cx_total, counters.upstream_cx_destroy)},
      {"rq_active", metrics::under_way(counters.upstream_rq_total, counters.upstream_rq_ended)},
      {"cx_overflow", counters.upstream_cx_overflow},
      {"rq_pending_overflow", counters.upstream_rq_pending_overflow},
      {"ejections_active", state.ejected}};
}

Json clusters_json(const metrics::NodeTotals& totals, const metrics::SeriesSums& sums) {
  Json list = Json::array();
  for (const metrics::ClusterState& state : totals.clusters) {
    // Those that nobody asked for say nothing.
    const bool is_used = sums.clusters.contains(state.name) || state.ejected > 0;
    if (is_used) list.push_back(cluster_json(state, sums));
  }
  return list;
}

void add_limit(const metrics::ClusterState& state, const char* what, uint64_t most, uint64_t used,
               Json& list) {
  if (most == 0) return;
  list.push_back({{"cluster", state.name},
                  {"host", state.host},
                  {"what", what},
                  {"max", most},
                  {"used", used},
                  {"refused", state.refused}});
}

// Requests that pass to where their caller sent them have the service's limits, too: beside those
// of the service they would say the same twice, until they are used.
bool has_nothing_to_say(const metrics::ClusterState& state) {
  return state.name.starts_with("original-dst|") && state.requests == 0 && state.waiting == 0 &&
         state.refused == 0;
}

Json limits_json(const metrics::NodeTotals& totals) {
  Json list = Json::array();
  for (const metrics::ClusterState& state : totals.clusters) {
    if (has_nothing_to_say(state)) continue;
    add_limit(state, "connections", state.max_connections, state.busiest_requests, list);
    add_limit(state, "pending", state.max_pending, state.busiest_waiting, list);
    add_limit(state, "requests", state.max_requests, state.busiest_requests, list);
    add_limit(state, "retries", state.max_retries, state.busiest_retries, list);
  }
  return list;
}

// ---- the rest --------------------------------------------------------------------------------

Json pods_json(const metrics::NodeTotals& totals, const metrics::Telemetry& telemetry) {
  constexpr uint64_t kNsPerUs = 1000;
  Json list = Json::array();
  for (const metrics::PodState& pod : totals.pods) {
    const PodCounters counters = metrics::sum_pod(telemetry.series(), pod.id);
    Json one = {{"id", pod.id},
                {"pod", pod.name},
                {"open", pod.flows_open},
                {"requests", counters.requests},
                {"failures", counters.failures},
                {"bytes", pod.tx_bytes + pod.rx_bytes},
                {"tx_bytes", pod.tx_bytes},
                {"rx_bytes", pod.rx_bytes},
                {"cpu_us", pod.cpu_ns / kNsPerUs},
                {"buffer_bytes", pod.buffer_bytes}};
    for (const metrics::Counted& use : pod.use) one[use.name] = use.value;
    list.push_back(std::move(one));
  }
  return list;
}

Json endpoints_json(metrics::NodeSource& node) {
  Json list = Json::array();
  for (const metrics::EndpointState& state : node.endpoints()) {
    list.push_back({{"service", state.service},
                    {"address", state.address.to_string()},
                    {"pod", state.pod},
                    {"version", state.version},
                    {"state", state.state},
                    {"reason", state.reason},
                    {"since_unix_ms", state.since_unix_ns / kNsPerMs},
                    {"until_unix_ms", state.until_unix_ns / kNsPerMs},
                    {"failures", state.failures}});
  }
  return list;
}

// Registry objects are no policies: there are many, and they say nothing of their own.
bool is_registry(const std::string& kind) {
  return kind == "Service" || kind == "Pod" || kind == "Endpoints" || kind == "EndpointSlice" ||
         kind == "Namespace";
}

bool is_same_fault(const metrics::FaultState& a, const metrics::FaultState& b) {
  return std::tie(a.object, a.route, a.delay_ms, a.delay_percent, a.abort_status, a.abort_percent,
                  a.is_shadow) == std::tie(b.object, b.route, b.delay_ms, b.delay_percent,
                                           b.abort_status, b.abort_percent, b.is_shadow);
}

Json fault_json(const metrics::FaultState& fault) {
  return {{"object", fault.object},
          {"route", fault.route},
          {"hosts", Json::array()},
          {"delay_ms", fault.delay_ms},
          {"delay_percent", fault.delay_percent},
          {"abort_status", fault.abort_status},
          {"abort_percent", fault.abort_percent},
          {"shadow", fault.is_shadow}};
}

// One fault may act in many clusters: it is told once, with all their hosts.
Json faults_json(const std::vector<metrics::FaultState>& faults) {
  std::vector<std::pair<const metrics::FaultState*, std::set<std::string>>> told;
  std::map<std::string_view, std::vector<size_t>> by_object;
  for (const metrics::FaultState& fault : faults) {
    std::vector<size_t>& places = by_object[fault.object];
    const auto same = std::find_if(places.begin(), places.end(), [&](size_t place) {
      return is_same_fault(*told[place].first, fault);
    });
    const size_t place = same != places.end() ? *same : told.size();
    if (same == places.end()) {
      places.push_back(place);
      told.push_back({&fault, {}});
    }
    if (!fault.host.empty()) told[place].second.insert(fault.host);
  }
  Json list = Json::array();
  for (const auto& [fault, hosts] : told) {
    Json one = fault_json(*fault);
    for (const std::string& host : hosts) one["hosts"].push_back(host);
    list.push_back(std::move(one));
  }
  return list;
}

void add_policies(const metrics::PolicyTotals& totals, Json& json) {
  Json policies = Json::array();
  size_t left_out = 0;
  for (const metrics::PolicyState& policy : totals.policies) {
    if (is_registry(policy.kind)) continue;
    if (policies.size() >= kPoliciesMax) {
      ++left_out;
      continue;
    }
    policies.push_back({{"kind", policy.kind},
                        {"namespace", policy.ns},
                        {"name", policy.name},
                        {"status", policy.status},
                        {"reason", policy.reason},
                        {"warnings", policy.warnings},
                        {"hosts", policy.hosts}});
  }
  json["policies"] = std::move(policies);
  json["policies_left_out"] = left_out;
  json["faults"] = faults_json(totals.faults);
  // Requests may follow a change a moment before its policies can be told: the reader, who has the
  // former ones then, asks for the change again.
  json["revision"] = totals.revision;
}

Json span_json(const metrics::Span& span) {
  const auto id = [](uint64_t value) {
    return value == 0 ? std::string() : metrics::trace_id_text(0, value).substr(16);
  };
  Json tags = Json::object();
  for (const auto& [key, value] : span.tags) tags[key] = value;
  return {{"id", id(span.id)},
          {"parent", id(span.parent)},
          {"name", span.name},
          {"service", span.service},
          {"kind", span.kind == metrics::Span::Kind::kClient ? "CLIENT" : "SERVER"},
          {"start_unix_us", span.start_unix_us},
          {"duration_us", span.duration_us},
          {"error", span.is_error},
          {"sampled", span.is_sampled},
          {"tags", std::move(tags)}};
}

}  // namespace

std::string overview_json(metrics::NodeSource& node, const metrics::Telemetry& telemetry,
                          const OverviewOptions& options) {
  const metrics::NodeTotals totals = node.totals();
  const metrics::SeriesSums sums = metrics::sum_series(telemetry.series());
  const ToldCounters told = telemetry.counts();
  Json json = {{"now_unix_ms", wall_clock_ns() / kNsPerMs},
               {"started_unix_ms", totals.started_unix_ms},
               {"instance", totals.instance},
               {"version", totals.version},
               {"shards", totals.shards},
               {"overloaded", totals.is_overloaded},
               {"open_connections", totals.open_connections},
               {"revision", totals.revision},
               {"logs_lost", told.log_lines_lost + told.records_lost},
               {"traces_lost", told.spans_lost},
               {"duration_bounds_ms", kDurationBoundsMs},
               {"requests", requests_json(sums)},
               {"clusters", clusters_json(totals, sums)},
               {"limits", limits_json(totals)},
               {"endpoints", endpoints_json(node)},
               {"pods", pods_json(totals, telemetry)}};
  if (options.known_revision != totals.revision) add_policies(node.policies(), json);
  return dump(json);
}

std::string traces_json(const metrics::TraceBook& book, const metrics::TraceQuery& query) {
  Json list = Json::array();
  for (const metrics::TraceSummary& trace : book.find(query)) {
    list.push_back({{"id", metrics::trace_id_text(trace.high, trace.low)},
                    {"name", trace.name},
                    {"source", trace.source},
                    {"host", trace.host},
                    {"start_unix_us", trace.start_unix_us},
                    {"duration_us", trace.duration_us},
                    {"spans", trace.spans},
                    {"status", number_of(trace.status)},
                    {"error", trace.is_error}});
  }
  return dump(list);
}

std::string trace_json(const metrics::TraceBook& book, const std::string& id) {
  uint64_t high = 0, low = 0;
  if (!metrics::parse_trace_id(id, high, low)) return {};
  const std::vector<metrics::Span> spans = book.get(high, low);
  if (spans.empty()) return {};
  Json list = Json::array();
  for (const metrics::Span& span : spans) list.push_back(span_json(span));
  const metrics::Span& first = spans.front();
  return dump({{"id", metrics::trace_id_text(first.trace_high, first.trace_low)},
               {"spans", std::move(list)}});
}

std::string connections_json(const std::vector<ConnectionState>& connections,
                             metrics::NodeSource& node) {
  const std::map<uint32_t, std::string> routes = node.route_names();
  Json list = Json::array();
  for (const ConnectionState& one : connections) {
    const auto route = routes.find(one.route_id);
    list.push_back({{"client", one.client.to_string()},
                    {"dialled", one.dialled.to_string()},
                    {"pod", one.pod},
                    {"service", one.service},
                    {"state", one.state},
                    {"start_ns", one.start_ns},
                    {"age_ms", one.age_ms},
                    {"tx_bytes", one.tx_bytes},
                    {"rx_bytes", one.rx_bytes},
                    {"requests", one.requests},
                    {"failures", one.failures},
                    {"retries", one.retries},
                    {"status_2xx", one.statuses[0]},
                    {"status_3xx", one.statuses[1]},
                    {"status_4xx", one.statuses[2]},
                    {"status_5xx", one.statuses[3]},
                    {"route", route == routes.end() ? "" : route->second}});
  }
  return dump({{"instance", node.totals().instance}, {"connections", std::move(list)}});
}

}  // namespace np::admin
