// SPDX-License-Identifier: Apache-2.0
// LagGate: decides whether a shard's loop runs so late that it should get nothing new. The lag of a
// window is the length of its iterations, each weighted by the time that it took: what somebody who
// comes at any time finds before him. One long iteration is a pause (a stopped process, a machine
// that slept), not load: several of a window must be late. No clock and no system call; the times
// are those that the loop has read anyway. Owned by its Shard, on the shard's thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace np::overload {

// The shortest window, and how many times the limit it is at least.
inline constexpr Duration kLagWindow = std::chrono::seconds(2);
inline constexpr int kLagWindowLimits = 4;
// Iterations of a window that must have been longer than the limit.
inline constexpr uint32_t kLateIterations = 3;
// For as long as this the lag must stay below half of the limit before the gate opens again.
inline constexpr Duration kCalmAfter = std::chrono::seconds(4);

class LagGate {
 public:
  // `limit`: zero switches the gate off.
  explicit LagGate(Duration limit)
      : limit_(limit), window_(std::max(kLagWindow, kLagWindowLimits * limit)) {}

  // An iteration that began to work `took` before `end`, `late` after it should have. True when
  // is_late() has changed.
  bool on_iteration(Duration took, Duration late, Instant end) {
    if (limit_ <= Duration::zero()) return false;
    const Duration length = took + late;
    if (begin_ == Instant()) begin_ = end - length;
    const double ns = static_cast<double>(length.count());
    squares_ += ns * ns;
    if (length >= limit_) ++late_iterations_;
    ++iterations_;
    // So long that there are three of them: else the slowest loops would never count as late.
    if (end - begin_ < window_ || iterations_ < kLateIterations) return false;
    return end_window(end);
  }
  bool is_late() const { return is_late_; }
  // Of the latest window.
  Duration lag() const { return lag_; }

 private:
  bool end_window(Instant end) {
    const double window_ns = static_cast<double>((end - begin_).count());
    lag_ = Duration(static_cast<int64_t>(squares_ / window_ns));
    const bool was_late = is_late_;
    if (lag_ >= limit_ && late_iterations_ >= kLateIterations) is_late_ = true;
    if (lag_ >= limit_ / 2) {
      calm_since_ = kNever;
    } else if (calm_since_ == kNever) {
      calm_since_ = begin_;
    }
    if (is_late_ && calm_since_ != kNever && end - calm_since_ >= kCalmAfter) is_late_ = false;
    begin_ = end;
    squares_ = 0;
    iterations_ = late_iterations_ = 0;
    return is_late_ != was_late;
  }

  Duration limit_, window_;
  Instant begin_{}, calm_since_ = kNever;
  double squares_ = 0;
  uint32_t iterations_ = 0, late_iterations_ = 0;
  Duration lag_{};
  bool is_late_ = false;
};

}  // namespace np::overload
