// SPDX-License-Identifier: Apache-2.0
#include "proxy/retry.h"

#include <algorithm>

namespace np::proxy {
namespace {

uint32_t grpc_condition(std::string_view status) {
  if (status == "1") return policy::kRetryGrpcCancelled;
  if (status == "4") return policy::kRetryGrpcDeadlineExceeded;
  if (status == "8") return policy::kRetryGrpcResourceExhausted;
  if (status == "13") return policy::kRetryGrpcInternal;
  if (status == "14") return policy::kRetryGrpcUnavailable;
  return 0;
}

}  // namespace

Duration backoff(const policy::Retry& retry, uint32_t n, Rng& rng) {
  const int64_t base = std::max<int64_t>(retry.backoff_base.count(), 0);
  const int64_t cap = std::max<int64_t>(retry.backoff_max.count(), base);
  const int64_t factor = (int64_t{1} << std::min<uint32_t>(n, 20)) - 1;
  const int64_t range = base > cap / factor ? cap : base * factor;
  if (range <= 0) return Duration::zero();
  return Duration(static_cast<int64_t>(rng.next() % static_cast<uint64_t>(range)));
}

uint32_t answer_conditions(const policy::Retry& retry, uint16_t status, FieldSpan fields) {
  // The endpoint, or a proxy before it, says that more load is not wanted.
  if (find_field(fields, "x-envoy-overloaded") != nullptr ||
      find_field(fields, "x-envoy-ratelimited") != nullptr) {
    return 0;
  }
  uint32_t conditions = 0;
  if (status >= 500) conditions |= policy::kRetry5xx;
  if (status >= 502 && status <= 504) conditions |= policy::kRetryGatewayError;
  if (status == 409) conditions |= policy::kRetryRetriable4xx;
  if (std::find(retry.status_codes.begin(), retry.status_codes.end(), status) !=
      retry.status_codes.end()) {
    conditions |= policy::kRetryStatusCodes;
  }
  const Field* grpc = find_field(fields, "grpc-status");
  if (grpc != nullptr) conditions |= grpc_condition(grpc->value);
  return conditions;
}

void RetryBudget::advance(Instant now) {
  const int64_t second =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (second == current_) return;
  const int64_t passed = std::min<int64_t>(std::max<int64_t>(second - current_, 0), kSeconds);
  for (int64_t i = 0; i < passed; ++i) {
    Second& oldest = seconds_[(second - i) % kSeconds];
    requests_ -= oldest.requests;
    repeats_ -= oldest.repeats;
    oldest = {};
  }
  current_ = second;
}

void RetryBudget::count_request(Instant now) {
  advance(now);
  ++seconds_[current_ % kSeconds].requests;
  ++requests_;
}

bool RetryBudget::take(Instant now, uint32_t percent, uint32_t minimum) {
  advance(now);
  const uint64_t allowed = std::max<uint64_t>(minimum, requests_ * percent / 100);
  if (repeats_ >= allowed) return false;
  ++seconds_[current_ % kSeconds].repeats;
  ++repeats_;
  return true;
}

}  // namespace np::proxy
