// SPDX-License-Identifier: Apache-2.0
// Characters, without the locale that <cctype> asks.
#pragma once

namespace np {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace np
