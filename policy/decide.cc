// SPDX-License-Identifier: Apache-2.0
#include "policy/decide.h"

namespace np::policy {

namespace {

struct Passthrough {
  Cluster cluster;
  Route route;
  Passthrough() {
    cluster.name = "passthrough";
    cluster.original_destination = true;
    route.name = "passthrough";
    route.clusters.push_back(
        {.cluster = &cluster, .weight = 1, .request_headers = {}, .response_headers = {}});
    route.total_weight = 1;
  }
};

bool begins_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         equals_ignoring_case(text.substr(0, prefix.size()), prefix);
}

}  // namespace

bool is_untrusted_field(std::string_view name, bool gateway) {
  if (name.empty()) return true;
  switch (ascii_lower(name.front())) {
    case 'f':
      return equals_ignoring_case(name, "forwarded");
    case 'x':
      return begins_with(name, "x-forwarded-") ||
             (gateway && (begins_with(name, "x-envoy-") || begins_with(name, "x-nodectl-")));
    default:
      return false;
  }
}

Way find_captured_way(const Snapshot& snapshot, const SocketAddress& local,
                      std::string_view authority) {
  Way way;
  way.port = snapshot.find_captured(local);
  way.is_covered = way.port != nullptr;
  if (way.port == nullptr) return way;
  way.table =
      way.port->by_host != nullptr ? way.port->by_host->find(authority) : way.port->http_routes;
  return way;
}

Way find_opaque_way(const Snapshot& snapshot, const SocketAddress& local) {
  Way way;
  way.port = snapshot.find_captured(local);
  way.is_covered = way.port != nullptr;
  if (way.port != nullptr) way.table = way.port->tcp_routes;
  return way;
}

Way find_gateway_way(const Snapshot& snapshot, const SocketAddress& local,
                     std::string_view authority) {
  Way way;
  way.listener = snapshot.find_listener(local);
  if (way.listener != nullptr && way.listener->hosts != nullptr) {
    way.table = way.listener->hosts->find(authority);
  }
  return way;
}

CallerView captured_caller(const Snapshot& snapshot, const IpAddress& peer) {
  CallerView caller;
  caller.ip = peer;
  const Snapshot::PodEntry* entry = snapshot.find_pod(peer);
  if (entry == nullptr) return caller;
  caller.pod = &entry->pod;
  caller.pod_id = entry->id;
  caller.workload_id = entry->workload_id;
  return caller;
}

CallerView gateway_caller(const Way& way, const IpAddress& peer) {
  CallerView caller;
  caller.ip = peer;
  if (way.listener == nullptr) return caller;
  caller.gateway = way.listener->gateway;
  caller.workload_id = way.listener->workload_id;
  return caller;
}

const Route& passthrough_route() {
  static const Passthrough instance;
  return instance.route;
}

RouteMatch find_route(const Way& way, const RequestView& request, const CallerView& caller) {
  if (!way.is_covered) return {&passthrough_route(), static_cast<uint32_t>(request.path.size())};
  return way.table == nullptr ? RouteMatch{} : way.table->match(request, caller);
}

std::optional<uint64_t> sticky_point(const Route& route, const RequestView& request,
                                     const CallerView& caller) {
  if (route.sticky == nullptr) return std::nullopt;
  const auto hash = request_hash(route.sticky->balancing, request, caller);
  if (!hash) return std::nullopt;
  // Scaled, not reduced: a point moves with the weights, and few change sides.
  const auto wide = static_cast<unsigned __int128>(*hash ^ route.sticky->salt);
  return static_cast<uint64_t>((wide * route.total_weight) >> 64U);
}

const WeightedCluster* cluster_at(const Route& route, uint64_t point) {
  if (route.clusters.empty()) return nullptr;
  if (!is_split(route)) return &route.clusters.front();
  const WeightedCluster* choice = nullptr;
  for (const WeightedCluster& candidate : route.clusters) {
    choice = &candidate;
    if (point < candidate.weight) break;
    point -= candidate.weight;
  }
  return choice;
}

std::optional<bool> answers_preflight(const Route& route, const RequestView& request) {
  if (!route.cors || request.method != "OPTIONS") return std::nullopt;
  const Field* origin = find_field(request.fields, "origin");
  if (origin == nullptr || find_field(request.fields, "access-control-request-method") == nullptr) {
    return std::nullopt;
  }
  const bool is_allowed = cors_allows(route, origin->value);
  if (!is_allowed && route.cors->forward_unmatched_preflights) return std::nullopt;
  return is_allowed;
}

}  // namespace np::policy
