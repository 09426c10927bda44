// SPDX-License-Identifier: Apache-2.0
#include "policy/kinds.h"

#include <algorithm>
#include <array>

#include "policy/yaml_reader.h"

namespace np::policy {
namespace {

constexpr std::string_view kLegacy = "config.istio.io";
constexpr std::string_view kNetworking = "networking.istio.io";
constexpr std::string_view kOwn = "nodeproxy.dev";

struct Refusal {
  std::string_view group;  // "*": any
  std::string_view kind;
  std::string_view reason;
};

constexpr std::string_view kSecurity =
    "it is refused until nodeproxy enforces it: security is never accepted and ignored";
constexpr std::string_view kLaterRoutes =
    "Gateway API routes come in a later version; use a VirtualService of networking.istio.io/v1";
constexpr std::string_view kUseNetworking = "never part of the traffic rules that nodeproxy reads";

constexpr std::array kRefusals = {
    Refusal{"security.istio.io", "AuthorizationPolicy", kSecurity},
    Refusal{"security.istio.io", "PeerAuthentication", kSecurity},
    Refusal{"security.istio.io", "RequestAuthentication", kSecurity},
    Refusal{"gateway.networking.k8s.io", "BackendTLSPolicy", kSecurity},
    Refusal{"gateway.networking.k8s.io", "HTTPRoute", kLaterRoutes},
    Refusal{"gateway.networking.k8s.io", "GRPCRoute", kLaterRoutes},
    Refusal{"gateway.networking.k8s.io", "TLSRoute", kLaterRoutes},
    Refusal{"gateway.networking.k8s.io", "TCPRoute", kLaterRoutes},
    Refusal{"gateway.networking.k8s.io", "Gateway",
            "Gateway API comes in a later version; use a Gateway of networking.istio.io/v1"},
    Refusal{"gateway.networking.k8s.io", "GatewayClass",
            "Gateway API comes in a later version; use a Gateway of networking.istio.io/v1"},
    Refusal{"telemetry.istio.io", "Telemetry", "Telemetry is refused until it has an effect"},
    Refusal{kNetworking, "Sidecar",
            "Sidecar is not supported: every pod of the node may reach every host, and egress is "
            "not limited by this object"},
    Refusal{kNetworking, "EnvoyFilter",
            "EnvoyFilter patches Envoy's own configuration, which nodeproxy does not have"},
    Refusal{kNetworking, "WorkloadEntry",
            "name the address under endpoints of a ServiceEntry instead"},
    Refusal{kNetworking, "WorkloadGroup",
            "name the addresses under endpoints of a ServiceEntry instead"},
    Refusal{kNetworking, "ProxyConfig", "nodeproxyd takes its settings from its own configuration"},
    Refusal{kLegacy, "IngressRule",
            "IngressRule is refused: write an HTTPRoute with a Gateway instead (until HTTPRoute is "
            "accepted: a VirtualService that names a Gateway)"},
    Refusal{kLegacy, "listchecker", "list checks are not supported"},
    Refusal{kLegacy, "listentry", "list checks are not supported"},
    Refusal{kLegacy, "metric", "metrics need no object; they come in a later version"},
    Refusal{kLegacy, "prometheus", "metrics need no object; they come in a later version"},
    Refusal{kLegacy, "logentry", "the access log needs no object; it comes in a later version"},
    Refusal{kLegacy, "stdio", "the access log needs no object; it comes in a later version"},
    Refusal{"extensions", "Ingress",
            "Ingress is refused: write a Gateway and a VirtualService instead"},
    Refusal{"networking.k8s.io", "Ingress",
            "Ingress is refused: write a Gateway and a VirtualService instead"},
    Refusal{"networking.k8s.io", "NetworkPolicy", kSecurity},
    Refusal{"apps", "Deployment",
            "nodeproxy does not run workloads: hand in the Pod objects, or use `nodectl pod add`"},
    Refusal{"extensions", "Deployment",
            "nodeproxy does not run workloads: hand in the Pod objects, or use `nodectl pod add`"},
    Refusal{"apps", "ReplicaSet",
            "nodeproxy does not run workloads: hand in the Pod objects, or use `nodectl pod add`"},
    Refusal{"apps", "StatefulSet",
            "nodeproxy does not run workloads: hand in the Pod objects, or use `nodectl pod add`"},
    Refusal{"apps", "DaemonSet",
            "nodeproxy does not run workloads: hand in the Pod objects, or use `nodectl pod add`"},
    Refusal{"", "ConfigMap", kUseNetworking},
    Refusal{"", "Secret", kUseNetworking},
    Refusal{"", "ServiceAccount", kUseNetworking},
};

struct GroupVersions {
  std::string_view group;
  std::array<std::string_view, 3> versions;
};
constexpr GroupVersions kVersions[] = {{"", {"v1", "", ""}},
                                       {"discovery.k8s.io", {"v1", "", ""}},
                                       {kNetworking, {"v1", "v1beta1", "v1alpha3"}},
                                       {kOwn, {"v1", "", ""}}};

}  // namespace

const std::vector<KindInfo>& known_kinds() {
  static const std::vector<KindInfo> kinds = {
      {"", "Service", "services", "svc", true},
      {"", "Pod", "pods", "po", true},
      {"", "Endpoints", "endpoints", "ep", true},
      {"", "Namespace", "namespaces", "ns", false},
      {"discovery.k8s.io", "EndpointSlice", "endpointslices", "eps", true},
      {kNetworking, "VirtualService", "virtualservices", "vs", true},
      {kNetworking, "DestinationRule", "destinationrules", "dr", true},
      {kNetworking, "Gateway", "gateways", "gw", true},
      {kNetworking, "ServiceEntry", "serviceentries", "se", true},
      {kOwn, "TrafficPolicy", "trafficpolicies", "tp", true},
      {kLegacy, "RouteRule", "routerules", "rr", true},
      {kLegacy, "DestinationPolicy", "destinationpolicies", "dp", true},
      {kLegacy, "EgressRule", "egressrules", "er", true},
      {kLegacy, "memquota", "memquotas", "", true},
      {kLegacy, "redisquota", "redisquotas", "", true},
      {kLegacy, "quota", "quotas", "", true},
      {kLegacy, "rule", "rules", "", true},
      {kLegacy, "QuotaSpec", "quotaspecs", "", true},
      {kLegacy, "QuotaSpecBinding", "quotaspecbindings", "", true},
      {kLegacy, "denier", "deniers", "", true},
      {kLegacy, "checknothing", "checknothings", "", true},
      {kOwn, "RateLimit", "ratelimits", "rl", true},
  };
  return kinds;
}

const KindInfo* find_kind(std::string_view text) {
  std::string wanted = lower_case(text);
  std::string group;
  bool any_group = true;
  size_t dot = wanted.find('.');
  if (dot != std::string::npos) {  // "gateways.networking.istio.io"
    group = wanted.substr(dot + 1);
    wanted.resize(dot);
    any_group = false;
  }
  if (wanted.empty()) return nullptr;
  const KindInfo* found = nullptr;
  for (const KindInfo& info : known_kinds()) {
    if (!any_group && info.group != group) continue;
    bool same =
        lower_case(info.kind) == wanted || info.plural == wanted || info.short_name == wanted;
    if (!same) continue;
    if (found != nullptr) return nullptr;
    found = &info;
  }
  return found;
}

const KindInfo* find_kind_in_group(std::string_view group, std::string_view kind) {
  for (const KindInfo& info : known_kinds()) {
    if (info.group == group && info.kind == kind) return &info;
  }
  return nullptr;
}

std::string versions_of(std::string_view group) {
  std::string out;
  for (const GroupVersions& entry : kVersions) {
    if (entry.group != group) continue;
    for (std::string_view version : entry.versions) {
      if (version.empty()) continue;
      if (!out.empty()) out += ", ";
      out += group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
    }
  }
  return out;
}

bool is_version_of(std::string_view group, std::string_view version) {
  if (version.empty()) return false;
  // Istio 0.x objects carry v1alpha1, v1alpha2 and v1beta1 with one and the same schema.
  if (group == kLegacy) return version.front() == 'v';
  for (const GroupVersions& entry : kVersions) {
    if (entry.group != group) continue;
    return std::find(entry.versions.begin(), entry.versions.end(), version) != entry.versions.end();
  }
  return false;
}

std::string why_refused(std::string_view group, std::string_view kind) {
  for (const Refusal& refusal : kRefusals) {
    if (refusal.group == group && refusal.kind == kind) return std::string(refusal.reason);
  }
  for (const KindInfo& info : known_kinds()) {
    if (lower_case(info.kind) != lower_case(kind)) continue;
    if (info.group == group) return "unknown kind, did you mean " + std::string(info.kind) + "?";
    std::string versions = versions_of(info.group);
    if (versions.empty()) versions = std::string(info.group) + "/v1alpha2";
    return "unknown kind in this API group: " + std::string(info.kind) + " has apiVersion " +
           versions;
  }
  return "unknown kind";
}

}  // namespace np::policy
