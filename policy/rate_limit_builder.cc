// SPDX-License-Identifier: Apache-2.0
#include "policy/rate_limit_builder.h"

#include <algorithm>

#include "policy/clusters.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

bool covers(const RateLimit& limit, const DestinationAttributes& destination) {
  return std::any_of(limit.services.begin(), limit.services.end(), [&](const auto& target) {
    return host_covers(target.host, destination.service) &&
           has_labels(destination.labels, target.labels);
  });
}

}  // namespace

void RateLimitBuilder::add_rules(const Cluster& cluster, const DestinationAttributes& destination,
                                 CheckPolicy& policy, std::vector<CheckRule>& out) {
  for (const RateLimit& limit : model_.rate_limits) {
    if (!covers(limit, destination)) continue;
    for (const RateLimit::Rule& rule : limit.rules) {
      CheckRule made;
      for (const RateLimit::Match& match : rule.matches) {
        const uint16_t port = match.condition.port;
        if (port == 0 || port == cluster.port) made.matches.push_back(match_of(match));
      }
      if (made.matches.empty() && !rule.matches.empty()) continue;
      for (const Quota* quota : quotas_of(limit, rule, policy)) {
        QuotaCharge charge;
        charge.amount = rule.cost;
        made.quotas.push_back({quota, {std::move(charge)}});
      }
      acts_[&limit] = true;
      out.push_back(std::move(made));
    }
  }
}

const std::vector<const Quota*>& RateLimitBuilder::quotas_of(const RateLimit& limit,
                                                             const RateLimit::Rule& rule,
                                                             CheckPolicy& policy) {
  std::vector<const Quota*>& known = quotas_[{&limit, &rule}];
  if (!known.empty()) return known;
  for (const RateLimit::Limit& one : rule.limits) {
    auto quota = std::make_unique<Quota>();
    const bool is_bucket = one.window.kind == QuotaWindow::Kind::kBucket;
    quota->id = ids_.id(IdTable::Space::kQuota,
                        limit.origin.to_string() + "|" + rule.name + "|" +
                            (is_bucket ? "bucket" : std::to_string(one.window.length.count())));
    quota->name = rule.name;
    quota->dimensions = rule.count_by;
    quota->limit = {one.amount, counter_window(one.window)};
    quota->is_shadow = limit.is_shadow;
    policy.quotas.push_back(std::move(quota));
    known.push_back(policy.quotas.back().get());
  }
  return known;
}

RequestMatch RateLimitBuilder::match_of(const RateLimit::Match& match) {
  MemberSet callers;
  if (!match.condition.source_host.empty()) {
    const ServiceRecord* record = registry_.find(match.condition.source_host);
    callers = record != nullptr ? record->members : std::make_shared<const std::vector<uint32_t>>();
  }
  RequestMatch made{Condition(match.condition, callers, regexes_), {}};
  for (const NamedMatch& cookie : match.cookies) {
    made.cookies.push_back({cookie.name, StringMatcher(cookie.match, regexes_)});
  }
  return made;
}

void RateLimitBuilder::report(Findings& findings) const {
  for (const RateLimit& limit : model_.rate_limits) {
    if (acts_.contains(&limit)) {
      findings.scope(limit.origin, limit.is_shadow ? "per node, shadow" : "per node");
    }
    std::string missing;
    for (const RateLimit::Target& target : limit.services) {
      const bool known = std::any_of(
          model_.services.begin(), model_.services.end(),
          [&](const Service& service) { return host_covers(target.host, service.host); });
      if (!known) {
        missing = "no service is known for host " + target.host;
      } else if (!acts_.contains(&limit)) {
        missing =
            "no route leads to a destination of " + target.host +
            (target.labels.empty() ? std::string(" that its rules match")
                                   : " whose endpoints all have " + label_text(target.labels));
      } else {
        continue;
      }
      if (acts_.contains(&limit)) findings.warning(limit.origin, missing, Topic::kMissing);
    }
    if (!acts_.contains(&limit)) findings.inactive(limit.origin, missing, Topic::kMissing);
  }
}

}  // namespace np::policy
