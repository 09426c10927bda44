// SPDX-License-Identifier: Apache-2.0
// TableBuilder: the RouteTables of a host's port inside the mesh. Control thread; lives during one
// compile(); the Snapshot owns the tables.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "policy/route_builder.h"
#include "policy/route_sets.h"
#include "policy/route_table.h"

namespace np::policy {

// A port's rules, once with delivery to any endpoint as the default and once to the dialled one.
struct PortTables {
  const RouteTable* http = nullptr;
  const RouteTable* tcp = nullptr;
  const RouteTable* http_dialled = nullptr;
  const RouteTable* tcp_dialled = nullptr;
};

class TableBuilder {
 public:
  TableBuilder(const RouteSets& sets, RouteBuilder& routes, Snapshot& snapshot, Findings& findings)
      : sets_(sets), routes_(routes), snapshot_(snapshot), findings_(findings) {}

  // For `host`, which is the record's own or one within the record's wildcard.
  PortTables port_tables(const std::string& host, const ServiceRecord& record,
                         const ServicePort& port);
  // For traffic of hosts that no object names: on to the dialled address.
  const RouteTable* passthrough();

  const RouteTable* keep(std::vector<RouteLayer> layers, const Route* last);
  const HostTable* keep(std::shared_ptr<const HostNames> names, const RouteTable* fallback);
  // Says which rules of a list that is tried in order are never reached.
  void report_unreachable(const std::vector<const RouteSet*>& sets);

 private:
  using Indexes = std::vector<std::shared_ptr<const RuleIndex>>;  // parallel to the layers
  Indexes build_indexes(const std::vector<RouteSets::Layer>& layers, RouteBuilder::Kind kind,
                        const RouteContext& context);
  const RouteTable* table(const std::vector<RouteSets::Layer>& layers, const Indexes& indexes,
                          RouteBuilder::Kind kind, const Route* last);

  const RouteSets& sets_;
  RouteBuilder& routes_;
  Snapshot& snapshot_;
  Findings& findings_;
  const RouteTable* passthrough_ = nullptr;
};

}  // namespace np::policy
