// SPDX-License-Identifier: Apache-2.0
// EndpointWindow: what an endpoint answered since the latest sweep, for the ejection rules that
// look at whole intervals. Part of an EndpointHealth, guarded by its ServiceHealth's lock.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace np::proxy {

class EndpointWindow {
 public:
  void add(bool failed, Duration took) {
    ++answers_;
    if (failed) ++failures_;
    ++took_[bucket_of(took)];
  }
  void clear() { *this = {}; }

  uint32_t answers() const { return answers_; }
  double success_percent() const {
    return answers_ == 0 ? 100.0 : 100.0 * (answers_ - failures_) / answers_;
  }
  // Upper end of the bucket that holds the percentile: at most an eighth too high.
  Duration percentile(double percent) const {
    const double wanted = std::max(1.0, percent / 100.0 * answers_);
    uint64_t seen = 0;
    for (size_t i = 0; i < took_.size(); ++i) {
      seen += took_[i];
      if (static_cast<double>(seen) >= wanted) return upper_end(i);
    }
    return Duration::zero();
  }

 private:
  // Eight buckets for each power of two of microseconds, up to 2^28 us (4.5 minutes).
  static constexpr unsigned kStepBits = 3;
  static constexpr unsigned kSteps = 1U << kStepBits;
  static constexpr unsigned kPowers = 28;

  static size_t bucket_of(Duration took) {
    const auto us = static_cast<uint64_t>(std::max<int64_t>(took.count() / 1000, 0));
    if (us < kSteps) return us;
    const unsigned power = static_cast<unsigned>(std::bit_width(us)) - 1;
    if (power >= kPowers) return kSteps * (kPowers - kStepBits + 1) - 1;
    const uint64_t step = (us >> (power - kStepBits)) & (kSteps - 1);
    return (power - kStepBits + 1) * kSteps + step;
  }
  static Duration upper_end(size_t bucket) {
    if (bucket < kSteps) return std::chrono::microseconds(bucket + 1);
    const size_t power = bucket / kSteps + kStepBits - 1;
    const uint64_t step = bucket % kSteps;
    const uint64_t us = (kSteps + step + 1) << (power - kStepBits);
    return std::chrono::microseconds(static_cast<int64_t>(us));
  }

  uint32_t answers_ = 0, failures_ = 0;
  std::array<uint32_t, kSteps*(kPowers - kStepBits + 1)> took_{};
};

}  // namespace np::proxy
