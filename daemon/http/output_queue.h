// SPDX-License-Identifier: Apache-2.0
// OutputQueue: the bytes a connection still has to send, in order. Small pieces (heads, chunk
// sizes, small bodies) are copied into blocks of its own; large body slices are kept by reference.
// Owned by one proxy::Connection; filled by its Codec, drained by the driver. Shard thread.
//
// Invariant: bytes handed out by fill_iovec() neither move nor change until consume() has passed
// them, because the kernel reads them while the send is under way.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "base/buffer.h"

namespace np::http {

class OutputQueue {
 public:
  // Slices of at most this many bytes are copied, larger ones referenced.
  static constexpr size_t kCopyLimitBytes = 512;
  static constexpr size_t kBlockBytes = 4096;

  OutputQueue();
  ~OutputQueue();
  OutputQueue(OutputQueue&&) noexcept;
  OutputQueue& operator=(OutputQueue&&) noexcept;

  // Appends a copy of `bytes`.
  void append(std::string_view bytes);
  // Appends a slice; keeps a reference when it is large and has an owner, else copies.
  void append(Slice slice);

  // Writes at most `max` entries for the first unsent bytes; returns how many.
  size_t fill_iovec(iovec* out, size_t max) const;
  // `bytes` were sent.
  void consume(size_t bytes);

  size_t size_bytes() const { return size_bytes_; }
  // Memory pinned by this queue: whole receive buffers and blocks, not only the bytes in use.
  size_t charged_bytes() const;
  bool empty() const { return size_bytes_ == 0; }
  // Drops everything and gives blocks and references back.
  void clear();

 private:
  struct Block;
  struct Segment {
    std::unique_ptr<Block> block;  // own bytes, or
    BufferRef owner;               // referenced bytes
    const char* data = nullptr;
    size_t size = 0;
  };
  size_t size_bytes_ = 0;
  size_t head_offset_ = 0;         // of the first segment
  std::vector<Segment> segments_;  // a ring would save the erase; see output_queue.cc
  size_t first_ = 0;
};

}  // namespace np::http
