// SPDX-License-Identifier: Apache-2.0
// CallTerms: how long a request may take and when it is repeated: what its route says, changed by
// what a caller inside the mesh asks for in x-envoy- fields (traffic-semantics 3.5, 3.6). Pure
// functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/field.h"
#include "base/time.h"
#include "policy/snapshot.h"

namespace np::policy {

// Repeats that a caller may ask for (x-envoy-max-retries), where nothing else is configured.
inline constexpr uint32_t kCallerRetriesMax = 10;

struct CallTerms {
  Duration timeout{};          // of the whole request; zero: none
  Duration per_try_timeout{};  // zero: none
  uint32_t retries = 0;        // after the first try
  uint32_t retry_on = 0;       // RetryOn bits
};

CallTerms terms_of_route(const Route& route);

// What `fields` ask for. A value that is none is passed over; of repeated fields the first counts.
// `retries_max` bounds what a caller may ask for.
CallTerms terms_for_caller(const Route& route, FieldSpan fields, uint32_t retries_max);

// RFC 9110 9.2.2. Others are repeated only when nothing reached the endpoint.
bool is_idempotent(std::string_view method);

// A field that asks for something above: it is meant for us and goes no further.
bool is_call_term(std::string_view name);

}  // namespace np::policy
