// SPDX-License-Identifier: Apache-2.0
// The worker role: composes shards, control thread and admin server around what the supervisor
// handed over, enters the sandbox, and runs until it is told to stop.
#pragma once

#include "options.h"

namespace np {

// Runs on the process's first thread. Returns the exit status: 0 after an orderly end.
int run_worker(const Options& options);

}  // namespace np
