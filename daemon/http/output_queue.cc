// SPDX-License-Identifier: Apache-2.0
#include "http/output_queue.h"

#include <algorithm>

#include "base/check.h"
#include "http/thread_cache.h"

namespace np::http {

struct OutputQueue::Block {
  uint32_t segments = 0;  // that point into it
  uint32_t used_bytes = 0;
  static constexpr size_t kRoomBytes = kBlockBytes - 2 * sizeof(uint32_t);
  char bytes[kRoomBytes];
};

namespace {

// 1 MiB of spare blocks per thread at most.
using BlockCache = ThreadCache<OutputQueue::Block, 256>;

// Spent entries before the first one are erased from this many on.
constexpr size_t kSpentMax = 64;

}  // namespace

OutputQueue::OutputQueue() {
  static_assert(sizeof(Block) == kBlockBytes);
}
OutputQueue::~OutputQueue() {
  clear();
}
OutputQueue::OutputQueue(OutputQueue&& other) noexcept {
  *this = std::move(other);
}

OutputQueue& OutputQueue::operator=(OutputQueue&& other) noexcept {
  if (this == &other) return *this;
  clear();
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  charged_bytes_ = std::exchange(other.charged_bytes_, 0);
  segments_ = std::exchange(other.segments_, {});
  first_ = std::exchange(other.first_, 0);
  tail_ = std::exchange(other.tail_, nullptr);
  return *this;
}

void OutputQueue::append(std::string_view bytes) {
  append_copy(bytes.data(), bytes.size());
}

void OutputQueue::append(Slice slice) {
  if (!slice.owner || slice.bytes.size() <= kCopyLimitBytes) {
    append_copy(slice.bytes.data(), slice.bytes.size());
  } else {
    append_reference(std::move(slice));
  }
}

void OutputQueue::append_copy(const char* data, size_t size) {
  while (size > 0) {
    const Room place = room();
    const size_t piece = std::min(size, place.size);
    std::memcpy(place.data, data, piece);
    commit(piece);
    data += piece;
    size -= piece;
  }
}

OutputQueue::Room OutputQueue::room() {
  if (tail_ != nullptr && tail_->used_bytes == Block::kRoomBytes) {
    // Full and sent: nothing but tail_ kept it.
    if (tail_->segments == 0) drop_block(tail_);
    tail_ = nullptr;
  }
  if (tail_ == nullptr) tail_ = add_block();
  return {tail_->bytes + tail_->used_bytes, Block::kRoomBytes - tail_->used_bytes};
}

void OutputQueue::commit(size_t bytes) {
  if (bytes == 0) return;
  const char* const place = tail_->bytes + tail_->used_bytes;
  tail_->used_bytes += static_cast<uint32_t>(bytes);
  size_bytes_ += bytes;
  if (first_ < segments_.size() && segments_.back().block == tail_ &&
      segments_.back().data + segments_.back().size == place) {
    segments_.back().size += bytes;
    return;
  }
  ++tail_->segments;
  segments_.push_back({place, bytes, tail_, {}, false});
}

void OutputQueue::append_reference(Slice slice) {
  const bool pays = find_owner(first_, slice.owner.get()) == segments_.size();
  if (pays) charged_bytes_ += slice.owner.get()->size_bytes;
  size_bytes_ += slice.bytes.size();
  segments_.push_back(
      {slice.bytes.data(), slice.bytes.size(), nullptr, std::move(slice.owner), pays});
}

size_t OutputQueue::fill_iovec(iovec* out, size_t max) const {
  const size_t count = std::min(max, segments_.size() - first_);
  for (size_t i = 0; i < count; ++i) {
    const Segment& segment = segments_[first_ + i];
    out[i] = {const_cast<char*>(segment.data), segment.size};  // iovec has no const form
  }
  return count;
}

void OutputQueue::consume(size_t bytes) {
  NP_CHECK(bytes <= size_bytes_);
  size_bytes_ -= bytes;
  while (bytes > 0) {
    Segment& segment = segments_[first_];
    if (bytes < segment.size) {
      segment.data += bytes;
      segment.size -= bytes;
      break;
    }
    bytes -= segment.size;
    drop_first();
  }
  if (size_bytes_ == 0) {
    clear();
  } else {
    unpin_first();
  }
}

void OutputQueue::clear() {
  while (first_ < segments_.size()) drop_first();
  segments_.clear();
  if (segments_.capacity() > kSpentMax) segments_.shrink_to_fit();
  first_ = 0;
  size_bytes_ = 0;
  if (tail_ != nullptr) drop_block(tail_);
  tail_ = nullptr;
}

OutputQueue::Block* OutputQueue::add_block() {
  Block* const block = BlockCache::take().release();
  block->segments = 0;
  block->used_bytes = 0;
  charged_bytes_ += kBlockBytes;
  return block;
}

void OutputQueue::drop_block(Block* block) {
  charged_bytes_ -= kBlockBytes;
  BlockCache::give(std::unique_ptr<Block>(block));
}

void OutputQueue::drop_first() {
  Segment& spent = segments_[first_++];
  if (spent.block != nullptr) {
    if (--spent.block->segments == 0 && spent.block != tail_) drop_block(spent.block);
  } else {
    if (spent.pays) {
      // The charge moves on to the next segment in the same buffer, if there is one.
      const size_t heir = find_owner(first_, spent.owner.get());
      if (heir < segments_.size()) {
        segments_[heir].pays = true;
      } else {
        charged_bytes_ -= spent.owner.get()->size_bytes;
      }
    }
    spent.owner = {};
  }
  if (first_ > kSpentMax && first_ * 2 > segments_.size()) {
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
}

// Copies a small rest of a large buffer into a block of its own, unless later bytes keep the buffer
// anyway.
void OutputQueue::unpin_first() {
  Segment& segment = segments_[first_];
  if (!segment.owner || segment.size > kCopyLimitBytes) return;
  if (segment.owner.get()->size_bytes <= kBlockBytes) return;
  if (find_owner(first_ + 1, segment.owner.get()) < segments_.size()) return;
  Block* const block = add_block();
  std::memcpy(block->bytes, segment.data, segment.size);
  block->used_bytes = static_cast<uint32_t>(segment.size);
  block->segments = 1;
  charged_bytes_ -= segment.owner.get()->size_bytes;
  segment = {block->bytes, segment.size, block, {}, false};
  // Nothing follows: the block's room can be used, and the old one is not needed.
  if (first_ + 1 == segments_.size()) {
    if (tail_ != nullptr) drop_block(tail_);
    tail_ = block;
  }
}

// The first segment at or after `from` that lies in `buffer`; the number of segments if none does.
size_t OutputQueue::find_owner(size_t from, const Buffer* buffer) const {
  // Backwards: bytes of one buffer are appended close to each other.
  size_t found = segments_.size();
  for (size_t i = segments_.size(); i > from; --i) {
    if (segments_[i - 1].owner.get() == buffer) found = i - 1;
  }
  return found;
}

}  // namespace np::http
