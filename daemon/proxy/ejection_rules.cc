// SPDX-License-Identifier: Apache-2.0
#include "proxy/ejection_rules.h"

#include <algorithm>

namespace np::proxy {
namespace {

constexpr uint32_t kWhole = 100;  // percent

bool is_gateway_error(uint16_t status) {
  return status >= 502 && status <= 504;
}

// Whether requests would stay away from one more ejected endpoint: panic uses it all the same.
bool would_matter(const policy::Outlier& outlier, const ServiceStanding& standing) {
  const uint64_t left = standing.endpoints - std::min(standing.endpoints, standing.ejected + 1);
  return left * kWhole >= uint64_t{outlier.panic_percent} * standing.endpoints;
}

}  // namespace

bool is_failure(const TryResult& result) {
  switch (result.kind) {
    case TryResult::Kind::kAnswered:
      return result.status >= 500;
    case TryResult::Kind::kConnected:
      return false;
    case TryResult::Kind::kConnectFailed:
    case TryResult::Kind::kReset:
    case TryResult::Kind::kTimedOut:
      return true;
  }
  return true;
}

void clear_row(EndpointHealth& endpoint) {
  endpoint.consecutive_5xx = endpoint.consecutive_gateway = endpoint.consecutive_local = 0;
  endpoint.held_against = 0;
}

// What traffic-semantics 3.4 counts, per try.
void count_result(EndpointHealth& endpoint, const policy::Outlier& outlier,
                  const TryResult& result) {
  const bool answered = result.kind == TryResult::Kind::kAnswered;
  if (!is_failure(result)) return clear_row(endpoint);
  if (!answered && outlier.split_local_origin) {
    ++endpoint.consecutive_local;
    return;
  }
  endpoint.consecutive_local = 0;
  ++endpoint.consecutive_5xx;
  if (!answered || is_gateway_error(result.status)) {
    ++endpoint.consecutive_gateway;
  } else {
    endpoint.consecutive_gateway = 0;
  }
}

bool is_half_open(const policy::Outlier& outlier, uint32_t flags) {
  return outlier.half_open && (flags & EndpointHealth::kReturned) != 0;
}

bool is_held_against(const policy::Outlier& outlier, const TryResult& result, uint32_t flags) {
  const bool answered = result.kind == TryResult::Kind::kAnswered;
  if (!is_failure(result)) {
    return answered && outlier.latency && is_half_open(outlier, flags) &&
           result.took > outlier.latency->threshold;
  }
  if (!answered) return true;
  if (outlier.consecutive_5xx > 0 || outlier.success_rate || outlier.failure_percentage) {
    return true;
  }
  return outlier.consecutive_gateway_errors > 0 && is_gateway_error(result.status);
}

uint32_t failures_left(const EndpointHealth& endpoint, const policy::Outlier& outlier) {
  uint32_t left = UINT32_MAX;
  const auto consider = [&left](uint32_t threshold, uint32_t count) {
    if (threshold > 0) left = std::min(left, threshold > count ? threshold - count : 1);
  };
  consider(outlier.consecutive_5xx, endpoint.consecutive_5xx);
  consider(outlier.consecutive_gateway_errors, endpoint.consecutive_gateway);
  if (outlier.split_local_origin) {
    consider(outlier.consecutive_local_origin_failures, endpoint.consecutive_local);
  }
  return left;
}

void weigh_row(EndpointHealth& endpoint, const policy::Outlier& outlier) {
  const uint32_t forgiven = forgiven_failures(outlier);
  const uint32_t left = failures_left(endpoint, outlier);
  endpoint.held_against = forgiven > left ? forgiven - left : 0;
}

EjectionCause judge_row(const EndpointHealth& endpoint, const policy::Outlier& outlier) {
  const auto reached = [](uint32_t count, uint32_t threshold) {
    return threshold > 0 && count >= threshold;
  };
  if (reached(endpoint.consecutive_5xx, outlier.consecutive_5xx)) {
    return EjectionCause::kConsecutive5xx;
  }
  if (reached(endpoint.consecutive_gateway, outlier.consecutive_gateway_errors)) {
    return EjectionCause::kConsecutiveGateway;
  }
  if (outlier.split_local_origin &&
      reached(endpoint.consecutive_local, outlier.consecutive_local_origin_failures)) {
    return EjectionCause::kConsecutiveLocal;
  }
  return EjectionCause::kNone;
}

bool may_eject(const policy::Outlier& outlier, const ServiceStanding& standing) {
  if (standing.endpoints == 0) return false;
  const uint64_t allowed = uint64_t{outlier.max_ejection_percent} * standing.endpoints;
  if (outlier.old_percent_rule) return uint64_t{standing.ejected} * kWhole < allowed;
  return (uint64_t{standing.ejected} + 1) * kWhole <= allowed;
}

const char* to_text(EjectionCause cause) {
  switch (cause) {
    case EjectionCause::kNone:
      return "none";
    case EjectionCause::kConsecutive5xx:
      return "consecutive 5xx";
    case EjectionCause::kConsecutiveGateway:
      return "consecutive gateway errors";
    case EjectionCause::kConsecutiveLocal:
      return "consecutive local-origin failures";
    case EjectionCause::kSuccessRate:
      return "success rate";
    case EjectionCause::kFailurePercentage:
      return "failure percentage";
    case EjectionCause::kLatency:
      return "latency";
    case EjectionCause::kTrial:
      return "trial request failed";
  }
  return "none";
}

uint32_t forgiven_failures(const policy::Outlier& outlier) {
  uint32_t least = 0;
  const auto consider = [&least](uint32_t threshold) {
    if (threshold > 0 && (least == 0 || threshold < least)) least = threshold;
  };
  consider(outlier.consecutive_5xx);
  consider(outlier.consecutive_gateway_errors);
  if (outlier.split_local_origin) consider(outlier.consecutive_local_origin_failures);
  return least;
}

// Health checks send endpoints out beyond maxEjectionPercent: half-open holds wherever others are
// there to be asked.
bool holds_back(const policy::Outlier& outlier, const ServiceStanding& standing, uint32_t flags) {
  if (!would_matter(outlier, standing)) return false;
  if (is_half_open(outlier, flags) && standing.ejected + 1 < standing.endpoints) return true;
  const bool has_rule = is_half_open(outlier, flags) || forgiven_failures(outlier) > 0;
  return has_rule && may_eject(outlier, standing);
}

}  // namespace np::proxy
