// SPDX-License-Identifier: Apache-2.0
// The worker's system call filter: an allow-list; everything else fails with EPERM. io_uring is not
// covered by seccomp, so rings are restricted on their own (design.md 8.1), and after this no ring
// can be made.
#pragma once

#include "base/result.h"

namespace np::kernel {

// On all threads of the process. Cannot be undone.
Result<void> install_seccomp_filter();

}  // namespace np::kernel
