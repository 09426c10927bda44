// SPDX-License-Identifier: Apache-2.0
// The implementations of RouteTable and HostTable. Built by compile() on the control thread, owned
// by the Snapshot, immutable; find() and match() from any thread without heap use.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/hash.h"
#include "policy/match.h"
#include "policy/snapshot.h"

namespace np::policy {

// The rules of one object (or of all RouteRules together) and who sees them.
struct RouteLayer {
  std::vector<std::string> namespaces;  // callers that it is exported to; empty: everyone
  std::shared_ptr<const RuleIndex> rules;
  const Route* otherwise = nullptr;  // when no rule holds; null: no route
};

// The first layer that the caller sees decides; `last` serves callers that see none.
class LayeredTable final : public RouteTable {
 public:
  LayeredTable(std::vector<RouteLayer> layers, const Route* last)
      : layers_(std::move(layers)), last_(last) {}
  RouteMatch match(const RequestView& request, const CallerView& caller) const override;
  RouteMatch explain(const RequestView& request, const CallerView& caller,
                     MatchTrace& trace) const override;

 private:
  const RouteLayer* layer_of(const CallerView& caller) const;  // null: the caller sees none

  std::vector<RouteLayer> layers_;
  const Route* last_;
};

// Host names to tables. May be shared by several HostMaps that differ in their fallback.
class HostNames {
 public:
  // `host`: "name", "*.suffix", "*-suffix" or "*". The first table given for a name stays.
  void add(std::string_view host, const RouteTable* table);
  const RouteTable* find(std::string_view authority) const;
  std::string name_for(std::string_view authority) const;

 private:
  using Names = std::unordered_map<std::string, const RouteTable*, TextHash, std::equal_to<>>;
  // The entry of exact_ or of suffixes_ (`is_suffix`); null: there is none.
  const Names::value_type* find_name(std::string_view host, bool& is_suffix) const;

  Names exact_;
  Names suffixes_;               // without the star
  std::vector<size_t> lengths_;  // of suffixes, longest first; "*" is the empty suffix
};

class HostMap final : public HostTable {
 public:
  HostMap(std::shared_ptr<const HostNames> names, const RouteTable* fallback)
      : names_(std::move(names)), fallback_(fallback) {}
  const RouteTable* find(std::string_view authority) const override;
  std::string name_for(std::string_view authority) const override;

 private:
  std::shared_ptr<const HostNames> names_;
  const RouteTable* fallback_;  // for names that are not listed; may be null
};

// Whether `pattern` ("name", "*.suffix", "*") covers `host`, which may be a pattern itself.
bool host_covers(std::string_view pattern, std::string_view host);

}  // namespace np::policy
