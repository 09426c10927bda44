// SPDX-License-Identifier: Apache-2.0
// Linking allocation_count.cc makes every allocation of the test program count.
#pragma once

#include <cstdint>

namespace np {

uint64_t allocation_count();

}  // namespace np
