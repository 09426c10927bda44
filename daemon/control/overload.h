// SPDX-License-Identifier: Apache-2.0
// What `nodectl status`, `doctor` and `explain` say of memory, load and watchdog, and who tells it:
// an interface that main wires. Control thread only.
#pragma once

#include <cstdint>
#include <string>

#include "base/memory_stage.h"
#include "base/time.h"

namespace np::control {

struct OverloadStatus {
  MemoryStage stage = MemoryStage::kNormal;
  Duration stage_age{};                                    // zero: it has never been another
  uint64_t memory_used_bytes = 0, memory_limit_bytes = 0;  // limit 0: none is known
  std::string memory_limit_source;
  std::string memory_thresholds;  // "92,95,98" or "off"
  uint32_t late_shards = 0;
  Duration lag_limit{};  // zero: off
  uint64_t requests_refused = 0, requests_ended = 0, connections_shed = 0;
  uint64_t watchdog_aborts = 0;
  Duration watchdog{};  // zero: off
};

class OverloadSource {
 public:
  virtual ~OverloadSource() = default;
  virtual OverloadStatus overload() = 0;
};

}  // namespace np::control
