// SPDX-License-Identifier: Apache-2.0
// FamilyChoice: which sets of names /metrics tells. They tell the same counts, so who reads only
// one of them need not pay for the others: with a thousand services each is tens of megabytes. A
// value.
#pragma once

#include <string_view>

#include "base/result.h"

namespace np::metrics {

struct FamilyChoice {
  bool istio = true;         // Istio's names of today
  bool istio_legacy = true;  // those of 0.x
  bool envoy = true;
  bool envoy_statsd = true;  // gauges with the cluster in the name
  bool nodeproxy = true;     // our own

  // "istio,nodeproxy"; refuses other names, and none at all.
  static Result<FamilyChoice> parse(std::string_view text);
  bool operator==(const FamilyChoice&) const = default;
};

inline constexpr const char* kAllFamilies = "istio,istio-legacy,envoy,envoy-statsd,nodeproxy";

}  // namespace np::metrics
