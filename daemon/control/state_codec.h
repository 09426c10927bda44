// SPDX-License-Identifier: Apache-2.0
// What the state file holds, as JSON text: accepted objects, pod registrations,
// the guard. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/guard.h"
#include "control/pod_registry.h"
#include "policy/object.h"

namespace np::control {

struct SavedState {
  uint64_t generation = 0;     // of the snapshot that was in effect
  uint64_t next_sequence = 1;  // of the object store
  std::vector<policy::Object> objects;
  std::vector<PodRegistration> pods;
  GuardSettings guard;
};

std::string to_json_text(const SavedState& state);
Result<SavedState> parse_saved_state(std::string_view text);

}  // namespace np::control
