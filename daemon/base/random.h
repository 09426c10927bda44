// SPDX-License-Identifier: Apache-2.0
// Rng: xoshiro256** (Blackman and Vigna, public domain algorithm). One per shard, seeded by its
// owner, so that a simulation can be repeated. Not for secrets.
#pragma once

#include <cstdint>

namespace np {

class Rng {
 public:
  explicit Rng(uint64_t seed) {
    // splitmix64 spreads a small seed over the whole state, as the generator's authors advise.
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15U;
      uint64_t z = seed;
      z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
      z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
      word = z ^ (z >> 31U);
    }
  }

  uint64_t next() {
    const uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound); 0 when bound is 0. The bias of the multiply-shift is below 2^-32.
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(((next() >> 32U) * bound) >> 32U); }

  // True with probability numerator / denominator.
  bool chance(uint32_t numerator, uint32_t denominator) {
    return numerator >= denominator || below(denominator) < numerator;
  }

 private:
  static uint64_t rotate_left(uint64_t value, unsigned bits) {
    return (value << bits) | (value >> (64U - bits));
  }
  uint64_t state_[4];
};

}  // namespace np
