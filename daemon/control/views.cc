// SPDX-License-Identifier: Apache-2.0
#include "control/views.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "control/resource_name.h"

namespace np::control {
namespace {

constexpr std::string_view kClusterSuffix = ".svc.cluster.local";

// ---- objects --------------------------------------------------------------------------------

// The kinds that a comma-separated text names; nothing when one of them is unknown.
bool find_kinds(const std::string& text, std::vector<const policy::KindInfo*>& kinds,
                std::string& unknown) {
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    if (part == "all") {
      for (const policy::KindInfo& kind : policy::known_kinds()) kinds.push_back(&kind);
      continue;
    }
    const policy::KindInfo* kind = policy::find_kind(part);
    if (kind == nullptr) {
      unknown = part;
      return false;
    }
    kinds.push_back(kind);
  }
  return true;
}

bool is_of(const policy::Object& object, const policy::KindInfo& kind) {
  return object.id.kind == kind.kind && object.id.group == kind.group;
}

Json describe(const policy::Object& object, const ObjectStatus& status) {
  return {{"resource", resource_name(object.id)},
          {"group", object.id.group},
          {"kind", object.id.kind},
          {"namespace", object.id.ns},
          {"name", object.id.name},
          {"api_version", object.api_version},
          {"text", object.text},
          {"file", object.file},
          {"line", object.line},
          {"generation", object.generation},
          {"sequence", object.sequence},
          {"created_unix_ns", object.created_unix_ns},
          {"status", to_text(status)},
          {"reason", status.reason},
          {"warnings", status.warnings},
          {"hosts", status.hosts}};
}

std::string not_found(const policy::KindInfo& kind, const std::string& name) {
  return resource_type({std::string(kind.group), std::string(kind.kind), "", ""}) + " \"" + name +
         "\" not found";
}

// ---- endpoints ------------------------------------------------------------------------------

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
  return row.endpoint.address.ip.is_unspecified() ? "unresolved" : "ready";
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
               {"state", state_of(row)}});
  return json;
}

}  // namespace

std::string unknown_kind(std::string_view text) {
  return "the daemon has no resource type \"" + std::string(text) + "\"";
}

Json view_objects(const Controller& controller, const ObjectQuery& query) {
  std::vector<const policy::KindInfo*> kinds;
  std::string unknown;
  if (!find_kinds(query.kind, kinds, unknown)) return refusal(unknown_kind(unknown));
  Json list = Json::array();
  Json missing = Json::array();
  std::set<std::string> found;
  for (const policy::KindInfo* kind : kinds) {
    for (const policy::Object& object : controller.store().objects()) {
      if (!is_of(object, *kind)) continue;
      const bool in_namespace =
          query.all_namespaces || !kind->namespaced || object.id.ns == query.ns;
      if (!in_namespace) continue;
      const bool named = query.names.empty() ||
                         std::count(query.names.begin(), query.names.end(), object.id.name) > 0;
      if (!named) continue;
      found.insert(object.id.name);
      list.push_back(describe(object, controller.statuses().of(object.id)));
    }
  }
  for (const std::string& name : query.names) {
    if (!found.contains(name)) missing.push_back(not_found(*kinds.front(), name));
  }
  return {{"ok", true}, {"objects", std::move(list)}, {"missing", std::move(missing)}};
}

Json view_pods(const Controller& controller) {
  Json list = Json::array();
  for (const PodReport& pod : controller.pods().reports(controller.model())) {
    Json ips = Json::array();
    for (const IpAddress& ip : pod.ips) ips.push_back(ip.to_string());
    list.push_back({{"namespace", pod.ns},
                    {"name", pod.name},
                    {"ips", std::move(ips)},
                    {"ifname", pod.ifname},
                    {"labels", pod.labels},
                    {"hook", pod.hook},
                    {"captured_since_unix_ns", pod.captured_since_unix_ns},
                    {"status", pod.status}});
  }
  return {{"ok", true}, {"pods", std::move(list)}};
}

Json view_endpoints(const Controller& controller, const std::string& service,
                    const std::string& ns) {
  const EndpointRows rows = endpoint_rows(controller, service, ns);
  if (rows.empty() && !service.empty()) return refusal("service \"" + service + "\" not found");
  Json list = Json::array();
  for (const auto& [key, row] : rows) list.push_back(to_json(key, row, ns));
  return {{"ok", true}, {"endpoints", std::move(list)}};
}

}  // namespace np::control
