// SPDX-License-Identifier: Apache-2.0
// Pressure: what the Core remembers of short memory from one look to the next.
#pragma once

#include "base/memory_stage.h"
#include "base/time.h"

namespace np::proxy {

struct Pressure {
  MemoryStage stage = MemoryStage::kNormal;
  bool has_idle_clients = false;    // some were left for the next look
  Instant refusing_since = kNever;  // kRefuse or above
};

}  // namespace np::proxy
