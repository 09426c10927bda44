// SPDX-License-Identifier: Apache-2.0
// DestinationPolicy and EgressRule of config.istio.io (traffic-semantics 1.5, 1.8).
#include <algorithm>
#include <set>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

constexpr const char* kNoEffect = "this field never had an effect in Istio and has none here";

// Values of simpleCb: 0 or absent is the default of the day.
uint32_t count_or(const Value& value, uint32_t fallback) {
  uint32_t count = read_count(value).value_or(0);
  return count == 0 ? fallback : count;
}

void read_simple_breaker(const Value& value, TrafficPolicy& policy) {
  Fields fields(value);
  ConnectionPool pool;
  pool.max_connections = count_or(fields.get("maxConnections"), 1024);
  pool.max_pending_requests = count_or(fields.get("httpMaxPendingRequests"), 1024);
  pool.max_requests = count_or(fields.get("httpMaxRequests"), 1024);
  pool.max_requests_per_connection = count_or(fields.get("httpMaxRequestsPerConnection"), 0);
  pool.max_retries = count_or(fields.get("httpMaxRetries"), 3);
  Outlier outlier;
  outlier.consecutive_5xx = count_or(fields.get("httpConsecutiveErrors"), 5);
  // Absent was refused by the validator of the day; the defaults apply (D3).
  auto sleep = read_duration(fields.get("sleepWindow"), ZeroDuration::kAllowed);
  if (sleep && *sleep != Duration{}) outlier.base_ejection_time = *sleep;
  auto interval = read_duration(fields.get("httpDetectionInterval"), ZeroDuration::kAllowed);
  if (interval && *interval != Duration{}) outlier.interval = *interval;
  auto percent = fields.get("httpMaxEjectionPercent").integer(0, 100).value_or(0);
  outlier.max_ejection_percent = percent == 0 ? 10 : static_cast<uint32_t>(percent);
  outlier.panic_percent = 50;       // D16
  outlier.old_percent_rule = true;  // D6
  policy.pool = pool;
  policy.outlier = outlier;
}

void read_breaker(const Value& value, TrafficPolicy& policy) {
  Fields fields(value);
  fields.get("custom").warn_if_written(kNoEffect);
  Value simple = fields.get("simpleCb");
  if (!simple.present()) return;
  read_simple_breaker(simple, policy);
}

void read_balancing(const Value& value, TrafficPolicy& policy) {
  if (!value.present()) return;
  Fields fields(value);
  fields.get("custom").warn_if_written(kNoEffect);
  auto name = fields.get("name").choice({"ROUND_ROBIN", "LEAST_CONN", "RANDOM"});
  if (!name) return;
  LoadBalancing balancing;
  if (*name == 1) balancing.kind = LoadBalancing::Kind::kLeastRequest;
  if (*name == 2) balancing.kind = LoadBalancing::Kind::kRandom;
  policy.load_balancing = balancing;
}

struct EgressPort {
  ServicePort port;
  bool originates_tls = false;
};

std::optional<EgressPort> read_egress_port(const Value& item) {
  Fields fields(item);
  auto number = read_port(fields.require("port"));
  Value protocol = fields.require("protocol");
  auto text = protocol.non_empty_string();
  if (!number || !text) return std::nullopt;
  std::string upper = *text;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  EgressPort out;
  out.port.port = *number;
  out.port.name = snake_case(*text);
  if (upper == "HTTP") {
    out.port.protocol = Protocol::kHttp;
  } else if (upper == "HTTP2") {
    out.port.protocol = Protocol::kHttp2;
  } else if (upper == "GRPC") {
    out.port.protocol = Protocol::kGrpc;
  } else if (upper == "TCP" || upper == "MONGO") {
    out.port.protocol = Protocol::kTcp;
  } else if (upper == "HTTPS") {
    out.port.protocol = Protocol::kHttp;
    out.originates_tls = true;
  } else {
    protocol.error("not one of the legal values", shown(*text),
                   "HTTP, HTTPS, HTTP2, GRPC, TCP, MONGO");
    return std::nullopt;
  }
  out.port.name += "-" + std::to_string(*number);
  return out;
}

