// SPDX-License-Identifier: Apache-2.0
// Histogram of durations with a relative error below 1 %: 128 linear steps per power of two. Used
// by the load generator; one thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace np::bench {

class Histogram {
 public:
  void record(uint64_t value_ns) {
    ++counts_[index_of(value_ns)];
    ++total_;
    if (value_ns > max_) max_ = value_ns;
    if (value_ns < min_) min_ = value_ns;
  }

  // The smallest value that at least `share` (0..1) of the records do not exceed; 0 when empty.
  uint64_t quantile(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(total_) + 0.5);
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted && seen > 0) return upper_bound(i) < max_ ? upper_bound(i) : max_;
    }
    return max_;
  }

  uint64_t total() const { return total_; }
  uint64_t max() const { return max_; }
  uint64_t min() const { return total_ == 0 ? 0 : min_; }

 private:
  static constexpr unsigned kStepBits = 7;
  static constexpr uint64_t kSteps = 1U << kStepBits;

  static size_t index_of(uint64_t value) {
    if (value < kSteps) return static_cast<size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - kStepBits - 1;
    return static_cast<size_t>((shift + 1) * kSteps + ((value >> shift) - kSteps));
  }
  static uint64_t upper_bound(size_t index) {
    if (index < kSteps) return index;
    const uint64_t shift = index / kSteps - 1;
    return ((index % kSteps + kSteps + 1) << shift) - 1;
  }

  std::array<uint64_t, 58 * kSteps> counts_{};
  uint64_t total_ = 0;
  uint64_t max_ = 0;
  uint64_t min_ = UINT64_MAX;
};

}  // namespace np::bench
