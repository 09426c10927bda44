// SPDX-License-Identifier: Apache-2.0
// DestinationRule of networking.istio.io (traffic-semantics 2.2).
#include <set>

#include "policy/loaders.h"
#include "policy/traffic_policy_reader.h"

namespace np::policy {
namespace {

bool is_cluster_host(std::string_view host) {
  return host.ends_with(".svc." + std::string(kClusterDomain));
}

// SIMPLE to an external host is originated TLS, which a later version does: the object is kept and
// does nothing. Every other TLS mode would promise security that is not there, and is refused.
void read_tls(const Value& value, bool external, PolicyFindings& findings) {
  if (!value.present()) return;
  Fields fields(value);
  Value mode = fields.require("mode");
  auto at = mode.choice({"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"});
  for (std::string_view name :
       {"clientCertificate", "privateKey", "caCertificates", "credentialName", "sni", "caCrl"}) {
    (void)fields.get(name).string();
  }
  (void)fields.get("subjectAltNames").strings();
  (void)fields.get("insecureSkipVerify").boolean();
  if (!at || *at == 0) return;
  if (*at == 1 && external) {
    if (!findings.originates_tls) findings.tls_line = value.line();
    findings.originates_tls = true;
    return;
  }
  mode.error(*at == 1 ? "TLS to a service of the cluster is refused until it is enforced"
                      : "mutual TLS is refused until it is enforced",
             mode.found(), external ? "DISABLE, SIMPLE" : "DISABLE");
}

void read_common(Fields& fields, bool external, PolicyFindings& findings, TrafficPolicy& policy) {
  policy.load_balancing = read_load_balancing(fields.get("loadBalancer"));
  policy.pool = read_connection_pool(fields.get("connectionPool"));
  policy.outlier = read_outlier(fields.get("outlierDetection"));
  read_tls(fields.get("tls"), external, findings);
}

void read_port_settings(const Value& list, bool external, PolicyFindings& findings,
                        TrafficPolicy& policy) {
  for (const Value& item : list.items()) {
    Fields fields(item);
    Value port = fields.require("port");
    Fields inner(port);
    auto number = read_port(inner.require("number"));
    auto settings = std::make_shared<TrafficPolicy>();
    read_common(fields, external, findings, *settings);
    if (number && !policy.ports.emplace(*number, std::move(settings)).second) {
      item.error("this port is given twice", std::to_string(*number));
    }
  }
}

std::optional<RetryBudget> read_retry_budget(const Value& value) {
  if (!value.present()) return std::nullopt;
  RetryBudget budget;
  Fields fields(value);
  budget.percent = fields.get("percent").number(0, 100).value_or(budget.percent);
  budget.minimum = read_count(fields.get("minRetryConcurrency")).value_or(budget.minimum);
  return budget;
}

TrafficPolicy read_traffic_policy(const Value& value, bool external, PolicyFindings& findings) {
  TrafficPolicy policy;
  if (!value.present()) return policy;
  Fields fields(value);
  read_common(fields, external, findings, policy);
  read_port_settings(fields.get("portLevelSettings"), external, findings, policy);
  fields.get("tunnel").refuse_if_written("tunnels are not supported");
  fields.get("proxyProtocol").refuse_if_written("the PROXY protocol is not supported");
  policy.retry_budget = read_retry_budget(fields.get("retryBudget"));
  return policy;
}

void read_subsets(const Value& list, bool external, PolicyFindings& findings,
                  DestinationPolicy& rule) {
  std::set<std::string> names;
  for (const Value& item : list.items()) {
    Fields fields(item);
    Subset subset;
    subset.line = item.line();
    Value name = fields.require("name");
    subset.name = name.non_empty_string().value_or("");
    if (!subset.name.empty() && !is_dns_label(subset.name)) {
      name.error("not a legal subset name", shown(subset.name),
                 "lower-case letters, digits and '-', up to 63");
    }
    if (!subset.name.empty() && !names.insert(subset.name).second) {
      name.error("two subsets have this name", subset.name);
    }
    subset.labels = read_labels(fields.get("labels"));
    subset.policy = read_traffic_policy(fields.get("trafficPolicy"), external, findings);
    rule.subsets.push_back(std::move(subset));
  }
}

}  // namespace

void load_destination_rule(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  auto host = read_host(spec.require("host"), input.ns, Wildcard::kLeading);
  bool external = host && !is_cluster_host(*host);
  DestinationPolicy rule;
  PolicyFindings findings;
  rule.origin = input.origin;
  rule.api = DestinationPolicy::Api::kDestinationRule;
  rule.policy = read_traffic_policy(spec.get("trafficPolicy"), external, findings);
  read_subsets(spec.get("subsets"), external, findings, rule);
  rule.export_to = read_export_to(spec.get("exportTo"));
  if (rule.export_to.empty()) rule.export_to = {"*"};
  spec.get("workloadSelector")
      .refuse_if_written("a rule for some workloads only is not supported in this version");
  if (!host) return;
  rule.host = *host;
  if (findings.originates_tls) {
    input.spec.context().report(Diagnostic::Level::kNotInEffect, findings.tls_line, "spec",
                                "upstream TLS comes in a later version; until then the whole "
                                "object has no effect and connections go out as they are");
    return;
  }
  model.destinations.push_back(std::move(rule));
}

}  // namespace np::policy
