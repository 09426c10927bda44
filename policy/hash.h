// SPDX-License-Identifier: Apache-2.0
// The hashes of policy: path and table lookups, consistent hashing. Fixed functions of the bytes,
// the same in every process, so that a restart or a second node sends a key to the same endpoint.
#pragma once

#include <cstdint>
#include <string_view>

namespace np::policy {

inline constexpr uint64_t kFnvBasis = 0xcbf29ce484222325U;

// FNV-1a by the byte: the hash of every prefix of a path falls out of one pass over it.
constexpr uint64_t fnv_step(uint64_t hash, char byte) {
  return (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
}

// MurmurHash3's finaliser (public domain): every input bit reaches every output bit.
constexpr uint64_t mix64(uint64_t value) {
  value = (value ^ (value >> 33U)) * 0xff51afd7ed558ccdU;
  value = (value ^ (value >> 33U)) * 0xc4ceb9fe1a85ec53U;
  return value ^ (value >> 33U);
}

constexpr uint64_t hash_bytes(std::string_view bytes, uint64_t seed = 0) {
  uint64_t hash = kFnvBasis ^ mix64(seed);
  for (const char byte : bytes) hash = fnv_step(hash, byte);
  return mix64(hash);
}

// ASCII only, and inline: base/field.h has the same out of line.
constexpr char folded(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

// For unordered_map<std::string, ...>::find(std::string_view) without making a string.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return static_cast<size_t>(hash_bytes(text)); }
};

}  // namespace np::policy
