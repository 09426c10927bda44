// SPDX-License-Identifier: Apache-2.0
#include "http/head_memory.h"

#include "http/thread_cache.h"

namespace np::http {
namespace {

using MemoryCache = ThreadCache<HeadMemory, 128>;

// Memory with room for more than this is not kept as spare.
constexpr size_t kSpareBytesMax = 8 * 1024;
constexpr size_t kUsualFieldCount = 32;

}  // namespace

std::unique_ptr<HeadMemory> HeadMemoryChain::take() {
  std::unique_ptr<HeadMemory> memory = MemoryCache::take();
  if (memory->fields.capacity() == 0) memory->fields.reserve(kUsualFieldCount);
  return memory;
}

void HeadMemoryChain::give(std::unique_ptr<HeadMemory> memory) {
  if (memory->bytes.capacity() > kSpareBytesMax) return;
  memory->head = Head{};
  memory->fields.clear();
  memory->connection_names.clear();
  memory->bytes.clear();
  memory->target.clear();
  MemoryCache::give(std::move(memory));
}

void HeadMemoryChain::hold(std::unique_ptr<HeadMemory> memory) {
  memory->next = std::move(first_);
  first_ = std::move(memory);
}

void HeadMemoryChain::release() {
  while (first_ != nullptr) {
    std::unique_ptr<HeadMemory> memory = std::move(first_);
    first_ = std::move(memory->next);
    give(std::move(memory));
  }
}

}  // namespace np::http
