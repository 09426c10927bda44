// SPDX-License-Identifier: Apache-2.0
// CheckFixture: rate limits and denials put on a cluster of a PolicyFixture by hand.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "policy/quota.h"
#include "tests/support/policy_fixture.h"

namespace np::test {

class CheckFixture {
 public:
  explicit CheckFixture(PolicyFixture& policy)
      : owned_(std::make_shared<policy::CheckPolicy>()), policy_(policy) {
    policy.snapshot->checks = owned_;
  }

  // A rule of `cluster` without actions yet; `match` empty: every request.
  policy::CheckRule& rule(policy::Cluster& cluster, const std::string& match = "") {
    policy::ClusterChecks& checks = of(cluster);
    policy::CheckRule& made = checks.rules.emplace_back();
    if (!match.empty()) {
      owned_->expressions.push_back(std::make_unique<policy::Expression>(parse(match)));
      made.match = owned_->expressions.back().get();
    }
    return made;
  }
  policy::ClusterChecks& of(policy::Cluster& cluster) {
    for (const auto& known : owned_->clusters) {
      if (known.get() == cluster.checks) return *known;
    }
    owned_->clusters.push_back(std::make_unique<policy::ClusterChecks>());
    owned_->clusters.back()->destination.service = cluster.name;
    owned_->clusters.back()->rules.reserve(8);  // references to rules stay good
    cluster.checks = owned_->clusters.back().get();
    return *owned_->clusters.back();
  }
  // `amount` per rolling second, counted per tuple of the dimensions.
  policy::Quota& quota(policy::CheckRule& rule, const std::string& name, int64_t amount,
                       const std::vector<std::string>& dimensions = {}) {
    auto made = std::make_unique<policy::Quota>();
    made->id = static_cast<uint32_t>(owned_->quotas.size() + 1);
    made->name = name;
    made->limit = {amount,
                   {policy::CounterWindow::Kind::kTicks, 10, std::chrono::milliseconds(100)}};
    made->deduplication = std::chrono::seconds(1);
    for (const std::string& text : dimensions) made->dimensions.push_back(parse(text));
    owned_->quotas.push_back(std::move(made));
    rule.quotas.push_back({owned_->quotas.back().get(), {policy::QuotaCharge{}}});
    return *owned_->quotas.back();
  }
  void deny(policy::CheckRule& rule, uint16_t status, const std::string& body) {
    owned_->denials.push_back(std::make_unique<policy::Denial>(policy::Denial{status, body}));
    rule.denials.push_back(owned_->denials.back().get());
  }
  // Makes the caller at `ip` a pod with these labels.
  void pod(const std::string& name, const std::string& ip, policy::Labels labels) {
    auto entry = std::make_unique<policy::Snapshot::PodEntry>();
    entry->pod.name = name;
    entry->pod.ns = "default";
    entry->pod.labels = std::move(labels);
    entry->id = static_cast<uint32_t>(policy_.snapshot->pods.size() + 1);
    policy_.snapshot->pod_by_ip[IpAddress::parse(ip).value()] = entry.get();
    policy_.snapshot->pods.push_back(std::move(entry));
  }

 private:
  static policy::Expression parse(const std::string& text) {
    policy::ExpressionProblem problem;
    auto expression = policy::parse_expression(text, problem);
    NP_CHECK(expression.has_value());
    return *expression;
  }

  std::shared_ptr<policy::CheckPolicy> owned_;
  PolicyFixture& policy_;
};

}  // namespace np::test
