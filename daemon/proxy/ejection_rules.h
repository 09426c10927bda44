// SPDX-License-Identifier: Apache-2.0
// What a cluster's outlier rules say of one endpoint's tries (traffic-semantics 3.4, D6, D16). Pure
// functions; ServiceHealth calls them under its lock where they change the endpoint.
#pragma once

#include <cstdint>

#include "policy/snapshot.h"
#include "proxy/endpoint_health.h"

namespace np::proxy {

bool is_failure(const TryResult& result);

// The rows of failures: forgets them; counts a try; says how near the next ejection is.
void clear_row(EndpointHealth& endpoint);
void count_result(EndpointHealth& endpoint, const policy::Outlier& outlier,
                  const TryResult& result);
void weigh_row(EndpointHealth& endpoint, const policy::Outlier& outlier);

// The rule that the rows of failures have reached.
EjectionCause judge_row(const EndpointHealth& endpoint, const policy::Outlier& outlier);
// How many more failures in a row the rules in force forgive before they eject, and one more: at
// least one, for failures that led to no ejection block nobody.
uint32_t failures_left(const EndpointHealth& endpoint, const policy::Outlier& outlier);
// Requests in a row that may fail before the endpoint is ejected; 0: it never is.
uint32_t forgiven_failures(const policy::Outlier& outlier);

// Whether any rule in force holds the result against the endpoint. An answer that none does is as
// good as any; a connect that failed proves nothing either way. One slow answer says nothing, but
// who may have been out for slow ones is not let back in by another.
bool is_held_against(const policy::Outlier& outlier, const TryResult& result, uint32_t flags);
// Came back, and gets one request at a time until it has answered well.
bool is_half_open(const policy::Outlier& outlier, uint32_t flags);
// D6: the old rule looks at the share before this ejection, today's at the share after it.
bool may_eject(const policy::Outlier& outlier, const ServiceStanding& standing);
// Whether requests are kept from an endpoint that has yet to prove itself; `flags` are its own.
bool holds_back(const policy::Outlier& outlier, const ServiceStanding& standing, uint32_t flags);

}  // namespace np::proxy
