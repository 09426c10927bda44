// SPDX-License-Identifier: Apache-2.0
// What people are told about kernel acceleration: by `nodectl acceleration`, status, describe and
// doctor. Functions of the controller's policy and of the host's state, which may be null
// (--no-capture). For the .cc files of the verbs only.
#pragma once

#include <string>
#include <vector>

#include "control/arguments.h"
#include "control/controller.h"

namespace np::control {

// "off", "being tested", "refused: fionread, splice", "possible: ...".
std::string acceleration_text(const Controller& controller, AccelerationHost* host);

// {state, text, policies, kernel, reasons, problem, results: [{name, passed, promise, seen}]}
Json view_acceleration(const Controller& controller, AccelerationHost* host);
Json test_acceleration(AccelerationHost* host, const Peer& peer);

// Empty: nobody asks for it.
std::vector<Check> check_acceleration(const Controller& controller, AccelerationHost* host);

}  // namespace np::control
