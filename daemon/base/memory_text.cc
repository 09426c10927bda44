// SPDX-License-Identifier: Apache-2.0
#include "base/memory_text.h"

#include <array>
#include <cstdio>

namespace np {

std::string bytes_text(uint64_t bytes) {
  constexpr double kMebi = 1024.0 * 1024.0;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f MiB", static_cast<double>(bytes) / kMebi);
  return text.data();
}

std::string memory_use_text(uint64_t used, uint64_t limit, const std::string& limit_source) {
  if (limit == 0) return bytes_text(used) + " in use, no limit is known";
  constexpr double kAll = 100;
  std::array<char, 32> percent{};
  std::snprintf(percent.data(), percent.size(), "%.1f %%",
                static_cast<double>(used) * kAll / static_cast<double>(limit));
  return bytes_text(used) + " of " + bytes_text(limit) + " (" + limit_source + ") in use, " +
         percent.data();
}

}  // namespace np
