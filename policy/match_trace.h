// SPDX-License-Identifier: Apache-2.0
// MatchTrace: how a request met the rules of a host, for people who ask why. Filled by
// RouteTable::explain(), which takes the way that match() takes. A plain value.
#pragma once

#include <string>
#include <vector>

#include "policy/snapshot.h"

namespace np::policy {

// One match of one rule, tried in order until one holds.
struct RuleTrial {
  const Route* route = nullptr;  // where it would lead
  std::string wants;             // its condition in words
  std::string mismatch;          // the first demand that failed; empty: it holds
};

struct MatchTrace {
  std::vector<RuleTrial> trials;  // the last one holds, or none does
  bool is_default = false;        // no rule held: what follows them was used
  // Objects that this caller does not see were passed over; the namespaces of those who do.
  std::vector<std::string> exported_elsewhere;
};

}  // namespace np::policy
