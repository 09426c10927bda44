// SPDX-License-Identifier: Apache-2.0
#include "policy/route_table.h"

#include <algorithm>

namespace np::policy {

namespace {

std::string_view without_port(std::string_view authority) {
  const size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos || authority.ends_with(']')) return authority;
  return authority.substr(0, colon);
}

bool sees(const RouteLayer& layer, const CallerView& caller) {
  if (layer.namespaces.empty()) return true;
  return caller.pod != nullptr && std::find(layer.namespaces.begin(), layer.namespaces.end(),
                                            caller.pod->ns) != layer.namespaces.end();
}

}  // namespace

const RouteLayer* LayeredTable::layer_of(const CallerView& caller) const {
  for (const RouteLayer& layer : layers_) {
    if (sees(layer, caller)) return &layer;
  }
  return nullptr;
}

RouteMatch LayeredTable::match(const RequestView& request, const CallerView& caller) const {
  const RouteLayer* layer = layer_of(caller);
  if (layer == nullptr) return {last_, 0};
  const RouteMatch found = layer->rules->match(request, caller);
  return found.route != nullptr ? found : RouteMatch{layer->otherwise, 0};
}

RouteMatch LayeredTable::explain(const RequestView& request, const CallerView& caller,
                                 MatchTrace& trace) const {
  const RouteLayer* layer = layer_of(caller);
  for (const RouteLayer& passed : layers_) {
    if (&passed == layer) break;
    for (const std::string& ns : passed.namespaces) trace.exported_elsewhere.push_back(ns);
  }
  RouteMatch found;
  if (layer != nullptr) found = layer->rules->explain(request, caller, trace.trials);
  trace.is_default = found.route == nullptr;
  if (found.route != nullptr) return found;
  return {layer != nullptr ? layer->otherwise : last_, 0};
}

void HostNames::add(std::string_view host, const RouteTable* table) {
  if (!host.starts_with('*')) {
    exact_.try_emplace(std::string(host), table);
    return;
  }
  const std::string_view suffix = host.substr(1);
  if (!suffixes_.try_emplace(std::string(suffix), table).second) return;
  const auto at =
      std::lower_bound(lengths_.begin(), lengths_.end(), suffix.size(), std::greater<>());
  if (at == lengths_.end() || *at != suffix.size()) lengths_.insert(at, suffix.size());
}

const HostNames::Names::value_type* HostNames::find_name(std::string_view host,
                                                         bool& is_suffix) const {
  const auto exact = exact_.find(host);
  is_suffix = exact == exact_.end();
  if (!is_suffix) return &*exact;
  for (const size_t length : lengths_) {
    // The star stands for at least one character; a bare "*" also for no host at all.
    if (length >= host.size() && length != 0) continue;
    const auto found = suffixes_.find(host.substr(host.size() - length));
    if (found != suffixes_.end()) return &*found;
  }
  return nullptr;
}

const RouteTable* HostNames::find(std::string_view authority) const {
  // Names are configured without a port; a port in the authority does not matter (4.4).
  bool is_suffix = false;
  const auto* found = find_name(without_port(authority), is_suffix);
  return found == nullptr ? nullptr : found->second;
}

std::string HostNames::name_for(std::string_view authority) const {
  bool is_suffix = false;
  const auto* found = find_name(without_port(authority), is_suffix);
  if (found == nullptr) return {};
  return (is_suffix ? "*" : "") + found->first;
}

const RouteTable* HostMap::find(std::string_view authority) const {
  const RouteTable* found = names_->find(authority);
  return found != nullptr ? found : fallback_;
}

std::string HostMap::name_for(std::string_view authority) const {
  return names_->name_for(authority);
}

bool host_covers(std::string_view pattern, std::string_view host) {
  if (pattern == host) return true;
  if (!pattern.starts_with('*')) return false;
  const std::string_view suffix = pattern.substr(1);
  const std::string_view name = host.starts_with('*') ? host.substr(1) : host;
  // "*.a.b" covers "*.x.a.b" and "x.a.b", but not "a.b".
  if (!name.ends_with(suffix)) return false;
  return host.starts_with('*') || name.size() > suffix.size();
}

}  // namespace np::policy
