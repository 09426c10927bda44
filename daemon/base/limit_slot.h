// SPDX-License-Identifier: Apache-2.0
// LimitSlot: what one limit looks like to people who read the kernel's maps (np_limit). Written
// with plain stores under the lock of the limit's owner; readers may be anywhere.
#pragma once

#include <atomic>
#include <cstdint>

namespace np {

struct LimitSlot {
  uint64_t active;    // requests under way
  uint64_t max;       // of them; 0: none
  uint64_t rejected;  // refused so far
  uint64_t pending;   // waiting
};
static_assert(sizeof(LimitSlot) == 32);

inline void store_shared(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t>(word).store(value, std::memory_order_relaxed);
}

}  // namespace np
