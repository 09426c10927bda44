// SPDX-License-Identifier: Apache-2.0
// Rules of repeats that need no Exchange (traffic-semantics 3.5). Pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/field.h"
#include "base/random.h"
#include "policy/model.h"

namespace np::proxy {

// RFC 9110 9.2.2. Others are repeated only when nothing reached the endpoint.
bool is_idempotent(std::string_view method);

// Wait before repeat `n` (1, 2, ...): uniform in [0, (2^n - 1) x base), at most the policy's cap.
Duration backoff(const policy::Retry& retry, uint32_t n, Rng& rng);

// The RetryOn conditions that an answer head meets; 0: the answer is final.
uint32_t answer_conditions(const policy::Retry& retry, uint16_t status, FieldSpan fields);

}  // namespace np::proxy
