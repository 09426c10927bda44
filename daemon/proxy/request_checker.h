// SPDX-License-Identifier: Apache-2.0
// RequestChecker: whether a request may go on to the cluster that was chosen for it. Evaluates the
// cluster's rules and charges its quotas; what was charged is given back when a later quota of the
// same request is exhausted. Owned by a Core, on its shard's thread; no heap use in steady state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/time.h"
#include "policy/check_eval.h"
#include "proxy/counters.h"
#include "proxy/quota_windows.h"

namespace np::proxy {

// Why a request is refused. Texts live as long as the snapshot.
struct Refusal {
  uint16_t status = 429;
  std::string_view denial{};  // body of a denier's answer; empty: a quota is exhausted
  std::string_view quota{};   // its name
  std::optional<Duration> retry_after{};
};

class RequestChecker {
 public:
  // `shared`: the node's windows; null: an own instance, made when it is first needed.
  RequestChecker(QuotaWindows* shared, uint64_t seed) : windows_(shared), seed_(seed) {}

  // `deduplicate`: the request's id comes from a caller whose repeats are one request.
  std::optional<Refusal> check(const policy::ClusterChecks& checks,
                               const policy::AttributeView& request, bool deduplicate, Instant now,
                               EngineCounters& counters);

 private:
  // One check under way.
  struct Check {
    policy::CheckInput input;
    bool deduplicate;
    Instant now;
    EngineCounters& counters;
  };
  struct Charged {
    QuotaCharge charge;
    QuotaAnswer answer;
  };

  bool applies(const policy::CheckRule& rule, const Check& check);
  std::optional<Refusal> charge(const policy::QuotaCheck& quota, const Check& check);
  void undo();

  QuotaWindows* windows_;
  std::unique_ptr<QuotaWindows> own_windows_;
  uint64_t seed_;
  Arena arena_;
  std::vector<std::string_view> values_;  // of the quota's dimensions
  std::vector<Charged> charged_;
};

}  // namespace np::proxy
