// SPDX-License-Identifier: Apache-2.0
#include "base/field.h"

#include <cstring>

namespace np {
namespace {

template <typename Word>
Word load(const char* from) {
  Word word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Eight letters at a time. Each byte below 0x80 is compared with 'A' and 'Z' by a sum that carries
// into its highest bit only; a capital is then given the bit that makes it small.
uint64_t lower(uint64_t word) {
  constexpr uint64_t kEach = ~0ULL / 255;
  const uint64_t low = word & (kEach * 0x7f);
  const uint64_t from_a = low + kEach * (0x80 - 'A');
  const uint64_t above_z = low + kEach * (0x7f - 'Z');
  const uint64_t is_capital = (from_a ^ above_z) & ~word & (kEach * 0x80);
  return word | is_capital >> 2U;
}

}  // namespace

bool has_same_letters(const char* a, const char* b, size_t size) {
  if (size < sizeof(uint32_t)) {
    for (size_t i = 0; i < size; ++i) {
      if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
    }
    return true;
  }
  if (size < sizeof(uint64_t)) {  // two halves, which may overlap
    const size_t last = size - sizeof(uint32_t);
    const auto both = [last](const char* text) {
      return uint64_t{load<uint32_t>(text)} << 32U | load<uint32_t>(text + last);
    };
    return lower(both(a)) == lower(both(b));
  }
  const size_t last = size - sizeof(uint64_t);
  for (size_t i = 0; i < last; i += sizeof(uint64_t)) {
    if (lower(load<uint64_t>(a + i)) != lower(load<uint64_t>(b + i))) return false;
  }
  return lower(load<uint64_t>(a + last)) == lower(load<uint64_t>(b + last));
}

const Field* find_field(FieldSpan fields, std::string_view name) {
  for (const Field& field : fields) {
    if (equals_ignoring_case(field.name, name)) return &field;
  }
  return nullptr;
}

}  // namespace np
