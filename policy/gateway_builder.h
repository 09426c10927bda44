// SPDX-License-Identifier: Apache-2.0
// GatewayBuilder: listeners of Gateway objects and the hosts behind each. Control thread; lives
// during one compile() and fills the Snapshot. A Gateway's selector plays no part: on a node there
// is one daemon to select.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/table_builder.h"

namespace np::policy {

class GatewayBuilder {
 public:
  GatewayBuilder(const Model& model, const RouteSets& sets, RouteBuilder& routes,
                 TableBuilder& tables, IdTable& ids, Snapshot& snapshot, Findings& findings)
      : model_(model),
        sets_(sets),
        routes_(routes),
        tables_(tables),
        ids_(ids),
        snapshot_(snapshot),
        findings_(findings) {}

  void build();

 private:
  struct Binding {
    const RouteSet* set = nullptr;
    std::vector<std::string> gateways;  // through which it is bound here
  };
  using HostBindings = std::map<std::string, std::vector<Binding>>;  // oldest first
  struct Listener {
    SocketAddress bind;
    std::string gateway;
    HostBindings hosts;
  };
  struct ServerRef {
    const Gateway* gateway = nullptr;
    const GatewayServer* server = nullptr;
    size_t listener = 0;
  };

  void open_listeners();
  void bind_set(const RouteSet& set);
  bool bind_host(const RouteSet& set, const std::string& host, const ServerRef& server,
                 const std::string& gateway);
  const HostTable* build_hosts(const Listener& listener);

  const Model& model_;
  const RouteSets& sets_;
  RouteBuilder& routes_;
  TableBuilder& tables_;
  IdTable& ids_;
  Snapshot& snapshot_;
  Findings& findings_;
  std::vector<Listener> listeners_;
  std::unordered_map<std::string, std::vector<ServerRef>> servers_;  // by "ns/name" of the Gateway
};

}  // namespace np::policy
