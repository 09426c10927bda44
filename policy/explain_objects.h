// SPDX-License-Identifier: Apache-2.0
// Which objects have a say about some hosts, and what compile() said about them: conflicts, rules
// that are never reached, policies that another API switched off. Pure function.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "policy/model.h"
#include "policy/route_builder.h"
#include "policy/snapshot.h"

namespace np::policy {

struct ExplainedObject {
  Origin origin;
  std::string role;      // "routes", "endpoints, limits and ejection", ...
  bool is_used = false;  // it gave the route
  bool is_inactive = false;
  std::vector<std::string> remarks;  // of compile()
};

struct ExplainedPlace {
  std::set<std::string> hosts;   // full names
  RouteContext context;          // where the request comes in: rules for other places are told
  const Route* route = nullptr;  // that was chosen; null: none
};
std::vector<ExplainedObject> objects_of(const ExplainedPlace& place, const Model& model,
                                        const Snapshot& snapshot);

}  // namespace np::policy
