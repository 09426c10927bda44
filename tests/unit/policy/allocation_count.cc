// SPDX-License-Identifier: Apache-2.0
// In a file of its own: where a compiler sees new and malloc together it warns of a mismatch.
#include "tests/unit/policy/allocation_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<uint64_t> g_allocations{0};
}

uint64_t np::allocation_count() {
  return g_allocations.load(std::memory_order_relaxed);
}

// TSan's runtime has an operator new of its own: there the count stays 0, and the other builds
// count.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NP_RUNTIME_OWNS_NEW
#endif
#endif

#ifndef NP_RUNTIME_OWNS_NEW
void* operator new(size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}
// std::stable_sort asks for its buffer this way and gives it back by the plain delete.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return operator new(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
#endif
