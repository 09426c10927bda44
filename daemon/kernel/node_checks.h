// SPDX-License-Identifier: Apache-2.0
// The part of `nodectl doctor` that needs rights and a look at the node: hooks and who else sits on
// them, pins, the worker's signs of life, settings. Looks only. Called by the supervisor when its
// worker asks, and by `nodeproxyd --inspect` when there is no worker that could.
#pragma once

#include <vector>

#include "control/check.h"
#include "kernel/node_view.h"

namespace np::kernel {

using Checks = std::vector<control::Check>;

// All of the below.
Checks check_node(const NodeView& view);
// What concerns every daemon, with capture or without: kernel, io_uring.
Checks check_kernel();

void check_hooks(const NodeView& view, Checks& checks);
void check_pins(const NodeView& view, Checks& checks);
void check_life(const NodeView& view, Checks& checks);
void check_guards(const NodeView& view, Checks& checks);
void check_settings(const NodeView& view, Checks& checks);

// What `nodeproxyd --inspect` prints: a check per line (control/check.h).
std::vector<std::string> inspect_instance(const std::string& instance, const std::string& bpffs);

}  // namespace np::kernel
