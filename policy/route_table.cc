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

RouteMatch LayeredTable::match(const RequestView& request, const CallerView& caller) const {
  for (const RouteLayer& layer : layers_) {
    if (!sees(layer, caller)) continue;
    const RouteMatch found = layer.rules->match(request, caller);
    return found.route != nullptr ? found : RouteMatch{layer.otherwise, 0};
  }
  return {last_, 0};
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

const RouteTable* HostNames::find_name(std::string_view host) const {
  const auto exact = exact_.find(host);
  if (exact != exact_.end()) return exact->second;
  for (const size_t length : lengths_) {
    // The star stands for at least one character; a bare "*" also for no host at all.
    if (length >= host.size() && length != 0) continue;
    const auto found = suffixes_.find(host.substr(host.size() - length));
    if (found != suffixes_.end()) return found->second;
  }
  return nullptr;
}

const RouteTable* HostNames::find(std::string_view authority) const {
  // Names are configured without a port; a port in the authority does not matter (4.4).
  return find_name(without_port(authority));
}

const RouteTable* HostMap::find(std::string_view authority) const {
  const RouteTable* found = names_->find(authority);
  return found != nullptr ? found : fallback_;
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
