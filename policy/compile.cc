// SPDX-License-Identifier: Apache-2.0
#include "policy/compile.h"

#include "base/check.h"
#include "policy/capture_builder.h"
#include "policy/check_builder.h"
#include "policy/gateway_builder.h"

namespace np::policy {

namespace {

// Looks at every policy once, so that those of hosts to which nothing routes are reported too.
void check_policies(const Model& model, const Registry& registry, DestinationPolicies& policies,
                    Findings& findings) {
  for (const DestinationPolicy& policy : model.destinations) {
    policies.of_host(policy.host);
    if (!policy.host.starts_with('*') && registry.find(policy.host) == nullptr) {
      findings.warning(
          policy.origin,
          "no service is known for host " + policy.host + ": the policy has no effect yet",
          Topic::kMissing);
    }
  }
}

}  // namespace

std::shared_ptr<const Snapshot> compile(const CompileInput& input, IdTable& ids) {
  NP_CHECK(input.model != nullptr);
  const Model& model = *input.model;
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->generation = input.generation;
  Findings findings;
  const Registry registry(input, ids, *snapshot, findings);
  ids.forget_who_left();
  DestinationPolicies policies(model, findings);
  check_policies(model, registry, policies, findings);
  TrafficBuilder traffic(input, findings);
  ClusterBuilder clusters(policies, traffic, ids, *snapshot);
  RouteBuilder routes(registry, clusters, ids, *snapshot, findings);
  const RouteSets sets(model, registry, findings);
  TableBuilder tables(sets, routes, *snapshot, findings);
  CaptureBuilder(registry, sets, tables, ids, *snapshot, findings).build();
  GatewayBuilder(model, sets, routes, tables, ids, *snapshot, findings).build();
  CheckBuilder(model, registry, ids, *snapshot, findings).build();
  snapshot->findings = findings.take();
  return snapshot;
}

}  // namespace np::policy
