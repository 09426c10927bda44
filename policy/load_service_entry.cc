// SPDX-License-Identifier: Apache-2.0
// ServiceEntry of networking.istio.io (traffic-semantics 2.3): one Service per host.
#include <algorithm>
#include <set>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

using Resolution = Service::Resolution;

Protocol read_entry_protocol(const Value& value, const std::string& port_name) {
  if (!value.present()) return protocol_by_name(port_name);
  auto at = value.choice({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO",
                          "MYSQL", "REDIS", "UDP"});
  if (!at) return Protocol::kAuto;
  constexpr Protocol kProtocols[] = {Protocol::kHttp, Protocol::kHttp2, Protocol::kGrpc,
                                     Protocol::kHttp, Protocol::kHttps, Protocol::kTls,
                                     Protocol::kTcp,  Protocol::kTcp,   Protocol::kTcp,
                                     Protocol::kTcp,  Protocol::kUdp};
  return kProtocols[*at];
}

std::vector<ServicePort> read_ports(const Value& list) {
  std::vector<ServicePort> ports;
  std::set<std::string> names;
  std::set<uint16_t> numbers;
  std::vector<Value> items = list.items();
  if (list.present() && items.empty()) list.error("at least one port is required");
  for (const Value& item : items) {
    Fields fields(item);
    ServicePort port;
    port.port = read_port(fields.require("number")).value_or(0);
    port.name = fields.require("name").non_empty_string().value_or("");
    port.protocol = read_entry_protocol(fields.get("protocol"), port.name);
    port.target_port = read_port(fields.get("targetPort")).value_or(0);
    if (port.port != 0 && !numbers.insert(port.port).second) {
      item.error("two ports have this number", std::to_string(port.port));
    }
    if (!port.name.empty() && !names.insert(port.name).second) {
      item.error("two ports have this name", shown(port.name));
    }
    ports.push_back(std::move(port));
  }
  return ports;
}

void read_addresses(const Value& list, Resolution resolution, Service& service) {
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (!text) continue;
    if (auto ip = IpAddress::parse(*text)) {
      service.addresses.push_back(*ip);
      continue;
    }
    auto prefix = IpPrefix::parse(*text);
    if (!prefix) {
      item.error("not an address or CIDR block", shown(*text), "for example 10.1.0.0/16");
    } else if (resolution == Resolution::kDns) {
      item.error("a CIDR block goes only with resolution NONE or STATIC", shown(*text));
    } else {
      service.prefixes.push_back(*prefix);
    }
  }
}

std::map<std::string, uint16_t> read_endpoint_ports(const Value& map,
                                                    const std::vector<ServicePort>& known) {
  std::map<std::string, uint16_t> ports;
  for (const Value& entry : map.entries()) {
    auto number = read_port(entry);
    bool found = std::any_of(known.begin(), known.end(),
                             [&](const ServicePort& port) { return port.name == entry.key(); });
    if (!found) entry.error("no port of this ServiceEntry has this name", shown(entry.key()));
    if (number) ports[entry.key()] = *number;
  }
  return ports;
}

