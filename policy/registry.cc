// SPDX-License-Identifier: Apache-2.0
#include "policy/registry.h"

#include <algorithm>

#include "policy/route_table.h"

namespace np::policy {

namespace {

// 0.0.0.0/0 and ::/0 in the 16-byte form: a host without any fixed address is found by Host.
const IpPrefix kAllV4{IpAddress::v4(0, 0, 0, 0), 96};
const IpPrefix kAllV6{IpAddress{}, 0};

uint16_t target_port_of(const ServicePort& port) {
  return port.target_port != 0 ? port.target_port : port.port;
}

uint16_t pod_port(const ServicePort& port, const Pod& pod) {
  if (port.target_port_name.empty()) return target_port_of(port);
  const auto named = pod.named_ports.find(port.target_port_name);
  return named == pod.named_ports.end() ? 0 : named->second;
}

uint16_t static_port(const Service& service, const ServicePort& port,
                     const StaticEndpoint& endpoint) {
  if (endpoint.ports.empty()) return target_port_of(port);
  auto named = endpoint.ports.find(port.name);
  if (named == endpoint.ports.end() && service.ports.size() == 1) named = endpoint.ports.find("");
  return named == endpoint.ports.end() ? 0 : named->second;
}

template <typename T>
std::vector<const T*> by_age(const std::vector<T>& objects) {
  std::vector<const T*> out;
  for (const T& object : objects) out.push_back(&object);
  std::stable_sort(out.begin(), out.end(),
                   [](const T* a, const T* b) { return a->origin.sequence < b->origin.sequence; });
  return out;
}

// Of the service's primary family, as Kubernetes' own slices have it; a pod without one gives what
// it has.
const IpAddress& endpoint_ip(const Service& service, const Pod& pod) {
  const IpAddress& first = pod.ips.front();
  if (service.addresses.empty()) return first;
  const bool is_v4 = service.addresses.front().is_v4();
  const auto same = std::find_if(pod.ips.begin(), pod.ips.end(),
                                 [is_v4](const IpAddress& ip) { return ip.is_v4() == is_v4; });
  return same == pod.ips.end() ? first : *same;
}

}  // namespace

bool is_captured(Protocol protocol) {
  return speaks_http(protocol) || speaks_tcp(protocol);
}

bool speaks_http(Protocol protocol) {
  return protocol == Protocol::kHttp || protocol == Protocol::kHttp2 ||
         protocol == Protocol::kGrpc || protocol == Protocol::kAuto;
}

bool speaks_tcp(Protocol protocol) {
  return protocol == Protocol::kTcp || protocol == Protocol::kAuto;
}

const ServicePort* ServiceRecord::find_port(uint16_t port) const {
  for (const ServicePort& candidate : service->ports) {
    if (candidate.port == port) return &candidate;
  }
  return nullptr;
}

Registry::Registry(const CompileInput& input, IdTable& ids, Snapshot& snapshot, Findings& findings)
    : model_(*input.model), dns_(input.dns), now_(input.now), ids_(ids), findings_(findings) {
  add_pods(snapshot);
  for (const StaticEndpoint& endpoint : model_.endpoints) {
    static_by_host_[endpoint.host].push_back(&endpoint);
  }
  for (const Service* service : by_age(model_.services)) add_service(*service);
  name_pod_services(snapshot);
  std::stable_sort(wildcards_.begin(), wildcards_.end(),
                   [](const ServiceRecord* a, const ServiceRecord* b) {
                     return a->service->host.size() > b->service->host.size();
                   });
  snapshot.dns_names.assign(dns_names_.begin(), dns_names_.end());
}

void Registry::add_pods(Snapshot& snapshot) {
  for (const Pod* pod : by_age(model_.pods)) {
    auto entry = std::make_unique<Snapshot::PodEntry>();
    entry->pod = *pod;
    entry->pod.workload = workload_of(pod->labels, pod->name);
    entry->id = ids_.id(IdTable::Space::kPod, pod->ns + "/" + pod->name);
    entry->workload_id = ids_.id(IdTable::Space::kWorkload, workload_name(entry->pod));
    pods_by_ns_[pod->ns].push_back(entry.get());
    for (const IpAddress& ip : pod->ips) {
      pod_by_any_ip_.try_emplace(ip, entry.get());
      // The node's address says nothing about which of its pods is calling (R9).
      if (!pod->host_network) snapshot.pod_by_ip.try_emplace(ip, entry.get());
    }
    if (pod->host_network) {
      findings_.note(pod->origin, "uses the host's network: its calls are not captured");
    }
    snapshot.pods.push_back(std::move(entry));
  }
}

void Registry::add_service(const Service& service) {
  auto record = std::make_unique<ServiceRecord>();
  record->service = &service;
  const auto [found, inserted] = by_host_.try_emplace(service.host, record.get());
  if (!inserted) {
    findings_.inactive(service.origin,
                       "host " + service.host + " is already defined by " +
                           found->second->service->origin.to_string(),
                       Topic::kConflict);
    return;
  }
  add_members(*record);
  record->endpoints.resize(service.ports.size());
  for (size_t i = 0; i < service.ports.size(); ++i) add_endpoints(*record, i);
  add_addresses(*record);
  if (service.host.starts_with('*')) wildcards_.push_back(record.get());
  records_.push_back(std::move(record));
}

void Registry::add_members(ServiceRecord& record) {
  std::set<uint32_t> members;
  const Service& service = *record.service;
  if (!service.selector.empty()) {
    for (const Snapshot::PodEntry* entry : pods_by_ns_[service.ns]) {
      if (has_labels(entry->pod.labels, service.selector)) members.insert(entry->id);
    }
  }
  const auto fixed = static_by_host_.find(service.host);
  if (fixed != static_by_host_.end()) {
    for (const StaticEndpoint* endpoint : fixed->second) {
      const auto ip = IpAddress::parse(endpoint->address);
      const auto pod = ip ? pod_by_any_ip_.find(*ip) : pod_by_any_ip_.end();
      if (pod != pod_by_any_ip_.end()) members.insert(pod->second->id);
    }
  }
  record.members = std::make_shared<const std::vector<uint32_t>>(members.begin(), members.end());
}

// A pod of several services is of the one whose namespace/name comes first.
void Registry::name_pod_services(Snapshot& snapshot) {
  std::vector<const ServiceRecord*> ordered;
  for (const auto& record : records_) ordered.push_back(record.get());
  std::sort(ordered.begin(), ordered.end(), [](const ServiceRecord* a, const ServiceRecord* b) {
    const Origin& first = a->service->origin;
    const Origin& second = b->service->origin;
    return std::tie(first.ns, first.name, a->service->host) <
           std::tie(second.ns, second.name, b->service->host);
  });
  std::unordered_map<uint32_t, Pod*> pods;
  for (const auto& entry : snapshot.pods) pods.emplace(entry->id, &entry->pod);
  for (const ServiceRecord* record : ordered) {
    for (const uint32_t member : *record->members) {
      Pod& pod = *pods.at(member);
      if (pod.service.empty()) pod.service = record->service->host;
    }
  }
}

void Registry::add_addresses(ServiceRecord& record) {
  const Service& service = *record.service;
  record.addresses = service.addresses;
  record.prefixes = service.prefixes;
  if (!record.addresses.empty() || !record.prefixes.empty()) return;
  if (service.resolution == Service::Resolution::kCluster) return;  // headless
  if (record.forwards_to_dialled() || service.host.starts_with('*')) {
    record.prefixes = {kAllV4, kAllV6};
  } else {
    record.addresses = resolve(service.host);  // what the client's own look-up yields
  }
}

void Registry::add_endpoints(ServiceRecord& record, size_t port_index) {
  if (record.forwards_to_dialled()) return;
  const ServicePort& port = record.service->ports[port_index];
  std::map<SocketAddress, Endpoint> found;  // by address: the order must not depend on input order
  add_pod_endpoints(record, port, found);
  add_static_endpoints(record, port, found);
  for (auto& [address, endpoint] : found) {
    record.endpoints[port_index].push_back(std::move(endpoint));
  }
}

void Registry::add_pod_endpoints(const ServiceRecord& record, const ServicePort& port,
                                 std::map<SocketAddress, Endpoint>& out) {
  const Service& service = *record.service;
  if (service.selector.empty()) return;
  for (const Snapshot::PodEntry* entry : pods_by_ns_[service.ns]) {
    const Pod& pod = entry->pod;
    if (!pod.ready || pod.ips.empty() || !has_labels(pod.labels, service.selector)) continue;
    const uint16_t number = pod_port(port, pod);
    if (number == 0) {
      findings_.warning(
          service.origin,
          "pod " + pod.ns + "/" + pod.name + " has no port named " + port.target_port_name,
          Topic::kMissing);
      continue;
    }
    // One endpoint per pod, or it would get a double share.
    const SocketAddress address{endpoint_ip(service, pod), number};
    out.try_emplace(address, make_endpoint(address, entry));
  }
}

void Registry::add_static_endpoints(const ServiceRecord& record, const ServicePort& port,
                                    std::map<SocketAddress, Endpoint>& out) {
  const Service& service = *record.service;
  const auto fixed = static_by_host_.find(service.host);
  if (fixed == static_by_host_.end()) {
    if (service.resolution != Service::Resolution::kDns || service.host.starts_with('*')) return;
    for (const IpAddress& ip : resolve(service.host)) {
      const SocketAddress address{ip, target_port_of(port)};
      out.try_emplace(address, make_endpoint(address, nullptr));
    }
    return;
  }
  for (const StaticEndpoint* source : fixed->second) {
    const uint16_t number = static_port(service, port, *source);
    if (!source->ready || number == 0) continue;
    for (const IpAddress& ip : resolve(source->address)) {
      const SocketAddress address{ip, number};
      const auto pod = pod_by_any_ip_.find(ip);
      Endpoint endpoint = make_endpoint(
          address, pod == pod_by_any_ip_.end() ? nullptr : pod->second, source->labels);
      endpoint.weight = source->weight;
      out.try_emplace(address, std::move(endpoint));
    }
  }
}

std::vector<IpAddress> Registry::resolve(const std::string& name) {
  if (const auto ip = IpAddress::parse(name)) return {*ip};
  dns_names_.insert(name);
  if (dns_ == nullptr) return {};
  const auto answer = dns_->find(name);
  return answer == dns_->end() ? std::vector<IpAddress>() : answer->second;
}

Endpoint Registry::make_endpoint(const SocketAddress& address, const Snapshot::PodEntry* pod,
                                 const Labels& own) {
  Endpoint endpoint;
  endpoint.id = ids_.id(IdTable::Space::kEndpoint, address.to_string());
  endpoint.address = address;
  endpoint.joined = ids_.joined(endpoint.id, now_);
  if (pod != nullptr) {
    endpoint.pod_id = pod->id;
    endpoint.labels = pod->pod.labels;
    endpoint.pod_name = pod->pod.ns + "/" + pod->pod.name;
    endpoint.workload = pod->pod.workload;
  }
  if (own.empty()) return endpoint;
  for (const auto& [key, value] : own) endpoint.labels[key] = value;
  endpoint.workload = workload_of(endpoint.labels, pod != nullptr ? pod->pod.name : "");
  return endpoint;
}

const ServiceRecord* Registry::find(std::string_view host) const {
  const auto exact = by_host_.find(host);
  if (exact != by_host_.end()) return exact->second;
  for (const ServiceRecord* record : wildcards_) {
    if (host_covers(record->service->host, host)) return record;
  }
  return nullptr;
}

const Pod* Registry::pod_at(const IpAddress& ip) const {
  const auto found = pod_by_any_ip_.find(ip);
  return found == pod_by_any_ip_.end() ? nullptr : &found->second->pod;
}

std::string workload_name(const Pod& pod) {
  if (pod.workload.app.empty()) return pod.ns + "//" + pod.name;
  return pod.ns + "/" + pod.workload.app + "/" + pod.workload.version;
}

}  // namespace np::policy
