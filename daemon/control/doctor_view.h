// SPDX-License-Identifier: Apache-2.0
// What the daemon answers to `nodectl doctor`: its own state, the kernel's as the supervisor found
// it, pods and policy, each finding with its remedy. Looks only. For the .cc files of the verbs.
#pragma once

#include <vector>

#include "control/arguments.h"
#include "control/check.h"
#include "control/controller.h"

namespace np::control {

struct DaemonInfo;

// {ok, checks: [{area, level, subject, found, remedy, commands}]}
Json view_doctor(const Controller& controller, const Seams& seams, const DaemonInfo& info);

// The parts, in the order in which they are answered.
std::vector<Check> check_daemon(const Controller& controller, const Seams& seams,
                                const DaemonInfo& info);
// What the supervisor says; findings that registering a pod again mends get that command.
std::vector<Check> check_node(const Controller& controller, const Seams& seams);
// Each pod, captured or why not. Pods that `node` complains of already are left out.
std::vector<Check> check_pods(const Controller& controller, const Seams& seams,
                              const std::vector<Check>& node);
// Objects that conflict, that are never reached, that name what is not there, that have no effect.
std::vector<Check> check_policy(const Controller& controller);

}  // namespace np::control
