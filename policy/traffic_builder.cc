// SPDX-License-Identifier: Apache-2.0
#include "policy/traffic_builder.h"

#include <algorithm>

#include "policy/condition.h"
#include "policy/hash.h"
#include "policy/registry.h"

namespace np::policy {
namespace {

class AnyCondition final : public RequestMatcher {
 public:
  AnyCondition(const std::vector<MatchCondition>& matches, RegexCache& regexes) {
    for (const MatchCondition& match : matches) conditions_.emplace_back(match, nullptr, regexes);
  }
  bool holds(const RequestView& request, const CallerView& caller) const override {
    return std::any_of(conditions_.begin(), conditions_.end(), [&](const Condition& condition) {
      return condition.holds(request, caller);
    });
  }

 private:
  std::vector<Condition> conditions_;
};

void take_limits(const ConnectionPool& from, ConnectionPool& to) {
  to.max_connections = from.max_connections;
  to.max_pending_requests = from.max_pending_requests;
  to.max_requests = from.max_requests;
  to.max_retries = from.max_retries;
  to.scope_node = from.scope_node;
}

}  // namespace

TrafficBuilder::TrafficBuilder(const CompileInput& input, Findings& findings)
    : input_(input),
      findings_(findings),
      regexes_([](const std::string&, const std::string&) {}) {  // the loader has compiled them
  for (const HostTraffic& traffic : input.model->traffic) {
    by_host_[traffic.host].push_back(&traffic);
  }
  for (auto& [host, list] : by_host_) {
    std::stable_sort(list.begin(), list.end(), [](const HostTraffic* a, const HostTraffic* b) {
      return a->origin.sequence < b->origin.sequence;
    });
  }
}

std::vector<const HostTraffic*> TrafficBuilder::for_cluster(const Cluster& cluster,
                                                            const Labels& labels) const {
  std::vector<const HostTraffic*> list;
  const auto found = by_host_.find(cluster.host);
  if (found == by_host_.end()) return list;
  for (const HostTraffic* traffic : found->second) {
    if (!traffic->subset.empty() && traffic->subset != cluster.subset) continue;
    if (!has_labels(labels, traffic->labels)) continue;
    list.push_back(traffic);
  }
  std::stable_sort(list.begin(), list.end(), [](const HostTraffic* a, const HostTraffic* b) {
    const auto rank = [](const HostTraffic& one) {
      return one.subset.empty() ? one.labels.size() : SIZE_MAX;
    };
    return rank(*a) > rank(*b);
  });
  return list;
}

void TrafficBuilder::apply(Cluster& cluster, const Labels& labels) {
  const HostTraffic* limits = nullptr;
  const HostTraffic* outlier = nullptr;
  const HostTraffic* check = nullptr;
  for (const HostTraffic* traffic : for_cluster(cluster, labels)) {
    if (traffic->limits && limits == nullptr && !traffic->limits_shadow) limits = traffic;
    // In force it would be the limits of this one, so those of others stay.
    const bool looks_on = traffic->limits && limits == nullptr && !cluster.shadow_limits;
    if (looks_on) cluster.shadow_limits = {traffic->origin.to_string(), *traffic->limits};
    const bool ejects = traffic->outlier && outlier == nullptr;
    if (ejects && !traffic->outlier->shadow) outlier = traffic;
    const bool rehearses = ejects && traffic->outlier->shadow && !cluster.shadow_outlier;
    if (rehearses) cluster.shadow_outlier = traffic->outlier;
    if (traffic->health_check && check == nullptr) check = traffic;
    add_faults(*traffic, cluster);
  }
  if (limits != nullptr) take_limits(*limits->limits, cluster.pool);
  if (outlier != nullptr) cluster.outlier = outlier->outlier;
  if (check != nullptr) cluster.health_check = check->health_check;
}

void TrafficBuilder::add_faults(const HostTraffic& traffic, Cluster& cluster) {
  for (const FaultRule& rule : traffic.faults) {
    HostFault fault;
    fault.name = rule.name.empty() ? traffic.origin.name : rule.name;
    fault.object = traffic.origin.to_string();
    fault.fault = rule.fault;
    fault.shadow = rule.shadow;
    if (rule.lasts > Duration::zero()) {
      // An object that is not stored yet begins now.
      const uint64_t since = traffic.origin.changed_unix_ns;
      const uint64_t age =
          since == 0 || since > input_.unix_now_ns ? 0 : input_.unix_now_ns - since;
      fault.ends = input_.now + rule.lasts - Duration(static_cast<int64_t>(age));
      if (fault.ends <= input_.now) {
        findings_.note(traffic.origin, "fault " + fault.name + ": its time is over");
        continue;
      }
    }
    if (!rule.matches.empty()) {
      fault.matcher = std::make_shared<AnyCondition>(rule.matches, regexes_);
    }
    cluster.faults.push_back(std::move(fault));
  }
}

std::shared_ptr<const StickySplit> TrafficBuilder::sticky(const std::string& host) const {
  const auto found = by_host_.find(host);
  if (found == by_host_.end()) return nullptr;
  for (const HostTraffic* traffic : found->second) {
    if (traffic->sticky_header.empty() && traffic->sticky_cookie.empty()) continue;
    auto split = std::make_shared<StickySplit>();
    split->balancing.hash_on = traffic->sticky_header.empty() ? LoadBalancing::HashOn::kCookie
                                                              : LoadBalancing::HashOn::kHeader;
    split->balancing.hash_name =
        traffic->sticky_header.empty() ? traffic->sticky_cookie : traffic->sticky_header;
    split->salt = hash_bytes(host);
    return split;
  }
  return nullptr;
}

}  // namespace np::policy
