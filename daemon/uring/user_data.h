// SPDX-License-Identifier: Apache-2.0
// UserData: what an operation's completion says about who asked for it: which slot, in which of its
// lives, and what was asked. A completion whose generation is not the slot's present one is stale:
// it is counted and dropped, never followed. Value type.
#pragma once

#include <cstdint>

namespace np::uring {

struct UserData {
  uint32_t slot = 0;        // 24 bits
  uint32_t generation = 0;  // 32 bits
  uint8_t kind = 0;         // the driver's own enumeration

  static constexpr uint32_t kSlotMax = (1U << 24U) - 1;

  constexpr uint64_t pack() const {
    return (static_cast<uint64_t>(generation) << 32U) | (static_cast<uint64_t>(slot) << 8U) | kind;
  }
  static constexpr UserData unpack(uint64_t value) {
    return {static_cast<uint32_t>(value >> 8U) & kSlotMax, static_cast<uint32_t>(value >> 32U),
            static_cast<uint8_t>(value)};
  }
  bool operator==(const UserData&) const = default;
};

}  // namespace np::uring
