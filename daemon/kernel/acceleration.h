// SPDX-License-Identifier: Apache-2.0
// The self-test of acceleration: whether this kernel could hand bytes from socket to socket without
// a program noticing (docs/acceleration.md). Looks at sockets of its own only and leaves nothing
// behind. Takes up to a few seconds and moves the process to another cgroup meanwhile: it belongs
// into a process of its own, `nodeproxyd --test-acceleration`.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/acceleration.h"
#include "kernel/accelerated_pairs.h"
#include "kernel/acceleration_checks.h"

namespace np::kernel {

// One result per danger. Error: the test cannot be made here, for a reason that it gives.
Result<std::vector<control::DangerResult>> test_socket_redirection(
    const RedirectionRules& rules = {});

// One check on both families; IPv6 only where the node has it.
control::DangerResult run_check(const DangerCheck& check, ConnectedPairs& pairs);

// What `nodeproxyd --test-acceleration` prints (control/acceleration.h).
std::string acceleration_report_text();

}  // namespace np::kernel
