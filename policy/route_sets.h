// SPDX-License-Identifier: Apache-2.0
// RouteSets: which objects give rules to a host of the mesh, in which order, and which of them have
// no effect (design.md 8.10, D8, D14). Control thread; lives during one compile(), borrows the
// Model.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/findings.h"
#include "policy/registry.h"

namespace np::policy {

class RouteSets {
 public:
  // Objects that decide together, and for whom: one VirtualService, all HTTPRoutes, or all
  // RouteRules.
  struct Layer {
    RouteSet::Api api = RouteSet::Api::kVirtualService;
    std::string pattern;                  // the name in `hosts` by which it got here
    std::vector<std::string> namespaces;  // of callers; empty: everyone
    std::vector<const RouteSet*> sets;    // in order of evaluation
  };

  RouteSets(const Model& model, const Registry& registry, Findings& findings);

  // What decides for calls to `host` inside the mesh; empty: default delivery.
  std::vector<Layer> of_host(const std::string& host) const;
  // Hosts named by objects that lie within a wildcard host: they deserve tables of their own.
  std::vector<std::string> hosts_within(std::string_view wildcard) const;
  // Every set that is bound to some gateway, oldest first.
  const std::vector<const RouteSet*>& on_gateways() const { return on_gateways_; }

 private:
  void add(const RouteSet& set, const Registry& registry);
  void order_rules(std::vector<const RouteSet*>& rules) const;
  void add_object(const RouteSet& set, const std::string& pattern,
                  std::vector<Layer>& layers) const;

  Findings& findings_;
  using ByHost = std::unordered_map<std::string, std::vector<const RouteSet*>>;
  ByHost objects_;                      // VirtualServices and HTTPRoutes, oldest first
  ByHost rules_;                        // RouteRules in order of evaluation
  std::vector<std::string> wildcards_;  // of objects_, longest first
  std::vector<const RouteSet*> on_gateways_;
};

// Whether some request could satisfy both. Callers of different services count as different, though
// a pod can belong to two.
bool may_overlap(const RouteRule& a, const RouteRule& b);
// Whether the rule holds for every request, so that later ones are never reached.
bool is_catch_all(const RouteRule& rule);

}  // namespace np::policy
