// SPDX-License-Identifier: Apache-2.0
// Kubernetes Service, Pod and Namespace. Unknown fields are tolerated, because these objects come
// from `kubectl get -o yaml`; the fields that are used must have the right type.
#include <algorithm>
#include <set>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

std::optional<IpAddress> read_ip(const Value& value) {
  auto text = value.string();
  if (!text || text->empty()) return std::nullopt;
  auto ip = IpAddress::parse(*text);
  if (!ip) value.error("not an IP address", shown(*text));
  return ip;
}

// Adds `ip` once: podIP and the first of podIPs are the same address.
void add_ip(std::vector<IpAddress>& ips, const std::optional<IpAddress>& ip) {
  if (ip && std::find(ips.begin(), ips.end(), *ip) == ips.end()) ips.push_back(*ip);
}

void read_cluster_ips(Fields& spec, Service& service) {
  Value single = spec.get("clusterIP");
  if (single.is_scalar() && single.node()->scalar != "None")
    add_ip(service.addresses, read_ip(single));
  for (const Value& item : spec.get("clusterIPs").items()) {
    if (item.is_scalar() && item.node()->scalar == "None") continue;
    add_ip(service.addresses, read_ip(item));
  }
}

void read_target_port(const Value& value, ServicePort& port) {
  if (!value.present()) return;
  if (value.is_scalar() && scalar_type(*value.node()) == ScalarType::kInteger) {
    port.target_port = read_port(value).value_or(0);
  } else if (auto name = value.non_empty_string()) {
    port.target_port_name = *name;
  }
}

Protocol read_protocol(Fields& fields, const std::string& name) {
  auto transport = fields.get("protocol").choice({"TCP", "UDP", "SCTP"});
  auto application = fields.get("appProtocol").string();
  // SCTP, like UDP, is never captured: what is not TCP shares one name in the model.
  if (transport.value_or(0) != 0) return Protocol::kUdp;
  if (application && !application->empty()) {
    Protocol protocol = protocol_by_name(*application);
    if (protocol != Protocol::kAuto) return protocol;
  }
  return protocol_by_name(name);
}

void read_service_ports(const Value& list, Service& service) {
  std::set<std::string> names;
  std::vector<Value> items = list.items();
  for (const Value& item : items) {
    Fields fields(item);
    ServicePort port;
    port.name = fields.get("name").string().value_or("");
    port.port = read_port(fields.require("port")).value_or(0);
    read_target_port(fields.get("targetPort"), port);
    port.protocol = read_protocol(fields, port.name);
    if (items.size() > 1 && port.name.empty()) {
      item.error("each of several ports needs a name");
    } else if (!names.insert(port.name).second) {
      item.error("two ports have this name", shown(port.name));
    }
    service.ports.push_back(std::move(port));
  }
}

void read_annotations(const LoadInput& input, Service& service) {
  Value annotations = Fields(input.metadata).get("annotations");
  for (const Value& entry : annotations.entries()) {
    if (!entry.key().starts_with("nodeproxy.dev/")) continue;
    if (entry.key() == "nodeproxy.dev/fail-mode") {
      if (auto at = entry.choice({"open", "closed"})) {
        service.fail_mode = *at == 0 ? FailMode::kOpen : FailMode::kClosed;
      }
    } else if (entry.key() == "nodeproxy.dev/source") {
      if (auto at = entry.choice({"node", "pod"})) service.source_pod = *at == 1;
    } else {
      entry.error("unknown annotation of nodeproxy.dev", shown(entry.key()),
                  "nodeproxy.dev/fail-mode, nodeproxy.dev/source");
    }
  }
}

// Ready unless the object says otherwise: a Pod written by hand has no status.
bool read_ready(Fields& status) {
  bool ready = true;
  if (auto phase = status.get("phase").string()) {
    if (*phase == "Succeeded" || *phase == "Failed") ready = false;
  }
  for (const Value& item : status.get("conditions").items()) {
    Fields condition(item);
    auto type = condition.get("type").string();
    auto state = condition.get("status").string();
    if (type == "Ready" && state) ready = ready && *state == "True";
  }
  return ready;
}

void read_container_ports(const Value& containers, Pod& pod) {
  for (const Value& container : containers.items()) {
    Fields fields(container);
    for (const Value& item : fields.get("ports").items()) {
      Fields port(item);
      auto number = read_port(port.require("containerPort"));
      auto name = port.get("name").string();
      if (number && name && !name->empty()) pod.named_ports.emplace(*name, *number);
    }
  }
}

}  // namespace

void load_service(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  Service service;
  service.origin = input.origin;
  service.host = full_host(input.name, input.ns);
  service.ns = input.ns;
  service.labels = input.labels;
  read_annotations(input, service);
  read_cluster_ips(spec, service);
  read_service_ports(spec.get("ports"), service);
  service.selector = read_labels(spec.get("selector"));
  if (spec.get("type").string() == "ExternalName") {
    input.spec.not_in_effect(
        "a Service of type ExternalName has no address that could be captured; write a "
        "ServiceEntry for the external name");
    return;
  }
  model.services.push_back(std::move(service));
}

void load_pod(const LoadInput& input, Model& model) {
  Pod pod;
  pod.origin = input.origin;
  pod.name = input.name;
  pod.ns = input.ns;
  pod.labels = input.labels;
  {
    Fields spec(input.spec);
    pod.host_network = spec.get("hostNetwork").boolean().value_or(false);
    pod.service_account = spec.get("serviceAccountName").string().value_or("default");
    read_container_ports(spec.get("containers"), pod);
  }
  Fields status(input.root.get("status"));
  add_ip(pod.ips, read_ip(status.get("podIP")));
  for (const Value& item : status.get("podIPs").items()) {
    Fields entry(item);
    add_ip(pod.ips, read_ip(entry.get("ip")));
  }
  pod.ready = read_ready(status);
  // A pod on its way out finishes what it has and gets nothing new.
  if (Fields(input.metadata).get("deletionTimestamp").present()) pod.ready = false;
  model.pods.push_back(std::move(pod));
}

void load_namespace(const LoadInput&, Model&) {
  // A Namespace is accepted so that whole manifests apply; the name of each object says where it
  // belongs, so nothing has to be kept.
}

}  // namespace np::policy
