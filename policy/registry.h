// SPDX-License-Identifier: Apache-2.0
// Registry: services with their endpoints, put together from Service, Pod, StaticEndpoint and DNS
// answers. Control thread; lives during one compile() and borrows the Model.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/compile.h"
#include "policy/condition.h"
#include "policy/findings.h"
#include "policy/hash.h"

namespace np::policy {

struct ServiceRecord {
  const Service* service = nullptr;
  std::vector<std::vector<Endpoint>> endpoints;  // parallel to service->ports, by address
  std::vector<IpAddress> addresses;  // what clients dial: its own, else what its name resolves to
  std::vector<IpPrefix> prefixes;    // captured by prefix, host from Host (8.9)
  MemberSet members;                 // pods that belong to it, ready or not

  const ServicePort* find_port(uint16_t port) const;
  size_t port_index(const ServicePort& port) const {
    return static_cast<size_t>(&port - service->ports.data());
  }
  bool forwards_to_dialled() const { return service->resolution == Service::Resolution::kNone; }
};

class Registry {
 public:
  Registry(const CompileInput& input, IdTable& ids, Snapshot& snapshot, Findings& findings);

  // In order of age. One record per host: the oldest.
  const std::vector<std::unique_ptr<ServiceRecord>>& services() const { return records_; }
  // By exact name, else the longest wildcard host that covers it; null when unknown.
  const ServiceRecord* find(std::string_view host) const;
  // The pod that has this address, its node's address included; or null.
  const Pod* pod_at(const IpAddress& ip) const;

 private:
  void add_pods(Snapshot& snapshot);
  void add_service(const Service& service);
  void name_pod_services(Snapshot& snapshot);
  void add_members(ServiceRecord& record);
  void add_addresses(ServiceRecord& record);
  void add_endpoints(ServiceRecord& record, size_t port_index);
  void add_pod_endpoints(const ServiceRecord& record, const ServicePort& port,
                         std::map<SocketAddress, Endpoint>& out);
  void add_static_endpoints(const ServiceRecord& record, const ServicePort& port,
                            std::map<SocketAddress, Endpoint>& out);
  // Addresses of an IP text or DNS name; a name is noted for the resolver.
  std::vector<IpAddress> resolve(const std::string& name);
  // `own`: labels of the endpoint itself, over those of its pod.
  Endpoint make_endpoint(const SocketAddress& address, const Snapshot::PodEntry* pod,
                         const Labels& own = {});

  const Model& model_;
  const DnsAnswers* dns_;
  Instant now_;
  IdTable& ids_;
  Findings& findings_;
  std::set<std::string> dns_names_;
  std::vector<std::unique_ptr<ServiceRecord>> records_;
  std::unordered_map<std::string, const ServiceRecord*, TextHash, std::equal_to<>> by_host_;
  std::vector<const ServiceRecord*> wildcards_;  // longest host first
  std::unordered_map<std::string, std::vector<const Snapshot::PodEntry*>> pods_by_ns_;
  std::unordered_map<IpAddress, const Snapshot::PodEntry*, IpAddressHash> pod_by_any_ip_;
  std::unordered_map<std::string, std::vector<const StaticEndpoint*>> static_by_host_;
};

// The workload whose limits hold for what the pod asks for (D9): pods that carry the same name and
// version, by the labels that Istio reads too ("ns/reviews/v3"); a pod without such a name is a
// workload of its own. Pod::workload is filled in.
std::string workload_name(const Pod& pod);

// Ports whose bytes are opaque to us (encrypted, datagrams) are not captured.
bool is_captured(Protocol protocol);
bool speaks_http(Protocol protocol);  // known to, or found out by the connection (kAuto)
bool speaks_tcp(Protocol protocol);   // opaque bytes, or found out by the connection (kAuto)

}  // namespace np::policy
