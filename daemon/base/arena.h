// SPDX-License-Identifier: Apache-2.0
// Arena: bump allocation for texts that live and die together. reset() frees them all and keeps
// one chunk, so that ordinary requests allocate nothing. One thread, that of its owner.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace np {

class Arena {
 public:
  static constexpr size_t kFirstChunkBytes = 2048;
  static constexpr size_t kKeptChunkBytesMax = 16 * 1024;

  char* allocate(size_t size) {
    if (size > left_) grow(size);
    char* result = next_;
    next_ += size;
    left_ -= size;
    return result;
  }

  std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* to = allocate(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

  void reset() {
    // The newest chunk is the largest: keep it unless one huge head made it.
    if (chunks_.size() > 1 && chunks_.back().size <= kKeptChunkBytesMax) {
      std::swap(chunks_.front(), chunks_.back());
    }
    if (chunks_.size() > 1) chunks_.erase(chunks_.begin() + 1, chunks_.end());
    if (!chunks_.empty() && chunks_.front().size > kKeptChunkBytesMax) chunks_.clear();
    next_ = chunks_.empty() ? nullptr : chunks_.front().bytes.get();
    left_ = chunks_.empty() ? 0 : chunks_.front().size;
  }

 private:
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };

  void grow(size_t at_least) {
    size_t size = chunks_.empty() ? kFirstChunkBytes : chunks_.back().size * 2;
    while (size < at_least) size *= 2;
    chunks_.push_back({std::make_unique<char[]>(size), size});
    next_ = chunks_.back().bytes.get();
    left_ = size;
  }

  std::vector<Chunk> chunks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace np
