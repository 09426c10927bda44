// SPDX-License-Identifier: Apache-2.0
// BlockPool, ByteQueue and Pipe: bytes that wait. Large pieces keep a reference to their receive
// buffer, small ones are copied into blocks, so that one byte never pins a whole buffer. All belong
// to one shard's Core; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/buffer.h"

namespace np::proxy {

// Recycled buffers of one size.
class BlockPool : public BufferOwner {
 public:
  static constexpr uint32_t kBlockBytes = 4096;
  static constexpr size_t kFreeBlocksMax = 256;  // more are given back to the heap
  // There from the beginning, so that it is no burst of bodies that has to ask for each of them.
  static constexpr size_t kWarmBlocks = 32;

  BlockPool();
  ~BlockPool() override;
  BufferRef take();
  void recycle(Buffer* buffer) override;
  size_t in_use() const { return in_use_; }

 private:
  Buffer* make();

  std::vector<Buffer*> free_;
  size_t in_use_ = 0;
};

// FIFO of slices that all have owners.
class ByteQueue {
 public:
  static constexpr size_t kCopyLimitBytes = 1024;

  // References `slice` when it is large and has an owner, else copies it.
  void append(const Slice& slice, BlockPool& blocks);
  // Always copies: no receive buffer stays pinned.
  void append_copy(std::string_view bytes, BlockPool& blocks);

  bool empty() const { return bytes_ == 0; }
  size_t size_bytes() const { return bytes_; }
  // Memory held: whole buffers for referenced slices.
  size_t charged_bytes() const { return charged_; }
  const Slice& front() const { return slices_[first_]; }
  // Copies the first bytes, at most `max`, whatever slices they lie in; returns how many.
  size_t peek(char* out, size_t max) const;
  void consume(size_t bytes);
  void clear();

 private:
  std::vector<Slice> slices_;
  size_t first_ = 0;
  size_t bytes_ = 0;
  size_t charged_ = 0;
  Buffer* tail_ = nullptr;  // block that may take more, owned by the last slice
  uint32_t tail_used_ = 0;
};

// A request body on its way: what has not been sent yet, and, as long as a repeat is possible, what
// has. Owned by an Exchange.
class Pipe {
 public:
  // A body in more pieces than this is not kept for a repeat: each piece costs a slice.
  static constexpr size_t kKeptSlicesMax = 256;

  // `limit`: bytes kept for a repeat; 0 keeps nothing.
  void keep(size_t limit) { keep_limit_ = limit; }
  void append(const Slice& slice, bool copy, BlockPool& blocks);

  bool has_unsent() const { return next_ < slices_.size(); }
  size_t unsent_bytes() const { return unsent_; }
  size_t charged_bytes() const { return unsent_; }
  // What it holds now: bytes that wait, and sent ones that are kept for a repeat.
  size_t held_bytes() const { return complete_ && keep_limit_ > 0 ? total_ : unsent_; }
  bool keeps() const { return keep_limit_ > 0; }
  // The next unsent slice; counts as sent from now on.
  Slice take();
  // True while everything from the first byte on is still here.
  bool can_replay() const { return complete_; }
  // Begins again at the first byte. Requires can_replay().
  void rewind();
  // Lets go of what was sent: no repeat will come.
  void drop_kept();
  // Everything received so far, for a mirror; empty references when not kept.
  const std::vector<Slice>& kept() const { return slices_; }
  size_t total_bytes() const { return total_; }
  void clear();

 private:
  std::vector<Slice> slices_;
  size_t next_ = 0;
  size_t unsent_ = 0;
  size_t total_ = 0;
  size_t keep_limit_ = 0;
  bool complete_ = true;
  Buffer* tail_ = nullptr;
  uint32_t tail_used_ = 0;
};

}  // namespace np::proxy
