// SPDX-License-Identifier: Apache-2.0
// Answers that the proxy gives itself: status and body text for each EndReason, worded as Envoy
// words them, since dashboards and people search for these texts.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/end_reason.h"

namespace np::proxy {

struct OwnAnswer {
  uint16_t status = 500;
  std::string_view body;
};

// For reasons with outcome kRefused. kFaultAbort and kBadRequest bring their own status.
OwnAnswer own_answer(EndReason reason);

// How an end is named in access logs and spans: Envoy's response code details where it has one.
std::string_view details_of(EndReason reason);

}  // namespace np::proxy
