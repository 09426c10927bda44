// SPDX-License-Identifier: Apache-2.0
// An Explanation as JSON text, for `nodectl explain` without a daemon: what files say, and nothing
// of what is live. A library of its own with explain_parts.h, so that nodectl links nothing else of
// this room. Pure function.
#pragma once

#include <string>

#include "policy/explain.h"

namespace np::control {

std::string explanation_text(const policy::Explanation& explanation);

}  // namespace np::control
