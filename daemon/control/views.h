// SPDX-License-Identifier: Apache-2.0
// What the looking verbs answer, as JSON: objects with their status, and pods. Pure
// functions of the controller's state. For the .cc files of the verbs only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/arguments.h"
#include "control/controller.h"

namespace np::control {

std::string unknown_kind(std::string_view text);

struct ObjectQuery {
  std::string kind;  // as typed: "vs", "routerules,destinationpolicies", "all"
  std::vector<std::string> names;
  std::string ns;
  bool all_namespaces = false;
};
// `acceleration` may be null: the daemon captures nothing.
Json view_objects(const Controller& controller, const ObjectQuery& query,
                  AccelerationHost* acceleration);

// `counters` may be null: then nothing is said of what pods use.
Json view_pods(const Controller& controller, CounterSource* counters);

}  // namespace np::control