std::vector<StaticEndpoint> read_endpoints(const Value& list, Resolution resolution,
                                           const std::vector<ServicePort>& ports,
                                           const LoadInput& input) {
  std::vector<StaticEndpoint> endpoints;
  for (const Value& item : list.items()) {
    Fields fields(item);
    StaticEndpoint endpoint;
    endpoint.origin = input.origin;
    endpoint.origin.line = item.line();
    Value address = fields.require("address");
    endpoint.address = address.non_empty_string().value_or("");
    bool ip = IpAddress::parse(endpoint.address).has_value();
    if (endpoint.address.starts_with("unix:")) {
      address.error("Unix sockets are not supported", shown(endpoint.address));
    } else if (!endpoint.address.empty() && !ip &&
               (resolution != Resolution::kDns || !is_dns_subdomain(endpoint.address))) {
      address.error(
          resolution == Resolution::kDns ? "not an address or a host name" : "not an IP address",
          shown(endpoint.address));
    }
    endpoint.ports = read_endpoint_ports(fields.get("ports"), ports);
    endpoint.labels = read_labels(fields.get("labels"));
    endpoint.weight = read_count(fields.get("weight")).value_or(1);
    if (endpoint.weight == 0) endpoint.weight = 1;  // 0 and absent are the same to Istio
    fields.get("locality").warn_if_written("one node is one locality: this field has no effect");
    fields.get("network").refuse_if_written("networks are not supported");
    (void)fields.get("serviceAccount").string();
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

Resolution read_resolution(const Value& value) {
  auto at = value.choice({"NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"});
  switch (at.value_or(0)) {
    case 1:
      return Resolution::kStatic;
    case 2:
    case 3:
      return Resolution::kDns;
    case 4:
      value.error("is not supported in this version", "DYNAMIC_DNS",
                  "NONE, STATIC, DNS, DNS_ROUND_ROBIN");
      return Resolution::kDns;
    default:
      return Resolution::kNone;
  }
}

// The object's parts together, after each was read.
void check_together(Fields& spec, Resolution resolution, size_t endpoints,
                    const std::vector<std::string>& hosts) {
  Value list = spec.get("endpoints");
  bool selects = spec.get("workloadSelector").present();
  if (selects && endpoints > 0) list.error("endpoints and workloadSelector exclude each other");
  if (resolution == Resolution::kNone && endpoints > 0) {
    list.error("resolution NONE forwards to the dialled address: no endpoints are legal");
  }
  if (resolution == Resolution::kStatic && endpoints == 0 && !selects) {
    spec.self().error("resolution STATIC needs endpoints or a workloadSelector");
  }
  for (const std::string& host : hosts) {
    if (host.starts_with('*') && resolution == Resolution::kDns && endpoints == 0) {
      spec.get("hosts").error("a wildcard cannot be resolved by DNS", host,
                              "a full name, endpoints, or resolution NONE");
    }
  }
}

Labels read_selector(const Value& value) {
  Labels selector;
  if (!value.present()) return selector;
  Fields fields(value);
  Value labels = fields.require("labels");
  selector = read_labels(labels);
  if (labels.is_map() && selector.empty()) labels.error("at least one label is required");
  return selector;
}

void refuse_other_scope(const Value& value) {
  for (const std::string& target : read_export_to(value)) {
    if (target != "*") {
      value.error("a ServiceEntry for some namespaces only is not supported in this version",
                  shown(target), "\"*\"");
    }
  }
}

}  // namespace

void load_service_entry(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  Value host_list = spec.require("hosts");
  std::vector<std::string> hosts;
  for (const Value& item : host_list.items()) {
    // Hosts of a ServiceEntry are full names already: nothing is completed.
    auto text = item.non_empty_string();
    if (text && *text == "*") {
      item.error("the host * alone is not legal", "*", "a name, or *.domain");
    } else if (text && read_host(item, input.ns, Wildcard::kLeading)) {
      bool plain = text->find('.') == std::string::npos;
      hosts.push_back(plain ? lower_case(*text) : full_host(*text, input.ns));
    }
  }
  if (host_list.present() && host_list.items().empty()) {
    host_list.error("at least one host is required");
  }
  Service pattern;
  pattern.origin = input.origin;
  pattern.ns = input.ns;
  pattern.labels = input.labels;
  pattern.ports = read_ports(spec.require("ports"));
  auto location = spec.get("location").choice({"MESH_EXTERNAL", "MESH_INTERNAL"});
  pattern.external = location.value_or(0) == 0;
  pattern.resolution = read_resolution(spec.get("resolution"));
  read_addresses(spec.get("addresses"), pattern.resolution, pattern);
  auto endpoints = read_endpoints(spec.get("endpoints"), pattern.resolution, pattern.ports, input);
  pattern.selector = read_selector(spec.get("workloadSelector"));
  spec.get("subjectAltNames")
      .refuse_if_written("checking the names of a certificate is refused until it is enforced");
  refuse_other_scope(spec.get("exportTo"));
  check_together(spec, pattern.resolution, endpoints.size(), hosts);
  for (const std::string& host : hosts) {
    Service service = pattern;
    service.host = host;
    model.services.push_back(std::move(service));
    for (StaticEndpoint endpoint : endpoints) {
      endpoint.host = host;
      model.endpoints.push_back(std::move(endpoint));
    }
  }
}

}  // namespace np::policy
