// SPDX-License-Identifier: Apache-2.0
// The names of retry conditions (Envoy's retry_on), as policies and request fields spell them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "policy/model.h"

namespace np::policy {

struct RetryName {
  std::string_view name;
  uint32_t bit;
};
inline constexpr std::array kRetryNames = {
    RetryName{"5xx", kRetry5xx},
    RetryName{"gateway-error", kRetryGatewayError},
    RetryName{"reset", kRetryReset},
    RetryName{"reset-before-request", kRetryResetBeforeRequest},
    RetryName{"connect-failure", kRetryConnectFailure},
    RetryName{"refused-stream", kRetryRefusedStream},
    RetryName{"retriable-4xx", kRetryRetriable4xx},
    RetryName{"retriable-status-codes", kRetryStatusCodes},
    RetryName{"cancelled", kRetryGrpcCancelled},
    RetryName{"deadline-exceeded", kRetryGrpcDeadlineExceeded},
    RetryName{"internal", kRetryGrpcInternal},
    RetryName{"resource-exhausted", kRetryGrpcResourceExhausted},
    RetryName{"unavailable", kRetryGrpcUnavailable},
};

// 0: no such condition.
constexpr uint32_t retry_bit(std::string_view name) {
  for (const RetryName& known : kRetryNames) {
    if (known.name == name) return known.bit;
  }
  return 0;
}

}  // namespace np::policy
