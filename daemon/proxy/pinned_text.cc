// SPDX-License-Identifier: Apache-2.0
#include "proxy/pinned_text.h"

#include "proxy/core.h"

namespace np::proxy {
namespace {

constexpr size_t kSpareMax = 64;

}  // namespace

Slice PinnedTexts::slice(SnapshotPin* pin, std::string_view text) {
  if (spare_.empty()) spare_.push_back(std::make_unique<PinnedBuffer>());
  PinnedBuffer* buffer = spare_.back().release();
  spare_.pop_back();
  buffer->owner = this;
  buffer->data = const_cast<char*>(text.data());  // a Buffer has no const form; nobody writes
  buffer->size_bytes = static_cast<uint32_t>(text.size());
  buffer->pin = core_.pin_again(pin);
  return {BufferRef(buffer), text};
}

void PinnedTexts::recycle(Buffer* buffer) {
  std::unique_ptr<PinnedBuffer> mine(static_cast<PinnedBuffer*>(buffer));
  core_.unpin(mine->pin);
  if (spare_.size() < kSpareMax) spare_.push_back(std::move(mine));
}

}  // namespace np::proxy
