// SPDX-License-Identifier: Apache-2.0
// SlotTable<T>: objects with a number and a generation, in chunks that never move, so that the
// kernel may hold addresses inside them. Grows to `limit` slots; free slots are reused last in,
// first out, because their memory is warm. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"

namespace np::uring {

template <typename T>
class SlotTable {
 public:
  static constexpr uint32_t kNoSlot = UINT32_MAX;

  explicit SlotTable(uint32_t limit) : limit_(limit) {}

  // A default-constructed T in a free slot, or kNoSlot at the limit.
  uint32_t acquire() {
    if (free_.empty() && !grow()) return kNoSlot;
    const uint32_t slot = free_.back();
    free_.pop_back();
    cell(slot).used = true;
    ++used_;
    return slot;
  }

  // Ends this life of the slot: its generation changes and T is reset.
  void release(uint32_t slot) {
    Cell& old = cell(slot);
    NP_CHECK(old.used);
    old.value = T{};
    old.used = false;
    ++old.generation;
    --used_;
    free_.push_back(slot);
  }

  T& at(uint32_t slot) { return cell(slot).value; }
  uint32_t generation(uint32_t slot) { return cell(slot).generation; }
  // Null when the slot is free or lives another life: the caller counts that as stale.
  T* find(uint32_t slot, uint32_t generation) {
    if (slot >= size_) return nullptr;
    Cell& candidate = cell(slot);
    return candidate.used && candidate.generation == generation ? &candidate.value : nullptr;
  }

  uint32_t used() const { return used_; }
  uint32_t limit() const { return limit_; }
  // Calls visit(slot, T&) for every slot in use. `visit` must not acquire or release.
  template <typename Visit>
  void for_each(Visit visit) {
    for (uint32_t slot = 0; slot < size_; ++slot) {
      if (cell(slot).used) visit(slot, cell(slot).value);
    }
  }

 private:
  static constexpr uint32_t kChunkSlots = 64;
  struct Cell {
    T value{};
    uint32_t generation = 1;  // never 0, so that a zeroed user_data is always stale
    bool used = false;
  };

  Cell& cell(uint32_t slot) { return chunks_[slot / kChunkSlots][slot % kChunkSlots]; }

  bool grow() {
    if (size_ >= limit_) return false;
    chunks_.push_back(std::make_unique<Cell[]>(kChunkSlots));
    const uint32_t end = size_ + kChunkSlots < limit_ ? size_ + kChunkSlots : limit_;
    // Pushed from the back, so that low numbers are handed out first.
    for (uint32_t slot = end; slot > size_; --slot) free_.push_back(slot - 1);
    size_ = end;
    return true;
  }

  uint32_t limit_;
  uint32_t size_ = 0;
  uint32_t used_ = 0;
  std::vector<std::unique_ptr<Cell[]>> chunks_;
  std::vector<uint32_t> free_;
};

}  // namespace np::uring
