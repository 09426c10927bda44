// SPDX-License-Identifier: Apache-2.0
#include "uring/buffer_ring.h"

#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"

namespace np::uring {
namespace {

// Below a quarter of a chunk, the next burst could find none.
constexpr uint32_t kLowWaterShare = 4;

void* map_anonymous(size_t size_bytes) {
  void* memory =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

Result<std::unique_ptr<BufferRing>> BufferRing::create(Ring& ring,
                                                       const BufferRingOptions& options) {
  constexpr uint32_t kEntriesMax = 32768;  // of the kernel
  const auto is_power_of_two = [](uint32_t value) { return (value & (value - 1)) == 0; };
  if (options.initial == 0 || options.window == 0 || options.initial > options.max ||
      options.max > kEntriesMax || !is_power_of_two(options.initial) ||
      !is_power_of_two(options.max)) {
    return Error{ErrorCode::kInvalid, "make a buffer ring",
                 "initial and max must be powers of two, initial <= max <= 32768, window > 0", ""};
  }
  std::unique_ptr<BufferRing> self(new BufferRing(options));
  self->spare_.reserve(options.max);
  self->entries_bytes_ = sizeof(io_uring_buf) * options.max;
  void* entries = map_anonymous(self->entries_bytes_);
  if (entries == nullptr) return system_error(errno, "map a buffer ring");
  self->entries_ = static_cast<io_uring_buf_ring*>(entries);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uintptr_t>(entries);
  registration.ring_entries = options.max;
  registration.bgid = options.group;
  const int result = ::io_uring_register_buf_ring(ring.native(), &registration, 0);
  if (result < 0) {
    return system_error(-result, "register a buffer ring",
                        result == -ENOMEM ? "RLIMIT_MEMLOCK may be too low" : "");
  }
  if (!self->grow()) return system_error(ENOMEM, "map receive buffers");
  (void)self->maintain();
  return self;
}

BufferRing::~BufferRing() {
  for (const Chunk& chunk : chunks_) ::munmap(chunk.memory, chunk.size_bytes);
  // The kernel pins the pages of the ring itself, so this is safe before the ring is closed.
  if (entries_ != nullptr) ::munmap(entries_, entries_bytes_);
}

BufferRef BufferRing::take(const Completion& completion, uint32_t holder) {
  Buffer& buffer = at(completion.buffer_id());
  NP_DCHECK(buffer.references == 0);
  --in_kernel_;
  buffer.holder = holder;
  ++held_[holder];
  return BufferRef(&buffer);
}

void BufferRing::recycle(Buffer* buffer) {
  --held_[buffer->holder];
  spare_.push_back(buffer);
}

void BufferRing::offer(Buffer* buffer) {
  // Not io_uring_buf_ring_add: its index is signed and would warn.
  io_uring_buf& entry = entries_->bufs[tail_ & (options_.max - 1)];
  entry.addr = reinterpret_cast<uintptr_t>(buffer->data);
  entry.len = buffer->size_bytes;
  entry.bid = static_cast<uint16_t>(buffer->id);
  ++tail_;
  ++in_kernel_;
}

bool BufferRing::maintain() {
  const bool grown = free() < options_.initial / kLowWaterShare && grow();
  while (in_kernel_ < options_.window && !spare_.empty()) {
    offer(spare_.back());
    spare_.pop_back();
  }
  if (tail_ != published_tail_) {
    io_uring_smp_store_release(&entries_->tail, tail_);
    published_tail_ = tail_;
  }
  return grown;
}

size_t BufferRing::give_back_idle() {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (options_.buffer_bytes % page != 0) return 0;  // a page may be two buffers'
  size_t given = 0;
  for (const Chunk& chunk : chunks_) {
    for (uint32_t begin = 0; begin < options_.initial;) {
      uint32_t end = begin;
      while (end < options_.initial && chunk.buffers[end].references == 0) ++end;
      const size_t bytes = size_t{end - begin} * options_.buffer_bytes;
      char* const first = chunk.memory + size_t{begin} * options_.buffer_bytes;
      if (bytes > 0 && ::madvise(first, bytes, MADV_DONTNEED) == 0) given += bytes;
      begin = end + 1;
    }
  }
  return given;
}

bool BufferRing::grow() {
  if (total_ == options_.max) return false;
  Chunk chunk;
  chunk.size_bytes = static_cast<size_t>(options_.initial) * options_.buffer_bytes;
  chunk.memory = static_cast<char*>(map_anonymous(chunk.size_bytes));
  if (chunk.memory == nullptr) return false;
  chunk.buffers = std::make_unique<Buffer[]>(options_.initial);
  chunks_.push_back(std::move(chunk));
  Chunk& added = chunks_.back();
  for (uint32_t i = 0; i < options_.initial; ++i) {
    Buffer& buffer = added.buffers[i];
    buffer.owner = this;
    buffer.data = added.memory + static_cast<size_t>(i) * options_.buffer_bytes;
    buffer.size_bytes = options_.buffer_bytes;
    buffer.id = total_++;
    spare_.push_back(&buffer);
  }
  return true;
}

}  // namespace np::uring
