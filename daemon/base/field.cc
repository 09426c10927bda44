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

// Eight letters at a time. A letter's case is one bit: where that alone differs, both must be
// letters.
bool is_same(uint64_t a, uint64_t b) {
  constexpr uint64_t kEach = ~0ULL / 255;
  constexpr uint64_t kTop = kEach * 0x80;
  const uint64_t difference = a ^ b;
  if (difference == 0) return true;
  if ((difference & ~(kEach * 0x20)) != 0) return false;
  // Each byte below 0x80 is compared with 'a' and 'z' by a sum that carries into its highest bit
  // only.
  const uint64_t small = (a | kEach * 0x20) & ~kTop;
  const uint64_t from_a = small + kEach * (0x80 - 'a');
  const uint64_t above_z = small + kEach * (0x7f - 'z');
  const uint64_t is_letter = (from_a ^ above_z) & ~a & kTop;
  return (difference << 2U & ~is_letter) == 0;
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
    return is_same(both(a), both(b));
  }
  const size_t last = size - sizeof(uint64_t);
  for (size_t i = 0; i < last; i += sizeof(uint64_t)) {
    if (!is_same(load<uint64_t>(a + i), load<uint64_t>(b + i))) return false;
  }
  return is_same(load<uint64_t>(a + last), load<uint64_t>(b + last));
}

const Field* find_field(FieldSpan fields, std::string_view name) {
  for (const Field& field : fields) {
    if (equals_ignoring_case(field.name, name)) return &field;
  }
  return nullptr;
}

}  // namespace np
