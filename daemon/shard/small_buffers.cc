// SPDX-License-Identifier: Apache-2.0
#include "shard/small_buffers.h"

#include <cstring>

#include "base/check.h"

namespace np::shard {

BufferRef SmallBuffers::copy(std::string_view bytes, uint32_t holder) {
  NP_CHECK(bytes.size() <= kBytes);
  if (held_[holder] >= kMax - out_) return {};
  if (free_.empty()) grow();
  Buffer* buffer = free_.back();
  free_.pop_back();
  std::memcpy(buffer->data, bytes.data(), bytes.size());
  buffer->holder = holder;
  ++held_[holder];
  ++out_;
  return BufferRef(buffer);
}

void SmallBuffers::recycle(Buffer* buffer) {
  --held_[buffer->holder];
  --out_;
  free_.push_back(buffer);
}

void SmallBuffers::grow() {
  Chunk& chunk = chunks_.emplace_back();
  chunk.memory = std::make_unique<char[]>(size_t{kChunk} * kBytes);
  chunk.buffers = std::make_unique<Buffer[]>(kChunk);
  for (uint32_t i = 0; i < kChunk; ++i) {
    Buffer& buffer = chunk.buffers[i];
    buffer.owner = this;
    buffer.data = chunk.memory.get() + size_t{i} * kBytes;
    buffer.size_bytes = kBytes;
    free_.push_back(&buffer);
  }
}

}  // namespace np::shard
