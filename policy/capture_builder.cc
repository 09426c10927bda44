// SPDX-License-Identifier: Apache-2.0
#include "policy/capture_builder.h"

#include <algorithm>

namespace np::policy {

namespace {

// A prefix that stands for "somewhere": its owner is one of many hosts behind it.
bool is_everything(const IpPrefix& prefix) {
  return prefix.length == 0 || (prefix.length == 96 && prefix.ip == IpAddress::v4(0, 0, 0, 0));
}

}  // namespace

void CaptureBuilder::build() {
  for (const auto& record : registry_.services()) {
    for (const ServicePort& port : record->service->ports) {
      if (!is_captured(port.protocol)) continue;
      Item item{record.get(), &port, tables_.port_tables(record->service->host, *record, port)};
      item.captured = add_port(item, item.tables.http, item.tables.tcp, nullptr);
      items_.push_back(item);
    }
  }
  claim_addresses();
  claim_endpoints();
  claim_prefixes();
}

const CapturedPort* CaptureBuilder::add_port(const Item& item, const RouteTable* http,
                                             const RouteTable* tcp, const HostTable* by_host) {
  auto captured = std::make_unique<CapturedPort>();
  const Service& service = *item.record->service;
  captured->host = service.host;
  captured->ns = service.ns;
  captured->port = item.port->port;
  captured->protocol = item.port->protocol;
  captured->service_id =
      ids_.id(IdTable::Space::kService, service.host + ":" + std::to_string(item.port->port));
  captured->http_routes = by_host == nullptr ? http : nullptr;
  captured->tcp_routes = tcp;
  captured->by_host = by_host;
  snapshot_.captured_ports.push_back(std::move(captured));
  return snapshot_.captured_ports.back().get();
}

void CaptureBuilder::add_entry(const SocketAddress& address, const Item& item,
                               const CapturedPort* captured) {
  if (!snapshot_.by_address.try_emplace(address, captured).second) return;
  snapshot_.capture_entries.push_back(
      {address, captured->service_id, item.record->service->fail_mode, captured->host});
}

void CaptureBuilder::claim_addresses() {
  std::map<SocketAddress, std::vector<const Item*>> claims;
  for (const Item& item : items_) {
    for (const IpAddress& ip : item.record->addresses) {
      claims[{ip, item.port->port}].push_back(&item);
    }
  }
  for (const auto& [address, claimants] : claims) {
    const Item& first = *claimants.front();
    const bool by_host = claimants.size() > 1 &&
                         std::all_of(claimants.begin(), claimants.end(), [](const Item* item) {
                           return item->record->service->external && item->tables.http != nullptr;
                         });
    add_entry(address, first, by_host ? shared_port(claimants) : first.captured);
    for (size_t i = 1; !by_host && i < claimants.size(); ++i) {
      findings_.warning(claimants[i]->record->service->origin,
                        "address " + address.to_string() + " belongs to " +
                            first.record->service->origin.to_string() + " already",
                        Topic::kConflict);
    }
  }
}

const CapturedPort* CaptureBuilder::shared_port(const std::vector<const Item*>& claims) {
  const auto [found, inserted] = shared_.try_emplace(claims);
  if (!inserted) return found->second;
  auto names = std::make_shared<HostNames>();
  for (const Item* item : claims) names->add(item->record->service->host, item->tables.http);
  found->second = add_port(*claims.front(), nullptr, claims.front()->tables.tcp,
                           tables_.keep(std::move(names), tables_.passthrough()));
  return found->second;
}

// A call to an endpoint's own address (headless service, pod address) is under the service's rules
// too (R14); where they are silent it goes to that endpoint and no other.
void CaptureBuilder::claim_endpoints() {
  for (const Item& item : items_) {
    const auto& endpoints = item.record->endpoints[item.record->port_index(*item.port)];
    const CapturedPort* captured = nullptr;
    for (const Endpoint& endpoint : endpoints) {
      std::vector<IpAddress> addresses{endpoint.address.ip};
      if (const Pod* pod = registry_.pod_at(endpoint.address.ip)) addresses = pod->ips;
      for (const IpAddress& ip : addresses) {
        const SocketAddress address{ip, endpoint.address.port};
        if (snapshot_.by_address.contains(address)) continue;
        if (captured == nullptr) {
          captured = add_port(item, item.tables.http_dialled, item.tables.tcp_dialled, nullptr);
        }
        add_entry(address, item, captured);
      }
    }
  }
}

// The hosts that Host may name on a port: those captured by prefix, and every external one, since
// a client may have been given an address of it that we have not seen.
std::shared_ptr<const HostNames> CaptureBuilder::names_of_port(uint16_t port) {
  const auto [found, inserted] = names_.try_emplace(port);
  if (!inserted) return found->second;
  auto names = std::make_shared<HostNames>();
  for (const Item& item : items_) {
    const Service& service = *item.record->service;
    if (item.port->port != port || item.tables.http == nullptr) continue;
    if (item.record->prefixes.empty() && !service.external) continue;
    names->add(service.host, item.tables.http);
    if (!service.host.starts_with('*')) continue;
    for (const std::string& host : sets_.hosts_within(service.host)) {
      if (host.starts_with('*') || registry_.find(host) != item.record) continue;
      names->add(host, tables_.port_tables(host, *item.record, *item.port).http);
    }
  }
  found->second = names;
  return names;
}

const CapturedPort* CaptureBuilder::prefix_port(const IpPrefix& prefix,
                                                const std::vector<const Item*>& claims) {
  const auto http = std::find_if(claims.begin(), claims.end(),
                                 [](const Item* item) { return item->tables.http != nullptr; });
  const auto tcp = std::find_if(claims.begin(), claims.end(),
                                [](const Item* item) { return item->tables.tcp != nullptr; });
  const HostTable* by_host = nullptr;
  if (http != claims.end()) {
    by_host = tables_.keep(names_of_port((*http)->port->port),
                           is_everything(prefix) ? tables_.passthrough() : (*http)->tables.http);
  }
  Item item = *claims.front();
  ServicePort port = *item.port;
  if (http != claims.end() && tcp != claims.end()) port.protocol = Protocol::kAuto;
  item.port = &port;
  return add_port(item, nullptr, tcp == claims.end() ? nullptr : (*tcp)->tables.tcp, by_host);
}

void CaptureBuilder::claim_prefixes() {
  std::map<std::pair<IpPrefix, uint16_t>, std::vector<const Item*>> claims;
  for (const Item& item : items_) {
    for (const IpPrefix& prefix : item.record->prefixes) {
      claims[{prefix, item.port->port}].push_back(&item);
    }
  }
  for (const auto& [key, claimants] : claims) {
    const auto& [prefix, port] = key;
    const CapturedPort* captured = prefix_port(prefix, claimants);
    const CapturePrefix entry{prefix, port, captured->service_id,
                              claimants.front()->record->service->fail_mode, captured->host};
    snapshot_.capture_prefixes.push_back(entry);
    snapshot_.by_prefix.emplace_back(entry, captured);
  }
  std::stable_sort(
      snapshot_.by_prefix.begin(), snapshot_.by_prefix.end(),
      [](const auto& a, const auto& b) { return a.first.prefix.length > b.first.prefix.length; });
}

}  // namespace np::policy
