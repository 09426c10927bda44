// SPDX-License-Identifier: Apache-2.0
// Checks: rate limits and denials in the form that the engine runs on. Each Cluster of a Snapshot
// that something applies to points at its ClusterChecks; all others cost one pointer test per
// request. Built by compile() (check_builder.h), owned by the Snapshot, immutable; read by any
// shard. What was spent is kept by the engine, by Quota::id and the values of all dimensions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "policy/attribute_view.h"
#include "policy/condition.h"
#include "policy/string_matcher.h"

namespace np::policy {

// How a counter gives back what was spent.
struct CounterWindow {
  enum class Kind : uint8_t {
    kTicks,   // rolling: `ticks` ticks of length `tick`, an amount comes back when its tick leaves
    kFixed,   // all of it, `tick` after the first amount was spent
    kBucket,  // one unit each `tick`, up to the limit
    kNever,
  };
  Kind kind = Kind::kNever;
  uint32_t ticks = 0;
  Duration tick{};
  bool operator==(const CounterWindow&) const = default;
};

// Memory of one counter; longer windows have longer ticks, and give back at most one tick late.
inline constexpr uint32_t kWindowTicksMax = 600;
CounterWindow counter_window(const QuotaWindow& window);

struct CounterLimit {
  int64_t amount = 0;
  CounterWindow window;
};

struct Quota {
  struct Override {
    std::vector<std::pair<uint32_t, std::string>> dimensions;  // {index, value}
    CounterLimit limit;
  };
  uint32_t id = 0;   // stable per handler and instance
  std::string name;  // of the instance, for people
  std::vector<Expression> dimensions;
  CounterLimit limit;
  std::vector<Override> overrides;  // the first whose dimensions all fit counts
  Duration deduplication{};
  bool is_shadow = false;  // counts, and refuses nothing
};

struct Denial {
  uint16_t status = 403;
  std::string body;
};

// What a QuotaSpec charges for the requests that it is about.
struct QuotaCharge {
  struct Clause {
    Attribute attribute = Attribute::kRequestPath;
    StringMatcher matcher;
  };
  std::vector<std::vector<Clause>> matches;  // any, each with all its clauses; none: all requests
  std::vector<Labels> destinations;          // any of these sets; none: every endpoint
  int64_t amount = 1;
};

struct QuotaCheck {
  const Quota* quota = nullptr;
  std::vector<QuotaCharge> charges;  // added up; 0 in all: not charged
};

// A RateLimit's match.
struct RequestMatch {
  Condition condition;
  std::vector<NamedMatcher> cookies;
};

struct CheckRule {
  const Expression* match = nullptr;  // null: every request
  std::vector<RequestMatch> matches;  // any; none: every request
  std::vector<const Denial*> denials;
  std::vector<QuotaCheck> quotas;
};

struct ClusterChecks {
  DestinationAttributes destination;
  std::vector<CheckRule> rules;  // by namespace/name
};

// Owns what the pointers above point at.
struct CheckPolicy {
  std::vector<std::unique_ptr<Expression>> expressions;
  std::vector<std::unique_ptr<Denial>> denials;
  std::vector<std::unique_ptr<Quota>> quotas;
  std::vector<std::unique_ptr<ClusterChecks>> clusters;
};

}  // namespace np::policy
