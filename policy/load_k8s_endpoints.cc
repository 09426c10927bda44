// SPDX-License-Identifier: Apache-2.0
// Kubernetes Endpoints and EndpointSlice: addresses behind a Service.
#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

using Ports = std::map<std::string, uint16_t>;

Ports read_ports(const Value& list) {
  Ports ports;
  for (const Value& item : list.items()) {
    Fields fields(item);
    auto name = fields.get("name").string();
    // A slice may leave the number out: "all ports", which names nothing to connect to.
    auto number = read_port(fields.get("port"));
    if (number) ports[name.value_or("")] = *number;
  }
  return ports;
}

void add_endpoint(const Value& at, const std::string& address, const StaticEndpoint& pattern,
                  Model& model) {
  if (!IpAddress::parse(address)) {
    at.error("not an IP address", shown(address));
    return;
  }
  StaticEndpoint endpoint = pattern;
  endpoint.address = address;
  endpoint.origin.line = at.line();
  model.endpoints.push_back(std::move(endpoint));
}

void read_addresses(const Value& list, const StaticEndpoint& pattern, Model& model) {
  for (const Value& item : list.items()) {
    Fields fields(item);
    Value ip = fields.require("ip");
    if (auto text = ip.string()) add_endpoint(ip, *text, pattern, model);
  }
}

}  // namespace

void load_endpoints(const LoadInput& input, Model& model) {
  StaticEndpoint pattern;
  pattern.origin = input.origin;
  pattern.host = full_host(input.name, input.ns);
  for (const Value& item : input.root.get("subsets").items()) {
    Fields subset(item);
    pattern.ports = read_ports(subset.get("ports"));
    pattern.ready = true;
    read_addresses(subset.get("addresses"), pattern, model);
    pattern.ready = false;
    read_addresses(subset.get("notReadyAddresses"), pattern, model);
  }
}

void load_endpoint_slice(const LoadInput& input, Model& model) {
  StaticEndpoint pattern;
  pattern.origin = input.origin;
  auto service = input.labels.find("kubernetes.io/service-name");
  if (service == input.labels.end()) {
    input.metadata.error("the label kubernetes.io/service-name is required and missing");
    return;
  }
  pattern.host = full_host(service->second, input.ns);
  auto type = input.root.require("addressType").choice({"IPv4", "IPv6", "FQDN"});
  pattern.ports = read_ports(input.root.get("ports"));
  Value list = input.root.get("endpoints");
  if (type == 2) {
    input.metadata.not_in_effect("an EndpointSlice of addressType FQDN is not used");
    return;
  }
  for (const Value& item : list.items()) {
    Fields fields(item);
    Fields conditions(fields.get("conditions"));
    // Absent means ready (Kubernetes' API: "nil should be interpreted as true").
    pattern.ready = conditions.get("ready").boolean().value_or(true);
    for (const Value& address : fields.require("addresses").items()) {
      if (auto text = address.string()) add_endpoint(address, *text, pattern, model);
    }
  }
}

}  // namespace np::policy
