// SPDX-License-Identifier: Apache-2.0
// CaptureBuilder: which addresses are captured, and which CapturedPort each leads to. Control
// thread; lives during one compile() and fills the Snapshot.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/table_builder.h"

namespace np::policy {

class CaptureBuilder {
 public:
  CaptureBuilder(const Registry& registry, const RouteSets& sets, TableBuilder& tables,
                 IdTable& ids, Snapshot& snapshot, Findings& findings)
      : registry_(registry),
        sets_(sets),
        tables_(tables),
        ids_(ids),
        snapshot_(snapshot),
        findings_(findings) {}

  void build();

 private:
  // One port of a service on its way into the Snapshot.
  struct Item {
    const ServiceRecord* record = nullptr;
    const ServicePort* port = nullptr;
    PortTables tables;
    const CapturedPort* captured = nullptr;
  };

  const CapturedPort* add_port(const Item& item, const RouteTable* http, const RouteTable* tcp,
                               const HostTable* by_host);
  void add_entry(const SocketAddress& address, const Item& item, const CapturedPort* captured);
  void claim_addresses();
  void claim_endpoints();
  void claim_prefixes();
  // Several external names behind one address: told apart by Host.
  const CapturedPort* shared_port(const std::vector<const Item*>& claims);
  std::shared_ptr<const HostNames> names_of_port(uint16_t port);
  const CapturedPort* prefix_port(const IpPrefix& prefix, const std::vector<const Item*>& claims);

  const Registry& registry_;
  const RouteSets& sets_;
  TableBuilder& tables_;
  IdTable& ids_;
  Snapshot& snapshot_;
  Findings& findings_;
  std::vector<Item> items_;  // by age of the service
  std::map<std::vector<const Item*>, const CapturedPort*> shared_;
  std::map<uint16_t, std::shared_ptr<const HostNames>> names_;
};

}  // namespace np::policy
