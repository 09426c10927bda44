// SPDX-License-Identifier: Apache-2.0
// ClusterBuilder: makes each Cluster of a Snapshot once, whoever routes to it. Control thread;
// lives during one compile(); the Snapshot owns what it makes.
//
// A DestinationPolicy covers the traffic that ends on its endpoints, whatever rule chose them (D2).
// So a set of endpoints of which only some are covered becomes several clusters with a share each.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy/destination_policies.h"
#include "policy/registry.h"
#include "policy/traffic_builder.h"

namespace np::policy {

struct ClusterShare {
  const Cluster* cluster = nullptr;
  uint64_t weight = 1;  // sum of endpoint weights, for the split among shares
};
using ClusterShares = std::vector<ClusterShare>;  // never empty

class ClusterBuilder {
 public:
  ClusterBuilder(DestinationPolicies& policies, TrafficBuilder& traffic, IdTable& ids,
                 Snapshot& snapshot)
      : policies_(policies), traffic_(traffic), ids_(ids), snapshot_(snapshot) {}

  // All endpoints of a port, or those that carry `labels`.
  const ClusterShares& by_labels(const ServiceRecord& record, const ServicePort& port,
                                 const Labels& labels);
  // The subset of a DestinationRule; null when no rule defines it.
  const ClusterShares* by_subset(const ServiceRecord& record, const ServicePort& port,
                                 const std::string& subset);
  // Forwards to the address that was dialled, under the policies of the port: for calls to one
  // endpoint's own address, which must not reach another one.
  const Cluster& dialled_endpoint(const ServiceRecord& record, const ServicePort& port);
  const TrafficBuilder& traffic() const { return traffic_; }
  // Forwards to the address that was dialled: for hosts that no object names.
  const Cluster& passthrough();

 private:
  // What a cluster is made of.
  struct Recipe {
    const ServiceRecord* record = nullptr;
    const ServicePort* port = nullptr;
    std::string subset;                   // for the names
    Labels labels;                        // for the names
    const Subset* rule_subset = nullptr;  // of a DestinationRule
    std::vector<Endpoint> endpoints;
    Labels carried = {};  // every endpoint carries these: which DestinationPolicies apply
    bool dialled_only = false;
  };
  ClusterShares split(Recipe base);
  const Cluster& make(Recipe recipe);
  void warn_of_vain_ejection(const Cluster& cluster, const HostPolicies& host);
  const Cluster& keep(Cluster cluster);

  DestinationPolicies& policies_;
  TrafficBuilder& traffic_;
  IdTable& ids_;
  Snapshot& snapshot_;
  std::unordered_map<std::string, ClusterShares> shares_;
  std::unordered_map<std::string, const Cluster*> by_name_;
};

// "k=v,k=v", sorted by key.
std::string label_text(const Labels& labels);

}  // namespace np::policy
