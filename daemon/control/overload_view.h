// SPDX-License-Identifier: Apache-2.0
// OverloadStatus in the words of `nodectl status`, `doctor` and `explain`. For the .cc files of the
// verbs only. Pure functions; control thread.
#pragma once

#include <string>
#include <vector>

#include "control/arguments.h"
#include "control/check.h"
#include "control/data_path.h"

namespace np::control {

// Null where nobody tells.
Json view_overload(const Seams& seams);
// One for memory, one for load, one for the watchdog, each with its remedy.
std::vector<Check> check_overload(const Seams& seams);
// What becomes of a request now, whatever policy says; empty: what policy says.
std::string overload_note(const Seams& seams);

}  // namespace np::control
