// SPDX-License-Identifier: Apache-2.0
// explain(): what the data path does with one request, and why, without sending it. Walks the
// functions that the engine walks (decide.h, match.h, check_eval.h) in the same order; what is
// drawn at random is told with its chances. Pure; control thread, or offline in nodectl.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "policy/call_terms.h"
#include "policy/decide.h"
#include "policy/explain_call.h"
#include "policy/explain_objects.h"
#include "policy/match_trace.h"
#include "policy/quota.h"

namespace np::policy {

// A rate limit or denial of the called service that is about the request.
struct ExplainedCheck {
  const Denial* denial = nullptr;
  const Quota* quota = nullptr;
  int64_t amount = 0;  // what the request costs
  CounterLimit limit;
  std::vector<std::string> dimensions;  // the values that choose the counter
  std::string tuple;                    // its key
};

// One place that the request may be sent to.
struct ExplainedDestination {
  const WeightedCluster* target = nullptr;  // null: the route leads nowhere
  double share = 0;                         // of such requests, 0 to 1
  FaultChoice fault;
  uint32_t faults_in_shadow = 0;  // that would be drawn before it, and are only counted
  // In the order in which they are asked; a denial is the only one.
  std::vector<ExplainedCheck> checks;
  std::optional<uint32_t> hashed_endpoint;  // of the cluster, where a hash decides
  const Cluster* cluster() const { return target == nullptr ? nullptr : target->cluster; }
};

struct Explanation {
  // What becomes of it when no fault and no limit gets in the way, in the order of the tests.
  enum class Outcome : uint8_t {
    kDirect,          // nothing covers it: it is not ours
    kMethodRefused,   // CONNECT
    kBadPath,         // 400
    kNoRoute,         // 404
    kPreflight,       // a CORS preflight, answered here
    kRedirect,        // location
    kDirectResponse,  // of the route
    kForward,         // to one of `destinations`
  };

  std::shared_ptr<const Snapshot> snapshot;  // what all pointers point into
  ExplainQuestion question;
  ExplainedCall call;
  Way way;
  bool is_opaque = false;  // a connection, not a request: method, path and headers play no part
  CallerView caller;
  RequestView request;  // as policy sees it; its texts are in `arena`

  std::string host_name;  // the listed name by which Host found its rules; empty: by address
  MatchTrace trace;
  RouteMatch match;
  Outcome outcome = Outcome::kNoRoute;
  std::string location;         // kRedirect
  std::string path, authority;  // kForward: as they go upstream
  CallTerms terms;
  bool is_sticky = false;  // the split falls the same way for this person
  std::vector<ExplainedDestination> destinations;
  std::vector<ExplainedObject> objects;  // that claim the host, or act on what it leads to

  Arena arena;
  std::vector<Field> fields;
};

struct ExplainInput {
  std::shared_ptr<const Snapshot> snapshot;
  const Model* model = nullptr;  // that the snapshot was compiled from
  ExplainQuestion question;
  Instant now;  // handed in: policy reads no clock
};

// Never null.
std::unique_ptr<Explanation> explain(const ExplainInput& input);

}  // namespace np::policy
