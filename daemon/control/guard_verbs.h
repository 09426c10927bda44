// SPDX-License-Identifier: Apache-2.0
// The verbs of the admission guard: arguments in, JSON out. For verbs.cc only.
//   guard-attach {ifname, mode}   guard-detach {ifname}   guard-deny {add: [], remove: []}
//   guard-limit {destination, rate, burst, keep} or {destination, remove: true}
//   guard-status
#pragma once

#include "control/arguments.h"
#include "control/controller.h"

namespace np::control {

Json guard_attach(GuardBook& guard, Arguments& arguments, const Peer& peer);
Json guard_detach(GuardBook& guard, Arguments& arguments, const Peer& peer);
Json guard_deny(GuardBook& guard, Arguments& arguments, const Peer& peer);
Json guard_limit(GuardBook& guard, Arguments& arguments, const Peer& peer);
Json view_guard(const GuardBook& guard);

}  // namespace np::control
