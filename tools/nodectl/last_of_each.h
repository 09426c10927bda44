// SPDX-License-Identifier: Apache-2.0
// Alternatives of one object (reviews-v3.yaml, reviews-50-v3.yaml) may lie in one directory: the
// last one stands for them, as if they had been applied in this order. Pure function.
#pragma once

#include <vector>

#include "policy/object.h"

namespace np::nodectl {

std::vector<policy::Object> last_of_each(const std::vector<policy::Object>& objects);

}  // namespace np::nodectl
