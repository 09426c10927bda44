// SPDX-License-Identifier: Apache-2.0
// Slab<T>: objects in chunks that never move, named by slot and generation. An object is
// constructed once per slot and reused (T::recycle() empties it and keeps its capacity), so that a
// steady state allocates nothing. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"

namespace np::proxy {

template <typename T>
class Slab {
 public:
  // A free object; its slot() and generation() are set.
  T& take() {
    if (free_.empty()) grow();
    T& object = at(free_.back());
    free_.pop_back();
    object.slab_used_ = true;
    return object;
  }

  void give_back(T& object) {
    NP_CHECK(object.slab_used_);
    object.recycle();
    object.slab_used_ = false;
    ++object.slab_generation_;
    free_.push_back(object.slab_slot_);
  }

  // Null when the slot now belongs to another object.
  T* find(uint32_t slot, uint32_t generation) {
    if (slot >= chunks_.size() * kChunk) return nullptr;
    T& object = at(slot);
    return object.slab_used_ && object.slab_generation_ == generation ? &object : nullptr;
  }

  // The free object that `newer` others will be taken before; null: there are fewer.
  T* free_below(size_t newer) {
    return free_.size() > newer ? &at(free_[free_.size() - 1 - newer]) : nullptr;
  }

  T& at(uint32_t slot) { return chunks_[slot / kChunk][slot % kChunk]; }

  size_t in_use() const { return chunks_.size() * kChunk - free_.size(); }

  template <typename Visit>
  void for_each(Visit&& visit) {
    for (auto& chunk : chunks_) {
      for (uint32_t i = 0; i < kChunk; ++i) {
        if (chunk[i].slab_used_) visit(chunk[i]);
      }
    }
  }

 private:
  static constexpr uint32_t kChunk = 32;

  void grow() {
    const auto first = static_cast<uint32_t>(chunks_.size() * kChunk);
    chunks_.push_back(std::make_unique<T[]>(kChunk));
    free_.reserve(chunks_.size() * kChunk);
    for (uint32_t i = kChunk; i-- > 0;) {
      chunks_.back()[i].slab_slot_ = first + i;
      free_.push_back(first + i);  // lowest slot on top
    }
  }

  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<uint32_t> free_;
};

// What a T needs: derive from it.
struct SlabObject {
  uint32_t slab_slot_ = 0;
  uint32_t slab_generation_ = 1;  // 0 never names an object
  bool slab_used_ = false;
};

}  // namespace np::proxy
