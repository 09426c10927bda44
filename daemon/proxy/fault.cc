// SPDX-License-Identifier: Apache-2.0
#include "proxy/fault.h"

#include <cmath>
#include <numbers>

namespace np::proxy {
namespace {

constexpr double kNanosecondsPerSecond = 1e9;

// In (0, 1), never an end, because of the logarithms.
double uniform(Rng& rng) {
  return (static_cast<double>(rng.next() >> 12U) + 0.5) / 4503599627370496.0;
}

double draw(const policy::DelayShape& shape, Rng& rng) {
  using Kind = policy::DelayShape::Kind;
  const auto a = static_cast<double>(shape.a.count());
  const auto b = static_cast<double>(shape.b.count());
  switch (shape.kind) {
    case Kind::kFixed:
      return a;
    case Kind::kUniform:
      return a + (b - a) * uniform(rng);
    case Kind::kNormal:  // Box and Muller
      return a + b * std::sqrt(-2.0 * std::log(uniform(rng))) *
                     std::cos(2.0 * std::numbers::pi * uniform(rng));
    case Kind::kExponential:
      return -a * std::log(uniform(rng));
  }
  return a;
}

}  // namespace

Duration draw_delay(const policy::DelayShape& shape, Rng& rng) {
  const auto most = static_cast<double>(policy::kDelayMax.count());
  return Duration(static_cast<int64_t>(std::clamp(draw(shape, rng), 0.0, most)));
}

size_t Throttle::take(size_t wanted, Instant now) {
  if (now < ready_at()) return 0;
  const double passed = static_cast<double>((now - since_).count()) / kNanosecondsPerSecond;
  const double accrued = passed * static_cast<double>(rate_);
  const auto taken = static_cast<size_t>(std::min(accrued, static_cast<double>(wanted)));
  if (taken == wanted) {
    // What accrues while nothing is there to be sent is not kept.
    since_ = now;
  } else {
    since_ += Duration(static_cast<int64_t>(static_cast<double>(taken) * kNanosecondsPerSecond /
                                            static_cast<double>(rate_)));
  }
  return taken;
}

Instant Throttle::ready_at() const {
  const auto one_byte =
      Duration(static_cast<int64_t>(kNanosecondsPerSecond / static_cast<double>(rate_)) + 1);
  return since_ + std::max(kPiece, one_byte);
}

}  // namespace np::proxy
