// SPDX-License-Identifier: Apache-2.0
// Parts of a DestinationRule's trafficPolicy. Shared by the files that load it.
#pragma once

#include "policy/values.h"

namespace np::policy {

// What the fields of one object ask for that this version does not do yet.
struct PolicyFindings {
  bool originates_tls = false;
  int tls_line = 0;
};

// load_balancing.cc
std::optional<LoadBalancing> read_load_balancing(const Value& value);

// load_connection_pool.cc
std::optional<ConnectionPool> read_connection_pool(const Value& value);
std::optional<Outlier> read_outlier(const Value& value);

}  // namespace np::policy
