// SPDX-License-Identifier: Apache-2.0
#include "control/endpoint_view.h"

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

namespace np::control {
namespace {

constexpr std::string_view kClusterSuffix = ".svc.cluster.local";

bool names_host(const std::string& service, const std::string& ns, const std::string& host) {
  if (service.empty() || service == host) return true;
  if (service + std::string(kClusterSuffix) == host) return true;
  return service + "." + ns + std::string(kClusterSuffix) == host;
}

std::string short_host(const std::string& host, const std::string& ns) {
  if (!host.ends_with(kClusterSuffix)) return host;
  std::string text = host.substr(0, host.size() - kClusterSuffix.size());
  if (text.ends_with("." + ns)) text.resize(text.size() - ns.size() - 1);
  return text;
}

struct EndpointRow {
  policy::Endpoint endpoint;
  bool is_empty = false;    // stands for a service without endpoints
  bool is_dialled = false;  // stands for "the address that was dialled"
  bool can_be_ejected = false;
  EndpointStanding standing;
  std::set<std::string> subsets;
};
using RowKey = std::tuple<std::string, uint16_t, std::string>;  // host, port, address
using EndpointRows = std::map<RowKey, EndpointRow>;

void add_cluster(const policy::Cluster& cluster, EndpointRows& rows) {
  // The way to one endpoint that is dialled by its own address: its service's row stands for it.
  if (cluster.name.starts_with("original-dst|")) return;
  if (cluster.endpoints.empty() && cluster.subset.empty()) {
    EndpointRow& row = rows[{cluster.host, cluster.port, ""}];
    row.is_dialled = cluster.original_destination;
    row.is_empty = !row.is_dialled;
  }
  for (const policy::Endpoint& endpoint : cluster.endpoints) {
    EndpointRow& row = rows[{cluster.host, cluster.port, endpoint.address.to_string()}];
    row.endpoint = endpoint;
    if (!cluster.subset.empty()) row.subsets.insert(cluster.subset);
    row.can_be_ejected |= cluster.outlier.has_value() || cluster.shadow_outlier.has_value() ||
                          cluster.health_check.has_value();
  }
}

// All endpoints come from the registry; the subsets that rules use, from the policy in effect.
EndpointRows endpoint_rows(const Controller& controller, const std::string& service,
                           const std::string& ns) {
  EndpointRows rows;
  const auto registry = controller.compile_registry();
  for (const policy::Snapshot* snapshot :
       std::array<const policy::Snapshot*, 2>{registry.get(), &controller.snapshot()}) {
    for (const auto& cluster : snapshot->clusters) {
      if (cluster->host.empty() || !names_host(service, ns, cluster->host)) continue;
      add_cluster(*cluster, rows);
    }
  }
  return rows;
}

std::string state_of(const EndpointRow& row) {
  if (row.is_dialled) return "as dialled";
  if (row.is_empty) return "no endpoints";
  if (row.endpoint.address.ip.is_unspecified()) return "unresolved";
  // An ejection stands in the records while no policy asks for it, but keeps nobody away.
  if (!row.can_be_ejected || row.standing.state.empty() || row.standing.state == "in service") {
    return "ready";
  }
  return row.standing.state;
}

Json to_json(const RowKey& key, const EndpointRow& row, const std::string& ns) {
  std::string subsets;
  for (const std::string& subset : row.subsets) subsets += (subsets.empty() ? "" : ",") + subset;
  Json json = {{"service", short_host(std::get<0>(key), ns)},
               {"host", std::get<0>(key)},
               {"port", std::get<1>(key)},
               {"subset", subsets}};
  const bool has_address = !row.is_empty && !row.is_dialled;
  json.update({{"address", has_address ? std::get<2>(key) : ""},
               {"pod", row.endpoint.pod_name},
               {"weight", has_address ? row.endpoint.weight : 0},
               {"labels", row.endpoint.labels},
               {"state", state_of(row)},
               {"reason", row.standing.reason},
               {"since_unix_ns", row.standing.since_unix_ns},
               {"until_unix_ns", row.standing.until_unix_ns},
               {"ejections", row.standing.ejections},
               {"unanswered", row.standing.unanswered},
               {"failures", row.standing.failures}});
  return json;
}

// Where the clusters of a host and port are kept by the shards.
std::map<std::pair<std::string, uint16_t>, uint32_t> service_ids(const policy::Snapshot& snapshot) {
  std::map<std::pair<std::string, uint16_t>, uint32_t> ids;
  for (const auto& cluster : snapshot.clusters)
    ids[{cluster->host, cluster->port}] = cluster->service_id;
  return ids;
}

void add_standings(const policy::Snapshot& snapshot, EndpointWatch& watch, EndpointRows& rows) {
  const auto ids = service_ids(snapshot);
  std::map<uint32_t, std::vector<EndpointStanding>> known;
  for (auto& [key, row] : rows) {
    const auto id = ids.find({std::get<0>(key), std::get<1>(key)});
    if (id == ids.end()) continue;
    const auto [found, is_new] = known.try_emplace(id->second);
    if (is_new) found->second = watch.standing(id->second);
    for (const EndpointStanding& standing : found->second) {
      if (standing.address == row.endpoint.address) row.standing = standing;
    }
  }
}

}  // namespace

Json view_endpoints(const Controller& controller, EndpointWatch* watch, const std::string& service,
                    const std::string& ns) {
  EndpointRows rows = endpoint_rows(controller, service, ns);
  if (rows.empty() && !service.empty()) return refusal("service \"" + service + "\" not found");
  if (watch != nullptr) add_standings(controller.snapshot(), *watch, rows);
  Json list = Json::array();
  for (const auto& [key, row] : rows) list.push_back(to_json(key, row, ns));
  return {{"ok", true}, {"endpoints", std::move(list)}};
}

Json uneject_endpoint(const Controller& controller, EndpointWatch* watch,
                      const std::string& service, const std::string& ns,
                      const std::string& address) {
  if (watch == nullptr) return refusal("this daemon ejects nobody");
  const auto wanted = SocketAddress::parse(address);
  const auto ip = IpAddress::parse(address);
  if (!wanted && !ip) {
    return refusal("ADDR: found \"" + address +
                   "\"; allowed: ADDRESS:PORT or ADDRESS, as `nodectl "
                   "endpoints " +
                   service + "` shows it");
  }
  bool knows_service = false;
  uint32_t count = 0;
  for (const auto& [key, id] : service_ids(controller.snapshot())) {
    if (!names_host(service, ns, key.first)) continue;
    knows_service = true;
    for (const EndpointStanding& standing : watch->standing(id)) {
      const bool is_it = wanted ? standing.address == *wanted : standing.address.ip == *ip;
      if (is_it && watch->uneject(id, standing.address)) ++count;
    }
  }
  if (!knows_service) return refusal("service \"" + service + "\" not found");
  if (count == 0) return refusal(address + " of service \"" + service + "\" is not ejected");
  return {{"ok", true}, {"count", count}};
}

std::string service_text(const policy::Snapshot& snapshot, uint32_t service_id) {
  for (const auto& cluster : snapshot.clusters) {
    if (cluster->service_id == service_id) {
      return cluster->host + ":" + std::to_string(cluster->port);
    }
  }
  return "service " + std::to_string(service_id);
}

}  // namespace np::control
