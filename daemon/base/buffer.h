// SPDX-License-Identifier: Apache-2.0
// Receive buffers as counted references. A Buffer belongs to a BufferOwner (the shard's buffer
// ring, or a heap owner in tests) and goes back to it when its last reference is dropped.
// Everything here stays on one shard's thread: counts are plain integers.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

namespace np {

struct Buffer;

class BufferOwner {
 public:
  virtual ~BufferOwner() = default;
  // Called once, when nobody refers to `buffer` any more.
  virtual void recycle(Buffer* buffer) = 0;
};

struct Buffer {
  BufferOwner* owner = nullptr;
  char* data = nullptr;
  uint32_t size_bytes = 0;
  uint32_t references = 0;
  uint32_t id = 0;      // the owner's own number for it
  uint32_t holder = 0;  // in whose name it is out
};

class BufferRef {
 public:
  BufferRef() = default;
  explicit BufferRef(Buffer* buffer) : buffer_(buffer) {
    if (buffer_ != nullptr) ++buffer_->references;
  }
  BufferRef(const BufferRef& other) : BufferRef(other.buffer_) {}
  BufferRef(BufferRef&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  BufferRef& operator=(BufferRef other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~BufferRef() {
    if (buffer_ != nullptr && --buffer_->references == 0) buffer_->owner->recycle(buffer_);
  }

  Buffer* get() const { return buffer_; }
  explicit operator bool() const { return buffer_ != nullptr; }

 private:
  Buffer* buffer_ = nullptr;
};

// Bytes and what keeps them alive. An empty `owner` means: valid until the end of the step.
struct Slice {
  BufferRef owner;
  std::string_view bytes;
};

}  // namespace np
