// SPDX-License-Identifier: Apache-2.0
// The part of the command line that says when the daemon gives something up (docs/overload.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/time.h"
#include "overload/memory_gate.h"

namespace CLI {
class App;
}

namespace np {

inline constexpr int64_t kDurationMaxMs = 24 * 3600 * 1000L;  // that any option takes

struct OverloadChoices {
  uint64_t memory_limit_bytes = 0;  // 0: the cgroup's, or the machine's
  std::optional<overload::MemoryThresholds> memory = overload::MemoryThresholds();  // none: off
  Duration lag = std::chrono::milliseconds(500);                                    // zero: off
  Duration watchdog = std::chrono::seconds(2);                                      // zero: off
};

// The text of --overload-memory: "off", or three rising percentages. Nothing: it is neither.
std::optional<std::optional<overload::MemoryThresholds>> parse_thresholds(const std::string& text);

// Adds the options to `app`; what was given is in `choices` when it has been parsed. Both outlive
void define_overload(CLI::App& app, OverloadChoices& choices);

}  // namespace np
