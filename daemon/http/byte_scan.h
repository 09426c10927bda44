// SPDX-License-Identifier: Apache-2.0
// How many bytes of a text are good before the first bad one, 16 at a time where the CPU compares
// so many (x86-64-v2), else one by one. Pure functions for grammar.cc and h1_fields.cc, through
// which every byte of every head passes; any thread. Nothing behind the text's end is read.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#ifdef __SSSE3__
#include <immintrin.h>
#endif

namespace np::http {

// A set of bytes below 0x80: bit h of by_low[l] says whether byte h * 16 + l is a member.
struct ByteSet {
  alignas(16) std::array<uint8_t, 16> by_low{};
  // The bit for each upper half of a byte; none for those from 0x80 on.
  alignas(16) static constexpr std::array<uint8_t, 16> kBits = {1, 2, 4, 8, 16, 32, 64, 128};

  // `byte` below 0x80.
  constexpr void add(uint8_t byte) {
    by_low[byte & 15U] = static_cast<uint8_t>(by_low[byte & 15U] | kBits[byte >> 4U]);
  }
  constexpr bool contains(char c) const {
    const auto byte = static_cast<uint8_t>(c);
    return (by_low[byte & 15U] & kBits[byte >> 4U]) != 0;
  }
#ifdef __SSSE3__
  // Bit i: byte i is no member.
  unsigned find_strangers(__m128i bytes) const {
    const __m128i low_half = _mm_set1_epi8(15);
    const __m128i low = _mm_load_si128(reinterpret_cast<const __m128i*>(by_low.data()));
    const __m128i high = _mm_load_si128(reinterpret_cast<const __m128i*>(kBits.data()));
    const __m128i common =
        _mm_and_si128(_mm_shuffle_epi8(low, _mm_and_si128(bytes, low_half)),
                      _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16(bytes, 4), low_half)));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(common, _mm_setzero_si128())));
  }
#endif
};

// What a field value may hold: HTAB, SP, VCHAR and obs-text.
struct ValueBytes {
  constexpr bool contains(char c) const {
    const auto byte = static_cast<uint8_t>(c);
    return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
  }
#ifdef __SSSE3__
  unsigned find_strangers(__m128i bytes) const {
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    const __m128i stranger = _mm_or_si128(_mm_andnot_si128(tab, control), del);
    return static_cast<unsigned>(_mm_movemask_epi8(stranger));
  }
#endif
};

#ifdef __SSSE3__
namespace scan {

template <typename Word>
__m128i load_word(const char* from) {
  Word word = 0;
  std::memcpy(&word, from, sizeof(word));
  return _mm_cvtsi64_si128(static_cast<int64_t>(word));
}

// The first stranger among `size` bytes, sizeof(Word) to twice that: two words that may overlap.
template <typename Word, typename Set>
size_t good_bytes_in_two(const char* data, size_t size, const Set& set) {
  constexpr unsigned kBytes = sizeof(Word);
  const size_t second = size - kBytes;
  const unsigned in_first = set.find_strangers(load_word<Word>(data)) & ((1U << kBytes) - 1);
  if (in_first != 0) return static_cast<size_t>(std::countr_zero(in_first));
  const unsigned in_second =
      set.find_strangers(load_word<Word>(data + second)) & ((1U << kBytes) - 1);
  return in_second == 0 ? size : second + static_cast<size_t>(std::countr_zero(in_second));
}

}  // namespace scan
#endif

// The length of the longest beginning of `text` that has only members of `set`.
template <typename Set>
inline size_t good_bytes(std::string_view text, const Set& set) {
  const char* const data = text.data();
  const size_t size = text.size();
  size_t at = 0;
#ifdef __SSSE3__
  constexpr size_t kLanes = 16;
  const auto strangers_at = [&](size_t from) {
    return set.find_strangers(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + from)));
  };
  for (; size - at >= kLanes; at += kLanes) {
    const unsigned strangers = strangers_at(at);
    if (strangers != 0) return at + static_cast<size_t>(std::countr_zero(strangers));
  }
  if (at == size) return size;
  if (size > kLanes) {  // the rest, together with bytes that are known to be good
    const unsigned strangers = strangers_at(size - kLanes);
    return strangers == 0 ? size : size - kLanes + static_cast<size_t>(std::countr_zero(strangers));
  }
  if (size >= sizeof(uint64_t)) return scan::good_bytes_in_two<uint64_t>(data, size, set);
  if (size >= sizeof(uint32_t)) return scan::good_bytes_in_two<uint32_t>(data, size, set);
#endif
  while (at < size && set.contains(data[at])) ++at;
  return at;
}

}  // namespace np::http
