// SPDX-License-Identifier: Apache-2.0
#include "policy/gateway_builder.h"

#include <algorithm>

namespace np::policy {

namespace {

// "ns/host" of a server: "*" any namespace, "." the Gateway's own; no namespace: any.
bool namespace_fits(std::string_view server_host, const Gateway& gateway, const RouteSet& set) {
  const size_t slash = server_host.find('/');
  if (slash == std::string_view::npos) return true;
  const std::string_view ns = server_host.substr(0, slash);
  return ns == "*" || ns == set.origin.ns || (ns == "." && gateway.origin.ns == set.origin.ns);
}

std::string_view without_namespace(std::string_view server_host) {
  const size_t slash = server_host.find('/');
  return slash == std::string_view::npos ? server_host : server_host.substr(slash + 1);
}

// The names that both cover; empty when there is none.
std::string_view narrower(std::string_view a, std::string_view b) {
  if (host_covers(a, b)) return b;
  return host_covers(b, a) ? a : std::string_view();
}

}  // namespace

void GatewayBuilder::build() {
  open_listeners();
  for (const RouteSet* set : sets_.on_gateways()) bind_set(*set);
  for (const Listener& listener : listeners_) {
    const uint32_t workload_id = ids_.id(IdTable::Space::kWorkload, "gateway " + listener.gateway);
    snapshot_.listeners.push_back(
        {listener.bind, listener.gateway, workload_id, build_hosts(listener)});
  }
}

void GatewayBuilder::open_listeners() {
  std::vector<const Gateway*> by_age;
  for (const Gateway& gateway : model_.gateways) by_age.push_back(&gateway);
  std::stable_sort(by_age.begin(), by_age.end(), [](const Gateway* a, const Gateway* b) {
    return a->origin.sequence < b->origin.sequence;
  });
  std::map<SocketAddress, size_t> by_bind;
  for (const Gateway* gateway : by_age) {
    const std::string name = gateway->origin.ns + "/" + gateway->origin.name;
    std::vector<ServerRef>& servers = servers_[name];
    for (const GatewayServer& server : gateway->servers) {
      const auto ip = server.bind.empty() ? IpAddress{} : IpAddress::parse(server.bind);
      if (!ip) {
        findings_.warning(gateway->origin, "bind is no IP address: " + server.bind);
        continue;
      }
      const SocketAddress bind{*ip, server.port};
      const auto [found, inserted] = by_bind.try_emplace(bind, listeners_.size());
      if (inserted) listeners_.push_back({bind, name, {}});
      servers.push_back({gateway, &server, found->second});
    }
  }
}

void GatewayBuilder::bind_set(const RouteSet& set) {
  if (set.api == RouteSet::Api::kVirtualService) tables_.report_unreachable({&set});
  for (const std::string& name : set.gateways) {
    if (name == "mesh") continue;
    const auto servers = servers_.find(name);
    if (servers == servers_.end()) {
      findings_.warning(set.origin, "no Gateway " + name + " is known: nothing comes in by it",
                        Topic::kMissing);
      continue;
    }
    for (const std::string& host : set.hosts) {
      bool bound = false;
      for (const ServerRef& server : servers->second) {
        bound = bind_host(set, host, server, name) || bound;
      }
      if (!bound) {
        findings_.warning(set.origin, "no server of Gateway " + name + " takes host " + host,
                          Topic::kMissing);
      }
    }
  }
}

bool GatewayBuilder::bind_host(const RouteSet& set, const std::string& host,
                               const ServerRef& server, const std::string& gateway) {
  bool bound = false;
  for (const std::string& offered : server.server->hosts) {
    if (!namespace_fits(offered, *server.gateway, set)) continue;
    const std::string_view common = narrower(without_namespace(offered), host);
    if (common.empty()) continue;
    bound = true;
    auto& bindings = listeners_[server.listener].hosts[std::string(common)];
    // Sets arrive one after the other, so an earlier binding of this one is the last.
    if (bindings.empty() || bindings.back().set != &set) bindings.push_back({&set, {}});
    auto& names = bindings.back().gateways;
    if (std::find(names.begin(), names.end(), gateway) == names.end()) names.push_back(gateway);
  }
  return bound;
}

const HostTable* GatewayBuilder::build_hosts(const Listener& listener) {
  auto names = std::make_shared<HostNames>();
  for (const auto& [host, bindings] : listener.hosts) {
    bool by_precedence_list = true;
    for (const Binding& binding : bindings) {
      by_precedence_list = by_precedence_list && binding.set->api == RouteSet::Api::kHttpRoute;
      routes_.add_rules(*binding.set, RouteBuilder::Kind::kHttp,
                        {nullptr, listener.bind.port, binding.gateways});
    }
    names->add(host,
               tables_.keep({{{}, routes_.take_index(by_precedence_list), nullptr}}, nullptr));
  }
  return tables_.keep(std::move(names), nullptr);
}

}  // namespace np::policy
