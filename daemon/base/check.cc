// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace np {

std::atomic<uint64_t> g_unexpected_count{0};

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "nodeproxy: check failed: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

void count_unexpected(const char* condition, const char* file, int line) {
  // The first few are worth a line each; a flood is not.
  constexpr uint64_t kLoggedHits = 16;
  if (g_unexpected_count.fetch_add(1, std::memory_order_relaxed) < kLoggedHits) {
    std::fprintf(stderr, "nodeproxy: unexpected: %s (%s:%d)\n", condition, file, line);
  }
}

}  // namespace np