// Where an external host is found: by DNS, at its own address, or wherever the caller dialled.
bool place_host(const Value& at, const std::string& text, Service& service) {
  service.external = true;
  if (auto ip = IpAddress::parse(text)) {
    service.addresses.push_back(*ip);
    service.resolution = Service::Resolution::kNone;
    return true;
  }
  if (text.find('/') != std::string::npos) {
    auto prefix = IpPrefix::parse(text);
    if (!prefix) {
      at.error("not a CIDR block", shown(text), "for example 10.1.0.0/16");
      return false;
    }
    service.prefixes.push_back(*prefix);
    service.resolution = Service::Resolution::kNone;
    return true;
  }
  service.resolution =
      text.starts_with('*') ? Service::Resolution::kNone : Service::Resolution::kDns;
  return true;
}

std::optional<std::string> read_egress_host(const Value& destination, const LoadInput& input,
                                            Service& service) {
  Fields fields(destination);
  fields.get("name").refuse_if_written("an EgressRule names its host with `service` only");
  fields.get("namespace").refuse_if_written("an EgressRule names its host with `service` only");
  fields.get("domain").refuse_if_written("an EgressRule names its host with `service` only");
  fields.get("labels").refuse_if_written("an EgressRule names its host with `service` only");
  Value full = fields.require("service");
  auto text = full.non_empty_string();
  if (!text) return std::nullopt;
  if (text->starts_with('*') && *text != "*" && !text->starts_with("*.")) {
    full.error("a wildcard must be a whole label", shown(*text), "*, *.domain");
    return std::nullopt;
  }
  bool block = text->find('/') != std::string::npos;
  if (!block && !read_host(full, input.ns, Wildcard::kLeadingOrAll)) return std::nullopt;
  if (!place_host(full, *text, service)) return std::nullopt;
  if (block || text->find('.') == std::string::npos) return text;
  return full_host(*text, input.ns);
}

}  // namespace

void load_destination_policy(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  auto target = read_istio_service(spec.require("destination"), input, LabelUse::kAllowed);
  spec.get("source").refuse_if_written(
      "a policy for one caller only is not supported in this version; leave source out to cover "
      "every caller");
  DestinationPolicy policy;
  policy.origin = input.origin;
  policy.api = DestinationPolicy::Api::kDestinationPolicy;
  policy.export_to = {"*"};
  read_balancing(spec.get("loadBalancing"), policy.policy);
  read_breaker(spec.get("circuitBreaker"), policy.policy);
  if (!target) return;
  policy.host = target->host;
  policy.labels = target->labels;
  model.destinations.push_back(std::move(policy));
}

void load_egress_rule(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  Service service;
  service.origin = input.origin;
  service.ns = input.ns;
  auto host = read_egress_host(spec.require("destination"), input, service);
  Value ports = spec.require("ports");
  Value proxy = spec.get("useEgressProxy");
  if (proxy.boolean().value_or(false)) proxy.error("must be false", "true", "false");
  std::set<uint16_t> seen;
  bool tls = false;
  std::vector<Value> items = ports.items();
  if (ports.present() && items.empty()) ports.error("at least one port is required");
  for (const Value& item : items) {
    auto port = read_egress_port(item);
    if (!port) continue;
    if (!seen.insert(port->port.port).second) {
      item.error("this port is given twice", std::to_string(port->port.port));
    }
    if (!service.prefixes.empty() && port->port.protocol != Protocol::kTcp) {
      item.error("a CIDR block goes only with TCP", "", "TCP, MONGO");
    }
    tls = tls || port->originates_tls;
    service.ports.push_back(port->port);
  }
  if (!host) return;
  service.host = *host;
  if (tls) {
    input.spec.not_in_effect(
        "protocol HTTPS asks the proxy to originate TLS, which comes in a later version; until "
        "then no port of this rule is captured");
    return;
  }
  model.services.push_back(std::move(service));
}

}  // namespace np::policy
