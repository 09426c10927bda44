// SPDX-License-Identifier: Apache-2.0
// explain: one place that the request may be sent to: its fault, checks, limits and endpoints.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/explain_parts.h"
#include "policy/limit_verdict.h"

namespace np::control {
namespace {

using Json = nlohmann::json;

// ---- fault -----------------------------------------------------------------------------------

Json delay_json(const policy::Fault::Delay& delay) {
  using Kind = policy::DelayShape::Kind;
  const auto name = [&delay] {
    switch (delay.shape.kind) {
      case Kind::kFixed:
        return "fixed";
      case Kind::kUniform:
        return "uniform";
      case Kind::kNormal:
        return "normal";
      case Kind::kExponential:
        break;
    }
    return "exponential";
  };
  return {{"percent", percent_of(delay.per_million)},
          {"shape", name()},
          {"ms", milliseconds_of(delay.shape.a)},
          {"second_ms", milliseconds_of(delay.shape.b)}};
}

Json fault_json(const policy::Explanation& explanation,
                const policy::ExplainedDestination& destination) {
  const policy::FaultChoice& choice = destination.fault;
  Json json = {{"in_shadow", destination.faults_in_shadow}};
  if (choice.fault == nullptr) return json;
  const policy::Fault& fault = *choice.fault;
  json["object"] = choice.host != nullptr ? choice.host->object : explanation.match.route->object;
  json["name"] = choice.host != nullptr ? choice.host->name : explanation.match.route->name;
  json["within_limits"] = fault.within_limits;
  if (fault.delay) json["delay"] = delay_json(*fault.delay);
  if (fault.abort) {
    json["abort"] = {{"percent", percent_of(fault.abort->per_million)},
                     {"status", fault.abort->http_status}};
  }
  if (fault.bandwidth) {
    json["bandwidth"] = {{"percent", percent_of(fault.bandwidth->per_million)},
                         {"bytes_per_second", fault.bandwidth->bytes_per_second}};
  }
  return json;
}

// ---- rate limits and denials -----------------------------------------------------------------

std::string window_text(const policy::CounterWindow& window) {
  using Kind = policy::CounterWindow::Kind;
  const auto seconds = [](double ms) {
    std::string text = std::to_string(ms / 1000);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text + " s";
  };
  const double tick_ms = milliseconds_of(window.tick);
  switch (window.kind) {
    case Kind::kTicks:
      return "in any " + seconds(tick_ms * window.ticks);
    case Kind::kFixed:
      return "in " + seconds(tick_ms) + " from the first";
    case Kind::kBucket:
      return "at once, one more each " + seconds(tick_ms);
    case Kind::kNever:
      break;
  }
  return "ever";
}

Json checks_json(const policy::ExplainedDestination& destination, LimitWatch* limits) {
  Json list = Json::array();
  for (const policy::ExplainedCheck& check : destination.checks) {
    if (check.denial != nullptr) {
      list.push_back(
          {{"kind", "denial"}, {"status", check.denial->status}, {"body", check.denial->body}});
      continue;
    }
    Json json = {{"kind", "quota"},
                 {"name", check.quota->name},
                 {"costs", check.amount},
                 {"limit", check.limit.amount},
                 {"window", window_text(check.limit.window)},
                 {"dimensions", check.dimensions},
                 {"shadow", check.quota->is_shadow}};
    if (limits != nullptr) {
      const int64_t spent = limits->spent(check.quota->id, check.limit, check.tuple);
      json["spent"] = spent;
      json["exhausted"] = check.amount > check.limit.amount - spent;
    }
    list.push_back(std::move(json));
  }
  return list;
}

// ---- limits ----------------------------------------------------------------------------------

Json number(uint32_t limit) {
  return limit == policy::kUnlimited ? Json() : Json(limit);
}

const char* to_text(policy::LimitVerdict verdict) {
  switch (verdict) {
    case policy::LimitVerdict::kGranted:
      return "goes on at once";
    case policy::LimitVerdict::kWaits:
      return "waits for a place";
    case policy::LimitVerdict::kTooManyPending:
      return "refused, 503: too many wait";
    case policy::LimitVerdict::kTooManyRequests:
      break;
  }
  return "refused, 503: too many requests";
}

Json pool_json(const policy::ConnectionPool& pool) {
  return {{"scope", pool.scope_node ? "node" : "caller's workload"},
          {"max_connections", number(pool.max_connections)},
          {"max_pending_requests", number(pool.max_pending_requests)},
          {"max_requests", number(pool.max_requests)},
          {"max_retries", number(pool.max_retries)}};
}

Json limits_json(const policy::Explanation& explanation, const policy::Cluster& cluster,
                 LimitWatch* limits) {
  if (!policy::has_limits(cluster.pool)) return Json();
  const policy::ConnectionPool& pool = cluster.pool;
  Json json = pool_json(pool);
  if (pool.retry_budget) {
    json["retry_budget"] = {{"percent", pool.retry_budget->percent},
                            {"minimum", pool.retry_budget->minimum}};
  }
  if (limits == nullptr) return json;
  const LimitFill fill =
      limits->fill(cluster.id, pool.scope_node ? 0 : explanation.caller.workload_id);
  json["fill"] = {{"running", fill.running},
                  {"waiting", fill.waiting},
                  {"retries", fill.retries},
                  {"connections", fill.connections},
                  {"rejected", fill.rejected}};
  json["now"] = to_text(policy::limit_verdict(pool.max_connections, pool.max_pending_requests,
                                              pool.max_requests, {fill.running, fill.waiting},
                                              !explanation.is_opaque));
  return json;
}

// ---- endpoints -------------------------------------------------------------------------------

const char* to_text(policy::LoadBalancing::Kind kind) {
  using Kind = policy::LoadBalancing::Kind;
  switch (kind) {
    case Kind::kRoundRobin:
      return "round robin";
    case Kind::kLeastRequest:
      return "least request";
    case Kind::kRandom:
      return "random";
    case Kind::kRingHash:
      return "ring hash";
    case Kind::kMaglev:
      return "maglev";
    case Kind::kPassthrough:
      break;
  }
  return "as dialled";
}

Json ejection_json(const policy::Outlier& outlier) {
  return {{"consecutive_5xx", outlier.consecutive_5xx},
          {"consecutive_gateway_errors", outlier.consecutive_gateway_errors},
          {"interval_ms", milliseconds_of(outlier.interval)},
          {"ejection_ms", milliseconds_of(outlier.base_ejection_time)},
          {"max_percent", outlier.max_ejection_percent},
          {"panic_percent", outlier.panic_percent},
          {"by_interval", outlier.looks_at_intervals()}};
}

std::vector<EndpointStanding> standings_of(const policy::Cluster& cluster, EndpointWatch* watch) {
  const bool watched = cluster.outlier || cluster.shadow_outlier || cluster.health_check;
  if (watch == nullptr || !watched) return {};
  return watch->standing(cluster.service_id);
}

// As Picker::find_candidates(): who is out gets nothing, unless too few are left.
void add_endpoints(const policy::Cluster& cluster, const policy::ExplainedDestination& destination,
                   EndpointWatch* watch, Json& json) {
  const std::vector<EndpointStanding> standings = standings_of(cluster, watch);
  const bool obeys = cluster.outlier || !cluster.shadow_outlier;
  Json list = Json::array();
  uint64_t available = 0;
  for (uint32_t i = 0; i < cluster.endpoints.size(); ++i) {
    const policy::Endpoint& endpoint = cluster.endpoints[i];
    const auto standing = std::find_if(standings.begin(), standings.end(), [&](const auto& one) {
      return one.address == endpoint.address;
    });
    const bool has_address = endpoint.address.port != 0 && !endpoint.address.ip.is_unspecified();
    Json row = {{"address", endpoint.address.to_string()},
                {"pod", endpoint.pod_name},
                {"weight", endpoint.weight},
                {"labels", endpoint.labels},
                {"state", has_address ? "in service" : "unresolved"},
                {"by_hash", destination.hashed_endpoint == i}};
    bool is_out = false;
    if (standing != standings.end()) {
      row.update({{"state", standing->state},
                  {"reason", standing->reason},
                  {"until_unix_ns", standing->until_unix_ns},
                  {"ejections", standing->ejections}});
      is_out = standing->state == "ejected" || standing->state == "unhealthy";
    }
    row["out"] = (is_out && obeys) || !has_address;
    if (!is_out || !obeys) ++available;
    list.push_back(std::move(row));
  }
  const bool panic = policy::is_panic(cluster.outlier, available, cluster.endpoints.size());
  json["panic"] = panic;
  json["available"] = panic ? cluster.endpoints.size() : available;
  json["endpoints"] = std::move(list);
}

}  // namespace

Json destination_json(const policy::Explanation& explanation,
                      const policy::ExplainedDestination& destination, const ExplainLive& live) {
  Json json = {{"share_percent", destination.share * 100},
               {"weight", destination.target == nullptr ? 0 : destination.target->weight},
               {"fault", fault_json(explanation, destination)},
               {"checks", checks_json(destination, live.limits)}};
  const policy::Cluster* cluster = destination.cluster();
  if (cluster == nullptr) {
    json["cluster"] = "";
    return json;
  }
  json.update({{"cluster", cluster->name},
               {"host", cluster->host},
               {"subset", cluster->subset},
               {"port", cluster->port},
               {"as_dialled", cluster->original_destination},
               {"load_balancing", to_text(cluster->load_balancing.kind)},
               {"connect_timeout_ms", milliseconds_of(cluster->pool.connect_timeout)},
               {"limits", limits_json(explanation, *cluster, live.limits)}});
  if (cluster->shadow_limits) {
    json["shadow_limits"] = pool_json(cluster->shadow_limits->pool);
    json["shadow_limits"]["object"] = cluster->shadow_limits->object;
  }
  if (cluster->outlier) json["ejection"] = ejection_json(*cluster->outlier);
  if (cluster->shadow_outlier) json["shadow_ejection"] = ejection_json(*cluster->shadow_outlier);
  json["health_checked"] = cluster->health_check.has_value();
  if (!cluster->original_destination) add_endpoints(*cluster, destination, live.watch, json);
  return json;
}

}  // namespace np::control
