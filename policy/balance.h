// SPDX-License-Identifier: Apache-2.0
// Tables for consistent hashing, built by compile() on the control thread; read through
// endpoint_for_hash() of snapshot.h on any thread.
#pragma once

#include "policy/snapshot.h"

namespace np::policy {

inline constexpr uint64_t kLargestRing = 8U << 20U;
inline constexpr uint64_t kLargestMaglevTable = 5'000'011;

// Fills cluster.ring or cluster.maglev if its load balancing asks for one. An endpoint's places
// depend on its address, so that the loss of one endpoint moves (nearly) only its own keys.
void build_hash_tables(Cluster& cluster);

}  // namespace np::policy
