// SPDX-License-Identifier: Apache-2.0
// Scratch: memory that an operation names only until it is submitted: message headers, addresses,
// numbers. The kernel copies them at submit (IORING_FEAT_SUBMIT_STABLE), so a connection need not
// keep them. Allocates only until it has grown to the largest batch. Shard's thread.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace np::shard {

class Scratch {
 public:
  template <typename T>
  T* make(T value) {
    static_assert(std::is_trivially_destructible_v<T> && sizeof(T) <= kCellBytes);
    if (next_ == kBlockCells * blocks_.size()) {
      blocks_.push_back(std::make_unique<Cell[]>(kBlockCells));
    }
    Cell& cell = blocks_[next_ / kBlockCells][next_ % kBlockCells];
    ++next_;
    return new (cell.bytes) T(std::move(value));
  }
  void clear() { next_ = 0; }

 private:
  static constexpr size_t kCellBytes = 64;  // a msghdr has 56, a sockaddr_in6 28
  static constexpr size_t kBlockCells = 64;
  struct Cell {
    alignas(std::max_align_t) std::byte bytes[kCellBytes];
  };
  std::vector<std::unique_ptr<Cell[]>> blocks_;
  size_t next_ = 0;
};

}  // namespace np::shard
