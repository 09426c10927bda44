// SPDX-License-Identifier: Apache-2.0
#include "proxy/pipe.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"

namespace np::proxy {
namespace {

// Entries of slices that are gone are erased from this many on. A queue that is never empty, as
// that of a client which always pipelines one more request, would keep them for ever.
constexpr size_t kSpentMax = 64;
// The first piece that waits makes room for as many. Of most queues nothing ever waits; one that
// has to hold pieces gets there in one step, not in one allocation for each time the number of
// pieces doubles.
constexpr size_t kFirstSlices = 8;

void push_piece(std::vector<Slice>& slices, Slice slice) {
  if (slices.capacity() == 0) slices.reserve(kFirstSlices);
  slices.push_back(std::move(slice));
}

void drop_spent(std::vector<Slice>& slices, size_t& first) {
  if (first <= kSpentMax || first * 2 <= slices.size()) return;
  slices.erase(slices.begin(), slices.begin() + static_cast<std::ptrdiff_t>(first));
  first = 0;
}

}  // namespace

// ---- BlockPool -------------------------------------------------------------------------------

BlockPool::BlockPool() {
  free_.reserve(kFreeBlocksMax);
  while (free_.size() < kWarmBlocks) free_.push_back(make());
}

BlockPool::~BlockPool() {
  for (Buffer* buffer : free_) {
    ::operator delete(buffer);
  }
}

Buffer* BlockPool::make() {
  void* memory = ::operator new(sizeof(Buffer) + kBlockBytes);
  auto* buffer = new (memory) Buffer;
  buffer->owner = this;
  buffer->data = static_cast<char*>(memory) + sizeof(Buffer);
  buffer->size_bytes = kBlockBytes;
  return buffer;
}

BufferRef BlockPool::take() {
  if (free_.empty()) free_.push_back(make());
  Buffer* buffer = free_.back();
  free_.pop_back();
  ++in_use_;
  return BufferRef(buffer);
}

void BlockPool::recycle(Buffer* buffer) {
  --in_use_;
  if (free_.size() >= kFreeBlocksMax) {
    ::operator delete(buffer);
    return;
  }
  free_.push_back(buffer);
}

// ---- ByteQueue -------------------------------------------------------------------------------

void ByteQueue::append(const Slice& slice, BlockPool& blocks) {
  if (slice.bytes.empty()) return;
  if (!slice.owner || slice.bytes.size() <= kCopyLimitBytes) {
    append_copy(slice.bytes, blocks);
    return;
  }
  tail_ = nullptr;
  push_piece(slices_, slice);
  bytes_ += slice.bytes.size();
  charged_ += slice.owner.get()->size_bytes;
}

void ByteQueue::append_copy(std::string_view bytes, BlockPool& blocks) {
  while (!bytes.empty()) {
    if (tail_ == nullptr || tail_used_ == tail_->size_bytes) {
      BufferRef block = blocks.take();
      tail_ = block.get();
      tail_used_ = 0;
      push_piece(slices_, {std::move(block), {tail_->data, 0}});
      charged_ += tail_->size_bytes;
    }
    const size_t n = std::min<size_t>(bytes.size(), tail_->size_bytes - tail_used_);
    std::memcpy(tail_->data + tail_used_, bytes.data(), n);
    tail_used_ += static_cast<uint32_t>(n);
    std::string_view& last = slices_.back().bytes;
    last = {last.data(), last.size() + n};
    bytes_ += n;
    bytes.remove_prefix(n);
  }
}

size_t ByteQueue::peek(char* out, size_t max) const {
  size_t copied = 0;
  for (size_t i = first_; i < slices_.size() && copied < max; ++i) {
    copied += slices_[i].bytes.copy(out + copied, max - copied);
  }
  return copied;
}

void ByteQueue::consume(size_t bytes) {
  NP_DCHECK(bytes <= bytes_);
  bytes_ -= bytes;
  while (bytes > 0) {
    Slice& slice = slices_[first_];
    const size_t n = std::min(bytes, slice.bytes.size());
    slice.bytes.remove_prefix(n);
    bytes -= n;
    if (!slice.bytes.empty()) break;
    charged_ -= slice.owner.get()->size_bytes;
    if (slice.owner.get() == tail_) tail_ = nullptr;
    slice.owner = BufferRef();
    ++first_;
  }
  if (bytes_ == 0) {
    clear();
  } else {
    drop_spent(slices_, first_);
  }
}

void ByteQueue::clear() {
  slices_.clear();
  first_ = 0;
  bytes_ = 0;
  charged_ = 0;
  tail_ = nullptr;
}

// ---- Pipe ------------------------------------------------------------------------------------

void Pipe::append(const Slice& slice, bool copy, BlockPool& blocks) {
  if (slice.bytes.empty()) return;
  total_ += slice.bytes.size();
  const bool too_much = total_ > keep_limit_ || slices_.size() >= kKeptSlicesMax;
  if (complete_ && keep_limit_ > 0 && too_much) drop_kept();
  unsent_ += slice.bytes.size();
  if (!copy && slice.owner && slice.bytes.size() > ByteQueue::kCopyLimitBytes) {
    tail_ = nullptr;
    push_piece(slices_, slice);
    return;
  }
  std::string_view bytes = slice.bytes;
  while (!bytes.empty()) {
    if (tail_ == nullptr || tail_used_ == tail_->size_bytes) {
      BufferRef block = blocks.take();
      tail_ = block.get();
      tail_used_ = 0;
      push_piece(slices_, {std::move(block), {tail_->data, 0}});
    } else if (next_ == slices_.size()) {
      // A slice that was handed out must not grow: another one in the same block, which is still
      // here because the last slice is kept. A block per piece would let 1-byte chunks pin 4 KiB
      // each.
      const BufferRef block = slices_.back().owner;
      slices_.push_back({block, {tail_->data + tail_used_, 0}});
    }
    const size_t n = std::min<size_t>(bytes.size(), tail_->size_bytes - tail_used_);
    std::memcpy(tail_->data + tail_used_, bytes.data(), n);
    tail_used_ += static_cast<uint32_t>(n);
    std::string_view& last = slices_.back().bytes;
    last = {last.data(), last.size() + n};
    bytes.remove_prefix(n);
  }
}

Slice Pipe::take() {
  Slice& slice = slices_[next_++];
  unsent_ -= slice.bytes.size();
  if (complete_ && keep_limit_ > 0) return slice;
  complete_ = false;
  Slice result = std::move(slice);
  if (next_ == slices_.size()) {
    slices_.clear();
    next_ = 0;
    tail_ = nullptr;
  } else {
    drop_spent(slices_, next_);
  }
  return result;
}

void Pipe::rewind() {
  NP_CHECK(complete_);
  next_ = 0;
  unsent_ = total_;
}

void Pipe::drop_kept() {
  keep_limit_ = 0;
  if (next_ > 0) complete_ = false;
  slices_.erase(slices_.begin(), slices_.begin() + static_cast<std::ptrdiff_t>(next_));
  next_ = 0;
  if (slices_.empty()) tail_ = nullptr;
}

void Pipe::clear() {
  slices_.clear();
  if (slices_.capacity() > kKeptSlicesMax) slices_.shrink_to_fit();
  next_ = 0;
  unsent_ = 0;
  total_ = 0;
  keep_limit_ = 0;
  complete_ = true;
  tail_ = nullptr;
}

}  // namespace np::proxy
