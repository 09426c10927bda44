// SPDX-License-Identifier: Apache-2.0
// TrafficBuilder: puts what TrafficPolicies say onto the clusters of their hosts. Control thread;
// lives during one compile() and borrows the Model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "policy/compile.h"
#include "policy/findings.h"
#include "policy/string_matcher.h"

namespace np::policy {

class TrafficBuilder {
 public:
  TrafficBuilder(const CompileInput& input, Findings& findings);

  // `labels`: what every endpoint of the cluster carries by the rule that made it. Of several
  // policies the one for the subset or for more labels comes first, then the older.
  void apply(Cluster& cluster, const Labels& labels);
  // How splits of this host tell people apart; null: they are drawn for each request.
  std::shared_ptr<const StickySplit> sticky(const std::string& host) const;

 private:
  std::vector<const HostTraffic*> for_cluster(const Cluster& cluster, const Labels& labels) const;
  void add_faults(const HostTraffic& traffic, Cluster& cluster);

  const CompileInput& input_;
  Findings& findings_;
  RegexCache regexes_;
  std::map<std::string, std::vector<const HostTraffic*>> by_host_;  // oldest first
};

}  // namespace np::policy
