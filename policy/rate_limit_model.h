// SPDX-License-Identifier: Apache-2.0
// RateLimit of nodeproxy.dev/v1: limits for requests to a service, counted by what users ask for
// (path, header, cookie, caller, version). Filled by load_rate_limit.cc. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/expression.h"
#include "policy/model_base.h"
#include "policy/quota_window.h"

namespace np::policy {

struct RateLimit {
  struct Target {
    std::string host;  // may be a wildcard
    Labels labels;     // every endpoint of the chosen destination carries these
  };
  struct Match {
    MatchCondition condition;
    std::vector<NamedMatch> cookies;
  };
  struct Limit {
    int64_t amount = 0;
    QuotaWindow window;
  };
  struct Rule {
    std::string name;            // unique in the object; the answer names it
    std::vector<Match> matches;  // any; none: every request
    std::vector<Expression> count_by;
    int64_t cost = 1;
    std::vector<Limit> limits;  // all of them hold
  };
  Origin origin;
  std::vector<Target> services;
  bool is_shadow = false;  // counts and refuses nothing
  std::vector<Rule> rules;
};

}  // namespace np::policy
