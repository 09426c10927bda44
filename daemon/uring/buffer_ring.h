// SPDX-License-Identifier: Apache-2.0
// BufferRing: the receive buffers of one shard, given to the kernel as a provided-buffer ring, so
// that a connection holds memory only while it has data. Owns the memory; a Buffer is out while
// somebody refers to it and goes back to the kernel when the last reference is dropped. Grows by
// chunks up to a limit when readers hold many; it never shrinks, but can give back what pages hold
// nothing. Shard's thread, except create().
//
// The kernel takes buffers in the order in which it was given them, so all that it has are used in
// turn, and memory that was used long ago is in no cache. It is given a few at a time, the last
// used first: what comes in lands where something has just been read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/result.h"
#include "uring/ring.h"

struct io_uring_buf_ring;

namespace np::uring {

struct BufferRingOptions {
  uint16_t group = 0;
  uint32_t buffer_bytes = 16384;
  uint32_t initial = 256;  // buffers; power of two
  uint32_t max = 4096;     // buffers; power of two, at most 32768
  // The kernel has at most so many at a time. It fills about 20 per entry with small messages; a
  // receive that finds none is armed again in the next iteration.
  uint32_t window = 64;
};

class BufferRing final : public BufferOwner {
 public:
  // Before ring.seal().
  static Result<std::unique_ptr<BufferRing>> create(Ring& ring, const BufferRingOptions& options);
  ~BufferRing() override;
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  // The buffer that a completion with has_buffer() came in, out in the name of `holder` (below
  // kHolders) until its last reference is dropped.
  static constexpr uint32_t kHolders = 4096;
  BufferRef take(const Completion& completion, uint32_t holder);
  void recycle(Buffer* buffer) override;

  // Once per loop iteration, before submitting: hands free buffers to the kernel, and grows when
  // few are left. True when it has grown.
  bool maintain();

  // Returns the pages of buffers that hold nothing to the kernel, which finds new ones when it
  // fills them; returns how many bytes. Only while the kernel fills none and all that it has filled
  // were taken.
  size_t give_back_idle();

  uint16_t group() const { return options_.group; }
  uint32_t in_kernel() const { return in_kernel_; }  // handed over or about to be
  uint32_t free() const { return in_kernel_ + static_cast<uint32_t>(spare_.size()); }
  uint32_t total() const { return total_; }
  // Buffers out in the name of `holder`, and those that could still be given out to anybody.
  uint32_t held(uint32_t holder) const { return held_[holder]; }
  uint32_t available() const { return options_.max - (total_ - free()); }
  uint32_t buffer_bytes() const { return options_.buffer_bytes; }
  bool is_exhausted() const { return free() == 0 && total_ == options_.max; }

 private:
  struct Chunk {
    char* memory = nullptr;
    size_t size_bytes = 0;
    std::unique_ptr<Buffer[]> buffers;
  };

  explicit BufferRing(const BufferRingOptions& options) : options_(options), held_(kHolders) {}
  bool grow();
  void offer(Buffer* buffer);
  Buffer& at(uint32_t id) { return chunks_[id / options_.initial].buffers[id % options_.initial]; }

  BufferRingOptions options_;
  io_uring_buf_ring* entries_ = nullptr;
  size_t entries_bytes_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<uint32_t> held_;  // by holder
  std::vector<Buffer*> spare_;  // free and not in the kernel; the last used at the end
  uint32_t total_ = 0;
  uint32_t in_kernel_ = 0;
  uint16_t tail_ = 0;            // of the ring, as we will publish it
  uint16_t published_tail_ = 0;  // as the kernel sees it
};

}  // namespace np::uring
