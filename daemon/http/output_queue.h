// SPDX-License-Identifier: Apache-2.0
// OutputQueue: the bytes a connection still has to send, in order. Small pieces (heads, chunk
// sizes, small bodies) are copied into blocks of its own; large body slices are kept by reference.
// Owned by one proxy::Connection; filled by its Codec, drained by the driver. Shard thread. Blocks
// come from and go back to a cache of the thread, so an empty queue holds none.
//
// Invariant: bytes handed out by fill_iovec() neither move nor change before consume() or clear(),
// because the kernel reads them while the send is under way.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
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

  // Room to write into in place, at least one byte; commit() appends what was written of it.
  // Nothing else may be appended in between.
  struct Room {
    char* data = nullptr;
    size_t size = 0;
  };
  Room room();
  void commit(size_t bytes);

  // Writes at most `max` entries for the first unsent bytes; returns how many.
  size_t fill_iovec(iovec* out, size_t max) const;
  // The send under way has ended and took `bytes`. What remains of it may now move: a small rest of
  // a large referenced buffer is copied out, so that it does not pin the buffer.
  void consume(size_t bytes);

  size_t size_bytes() const { return size_bytes_; }
  // Memory pinned by this queue: whole receive buffers and blocks, each once, not only the bytes in
  // use.
  size_t charged_bytes() const { return charged_bytes_; }
  bool empty() const { return size_bytes_ == 0; }
  // Drops everything and gives blocks and references back.
  void clear();

  struct Block;  // public for its cache in output_queue.cc only

 private:
  // Bytes in a block (`block` set) or in a receive buffer (`owner` set).
  struct Segment {
    const char* data = nullptr;
    size_t size = 0;
    Block* block = nullptr;
    BufferRef owner;
    bool pays = false;  // this segment carries its buffer's charge
  };

  void append_copy(const char* data, size_t size);
  void append_reference(Slice slice);
  Block* add_block();
  void drop_block(Block* block);
  void drop_first();
  void unpin_first();
  size_t find_owner(size_t from, const Buffer* buffer) const;

  size_t size_bytes_ = 0;
  size_t charged_bytes_ = 0;
  std::vector<Segment> segments_;
  size_t first_ = 0;       // segments before it are spent
  Block* tail_ = nullptr;  // the block with room
};

}  // namespace np::http
