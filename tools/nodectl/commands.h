// SPDX-License-Identifier: Apache-2.0
// The commands of nodectl: each prints its outcome and returns the exit code (0 done, 1 refused or
// failed, 2 wrong usage). One function per verb or family of verbs, in the file of that name.
#pragma once

#include "invocation.h"

namespace np::nodectl {

int run_change(const Invocation& invocation);    // apply, create, replace, delete
int run_get(const Invocation& invocation);       // get
int run_describe(const Invocation& invocation);  // describe
// 0: nothing would change, 1: something would, 2: could not tell, as kubectl diff.
int run_diff(const Invocation& invocation);
int run_validate(const Invocation& invocation);  // offline
int run_pod(const Invocation& invocation);       // pod add, pod remove, pod list
int run_endpoints(const Invocation& invocation);
int run_explain(const Invocation& invocation);
int run_uneject(const Invocation& invocation);
int run_status(const Invocation& invocation);
int run_doctor(const Invocation& invocation);
int run_drain(const Invocation& invocation);
int run_detach(const Invocation& invocation);
int run_flows(const Invocation& invocation);
int run_flows_reset(const Invocation& invocation);
int run_guard(const Invocation& invocation);  // guard attach, detach, list, status, deny, limit
int run_acceleration(const Invocation& invocation);  // acceleration, acceleration test
int run_top(const Invocation& invocation);
int run_traces(const Invocation& invocation);
int run_trace(const Invocation& invocation);
int run_completion(const Invocation& invocation);

}  // namespace np::nodectl
