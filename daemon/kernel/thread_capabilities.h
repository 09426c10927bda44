// SPDX-License-Identifier: Apache-2.0
// Capabilities belong to threads, and glibc spreads changes of the uid to all threads but not
// these. A worker that was started without root, with ambient or file capabilities, has threads
// from before its sandbox (admin server, `source: pod`) that would keep them.
#pragma once

#include "base/result.h"

namespace np::kernel {

// Afterwards no thread of this process has a capability in any of its sets, or the Error says which
// still has. By a signal to each thread: any thread may call it, once, while no other one drops or
// gains rights.
Result<void> drop_capabilities_of_all_threads();

}  // namespace np::kernel
