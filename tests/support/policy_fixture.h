// SPDX-License-Identifier: Apache-2.0
// PolicyFixture: a Snapshot put together by hand, for tests of the engine that must not depend on
// loaders and compiler. Routes are tried in order; a route matches by path prefix.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/snapshot.h"

namespace np::test {

class PrefixTable : public policy::RouteTable {
 public:
  policy::RouteMatch match(const policy::RequestView& request,
                           const policy::CallerView&) const override {
    for (const auto& [prefix, route] : entries) {
      if (request.path.starts_with(prefix)) {
        return {route, static_cast<uint32_t>(prefix.size())};
      }
    }
    return {};
  }
  std::vector<std::pair<std::string, const policy::Route*>> entries;
};

class OneHostTable : public policy::HostTable {
 public:
  const policy::RouteTable* find(std::string_view authority) const override {
    return only.empty() || authority == only ? table : nullptr;
  }
  std::string only;  // empty: every host
  const policy::RouteTable* table = nullptr;
};

class PolicyFixture {
 public:
  PolicyFixture() : snapshot(std::make_shared<policy::Snapshot>()) { snapshot->generation = 1; }

  policy::Cluster& add_cluster(const std::string& name, std::vector<std::string> addresses) {
    auto cluster = std::make_unique<policy::Cluster>();
    cluster->id = static_cast<uint32_t>(snapshot->clusters.size() + 1);
    cluster->name = name;
    uint32_t id = cluster->id * 100;
    for (const std::string& address : addresses) {
      policy::Endpoint endpoint;
      endpoint.id = ++id;
      endpoint.address = SocketAddress::parse(address).value();
      cluster->endpoints.push_back(endpoint);
    }
    snapshot->clusters.push_back(std::move(cluster));
    return *snapshot->clusters.back();
  }

  policy::Route& add_route(const policy::Cluster* cluster) {
    auto route = std::make_unique<policy::Route>();
    route->id = static_cast<uint32_t>(snapshot->routes.size() + 1);
    route->name = "route-" + std::to_string(route->id);
    policy::WeightedCluster weighted;
    weighted.cluster = cluster;
    weighted.weight = 1;
    route->clusters.push_back(weighted);
    route->total_weight = 1;
    snapshot->routes.push_back(std::move(route));
    return *snapshot->routes.back();
  }

  PrefixTable& add_table() {
    auto table = std::make_unique<PrefixTable>();
    PrefixTable& result = *table;
    snapshot->route_tables.push_back(std::move(table));
    return result;
  }

  // Requests dialled at `address` use `table`.
  policy::CapturedPort& capture(const std::string& address, const policy::RouteTable* table,
                                policy::Protocol protocol = policy::Protocol::kHttp) {
    auto port = std::make_unique<policy::CapturedPort>();
    const SocketAddress dialled = SocketAddress::parse(address).value();
    port->service_id = static_cast<uint32_t>(snapshot->captured_ports.size() + 1);
    port->port = dialled.port;
    port->protocol = protocol;
    if (protocol == policy::Protocol::kTcp) {
      port->tcp_routes = table;
    } else {
      port->http_routes = table;
    }
    snapshot->by_address[dialled] = port.get();
    snapshot->captured_ports.push_back(std::move(port));
    return *snapshot->captured_ports.back();
  }

  void listen(const std::string& address, const policy::RouteTable* table,
              const std::string& host = "") {
    auto hosts = std::make_unique<OneHostTable>();
    hosts->only = host;
    hosts->table = table;
    policy::GatewayListener listener;
    listener.bind = SocketAddress::parse(address).value();
    listener.gateway = "default/gateway";
    listener.hosts = hosts.get();
    snapshot->listeners.push_back(listener);
    snapshot->host_tables.push_back(std::move(hosts));
  }

  std::shared_ptr<policy::Snapshot> snapshot;
};

}  // namespace np::test
