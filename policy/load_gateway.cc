// SPDX-License-Identifier: Apache-2.0
// Gateway of networking.istio.io: plain HTTP servers (traffic-semantics 2.3).
#include <set>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

void read_port_of(const Value& value, std::set<std::string>& names, GatewayServer& server) {
  Fields fields(value);
  server.port = read_port(fields.require("number")).value_or(0);
  Value name = fields.require("name");
  server.port_name = name.non_empty_string().value_or("");
  if (!server.port_name.empty() && !names.insert(server.port_name).second) {
    name.error("two servers have this port name", shown(server.port_name));
  }
  fields.get("targetPort").warn_if_written("has no effect: the listener is opened on `number`");
  Value protocol = fields.require("protocol");
  auto at = protocol.choice({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO"});
  if (at.value_or(0) != 0) {
    protocol.error("only plain HTTP servers are supported in this version", protocol.found(),
                   "HTTP");
  }
}

// "host" or "namespace/host", where the namespace may be "*" or ".".
void read_server_host(const Value& item, const LoadInput& input, GatewayServer& server) {
  auto text = item.non_empty_string();
  if (!item.present()) item.error("a host is required");
  if (!text) return;
  size_t slash = text->find('/');
  std::string prefix = slash == std::string::npos ? "" : text->substr(0, slash);
  std::string host = lower_case(slash == std::string::npos ? *text : text->substr(slash + 1));
  bool good = host == "*" || is_dns_subdomain(host) ||
              (host.starts_with("*.") && is_dns_subdomain(host.substr(2)));
  if (slash != std::string::npos) {
    good = good && (prefix == "*" || prefix == "." || is_dns_label(prefix));
    if (prefix == ".") prefix = input.ns;
  }
  if (!good) {
    item.error("not a legal host", shown(*text), "*, a name, *.domain, namespace/host");
    return;
  }
  // "*/host" says no more than "host".
  bool scoped = !prefix.empty() && prefix != "*";
  server.hosts.push_back(scoped ? prefix + "/" + host : host);
}

}  // namespace

void load_gateway(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  Gateway gateway;
  gateway.origin = input.origin;
  // Every Gateway is served by this node's daemon: the selector is checked and not needed.
  (void)read_labels(spec.get("selector"));
  Value servers = spec.require("servers");
  std::set<std::string> names;
  std::vector<Value> items = servers.items();
  if (servers.present() && items.empty()) servers.error("at least one server is required");
  for (const Value& item : items) {
    Fields fields(item);
    GatewayServer server;
    server.line = item.line();
    read_port_of(fields.require("port"), names, server);
    Value hosts = fields.require("hosts");
    if (hosts.present() && hosts.items().empty()) hosts.error("at least one host is required");
    for (const Value& host : hosts.items()) read_server_host(host, input, server);
    Value bind = fields.get("bind");
    server.bind = bind.non_empty_string().value_or("");
    if (!server.bind.empty() && !IpAddress::parse(server.bind)) {
      bind.error("not an IP address", shown(server.bind));
    }
    (void)fields.get("name").string();
    fields.get("tls").refuse_if_written("TLS on a gateway is refused until it is enforced");
    fields.get("defaultEndpoint").refuse_if_written("is not supported");
    gateway.servers.push_back(std::move(server));
  }
  model.gateways.push_back(std::move(gateway));
}

}  // namespace np::policy
