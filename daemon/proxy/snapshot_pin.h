// SPDX-License-Identifier: Apache-2.0
// SnapshotPin: one snapshot as a shard knows it, counted without atomics. Owned by the Core; an
// Exchange keeps a reference for as long as it lives.
#pragma once

#include <cstdint>
#include <memory>

#include "policy/snapshot.h"

namespace np::proxy {

struct SnapshotPin {
  std::shared_ptr<const policy::Snapshot> snapshot;
  uint64_t number = 0;  // the shard's own count of snapshots
  uint32_t references = 0;
};

}  // namespace np::proxy
