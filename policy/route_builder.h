// SPDX-License-Identifier: Apache-2.0
// RouteBuilder: RouteRules of the model -> Routes with their clusters, and the indexes that find
// them. Control thread; lives during one compile(); the Snapshot owns the Routes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/clusters.h"
#include "policy/match.h"
#include "policy/registry.h"

namespace np::policy {

// Where requests come from that a table serves: what a rule leaves open is filled in from here.
struct RouteContext {
  const ServiceRecord* dialled = nullptr;  // null on gateways
  uint16_t port = 0;                       // dialled service port, or the gateway's
  // Names that match.gateways is compared with: {"mesh"}, or those that lead to this listener.
  std::vector<std::string> ways_in;
};

// Whether requests of that place can meet the match at all; others never see it in their table.
bool counts_in(const MatchCondition& match, const RouteContext& context);

class RouteBuilder {
 public:
  enum class Kind : uint8_t { kHttp, kTcp };

  RouteBuilder(const Registry& registry, ClusterBuilder& clusters, IdTable& ids, Snapshot& snapshot,
               Findings& findings);

  // The rules of one object that count in `context`, in order, added to those already there.
  void add_rules(const RouteSet& set, Kind kind, const RouteContext& context);
  // The index of what was added since the last call. HTTPRoutes are put in their fixed order.
  std::shared_ptr<const RuleIndex> take_index(bool by_precedence_list);

  // Routes of hosts without rules.
  const Route* default_route(const ServiceRecord& record, const ServicePort& port);
  const Route* dialled_route(const ServiceRecord& record, const ServicePort& port);
  const Route* passthrough_route();

 private:
  struct Candidate {
    const MatchCondition* match = nullptr;
    RuleIndex::Entry entry;
  };
  const Route* make_route(const RouteSet& set, const RouteRule& rule, const std::string& key,
                          const RouteContext& context);
  void fill_destinations(const RouteSet& set, const RouteRule& rule, const RouteContext& context,
                         Route& route);
  void fill_mirrors(const RouteRule& rule, const RouteContext& context, Route& route);
  void fill_regexes(Route& route);
  // The clusters of a destination; null when there is no such host, port or subset.
  const ClusterShares* find_shares(const Destination& destination, const RouteContext& context);
  const ServicePort* pick_port(const ServiceRecord& record, const Destination& destination,
                               const RouteContext& context);
  MemberSet members_of(const std::string& host, const Origin& origin);
  const Route* keep_default(const char* key, const ServiceRecord* record, uint16_t port,
                            const ClusterShares& shares);

  const Registry& registry_;
  ClusterBuilder& clusters_;
  IdTable& ids_;
  Snapshot& snapshot_;
  Findings& findings_;
  RegexCache regexes_;
  Origin compiling_;  // whose regex is being compiled
  std::vector<Candidate> candidates_;
  std::unordered_map<std::string, const Route*> defaults_;
  MemberSet nobody_ = std::make_shared<const std::vector<uint32_t>>();
};

}  // namespace np::policy
