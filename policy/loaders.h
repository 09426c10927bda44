// SPDX-License-Identifier: Apache-2.0
// One loader per kind: reads `spec` (or the whole object) into a scratch Model. The caller throws
// the scratch away when an error was reported. Control thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "policy/model.h"
#include "policy/yaml_reader.h"

namespace np::policy {

struct LoadInput {
  Origin origin;
  std::string ns;
  std::string name;
  Fields& root;
  Value spec;
  Value metadata;
  Labels labels;
  std::vector<std::pair<std::string, std::string>> annotations;
};

using Loader = void (*)(const LoadInput& input, Model& model);

// load_k8s.cc, load_k8s_endpoints.cc
void load_service(const LoadInput& input, Model& model);
void load_pod(const LoadInput& input, Model& model);
void load_endpoints(const LoadInput& input, Model& model);
void load_endpoint_slice(const LoadInput& input, Model& model);
void load_namespace(const LoadInput& input, Model& model);

// load_route_rule.cc, load_destination_policy.cc, load_egress_rule.cc, load_mixer.cc
void load_route_rule(const LoadInput& input, Model& model);
void load_destination_policy(const LoadInput& input, Model& model);
void load_egress_rule(const LoadInput& input, Model& model);
void load_memquota(const LoadInput& input, Model& model);
void load_redisquota(const LoadInput& input, Model& model);
void load_quota(const LoadInput& input, Model& model);
void load_rule(const LoadInput& input, Model& model);
void load_quota_spec(const LoadInput& input, Model& model);
void load_quota_spec_binding(const LoadInput& input, Model& model);
void load_denier(const LoadInput& input, Model& model);
void load_checknothing(const LoadInput& input, Model& model);

// load_virtual_service.cc, load_destination_rule.cc, load_service_entry.cc, load_gateway.cc
void load_virtual_service(const LoadInput& input, Model& model);
void load_destination_rule(const LoadInput& input, Model& model);
void load_service_entry(const LoadInput& input, Model& model);
void load_gateway(const LoadInput& input, Model& model);

// load_traffic_policy.cc
void load_traffic_policy(const LoadInput& input, Model& model);

// load_rate_limit.cc
void load_rate_limit(const LoadInput& input, Model& model);

// load_istio_service.cc: how config.istio.io names a service.
struct IstioService {
  std::string host;
  Labels labels;
  bool wildcard_service = false;  // `service:` was used: any host text, also *.domain
};
enum class LabelUse : uint8_t { kRefused, kAllowed };
std::optional<IstioService> read_istio_service(const Value& value, const LoadInput& input,
                                               LabelUse labels);

// Warns when a rule that takes every request is not the last one.
void warn_of_unreachable(const Value& list, const std::vector<RouteRule>& rules);
// True for a rule that no request escapes.
bool takes_every_request(const RouteRule& rule);

// check_model.cc: what spans objects. Within each list of the model, older objects come first.
void check_model(Model& model, Diagnostics& diagnostics);

}  // namespace np::policy
