// SPDX-License-Identifier: Apache-2.0
// What nodeproxy.dev/v1 TrafficPolicy says: only what none of the other APIs can. Plain values, as
// in model.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "policy/model_base.h"

namespace np::policy {

// ---- ejection ---------------------------------------------------------------------------------

// Rules that look at a whole interval; each endpoint with at least `request_volume` answers in it
// takes part, and nothing happens with fewer than `minimum_hosts` of them (traffic-semantics 3.4).
struct SuccessRateRule {
  uint32_t minimum_hosts = 5;
  uint32_t request_volume = 100;
  double stdev_factor = 1.9;  // ejected below mean - factor x standard deviation
};
struct FailurePercentageRule {
  uint32_t threshold = 85;  // percent, ejected at or above
  uint32_t minimum_hosts = 5;
  uint32_t request_volume = 50;
};
struct LatencyRule {
  double percentile = 99;
  Duration threshold{};  // ejected when the percentile is above
  uint32_t minimum_hosts = 2;
  uint32_t request_volume = 50;
};

// ---- health checks ----------------------------------------------------------------------------

struct HealthCheck {
  bool http = true;  // else: a TCP connect
  std::string path = "/";
  std::string host;                             // "" : the endpoint's address
  uint16_t status_from = 200, status_to = 200;  // inclusive
  Duration interval = std::chrono::seconds(10);
  Duration timeout = std::chrono::seconds(1);
  uint32_t jitter_percent = 10;  // of the interval, added at random
  uint32_t unhealthy_threshold = 3;
  uint32_t healthy_threshold = 2;
};

// ---- faults -----------------------------------------------------------------------------------

struct DelayShape {
  enum class Kind : uint8_t { kFixed, kUniform, kNormal, kExponential };
  DelayShape() = default;
  template <typename Count, typename Period>
  DelayShape(std::chrono::duration<Count, Period> fixed)  // NOLINT(google-explicit-constructor)
      : a(fixed) {}
  DelayShape(Kind shape, Duration first, Duration second) : kind(shape), a(first), b(second) {}

  Kind kind = Kind::kFixed;
  Duration a{};  // fixed: the delay; uniform: least; normal, exponential: mean
  Duration b{};  // uniform: most; normal: standard deviation
};
// No drawn delay is longer.
inline constexpr Duration kDelayMax = std::chrono::hours(1);

}  // namespace np::policy
