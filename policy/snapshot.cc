// SPDX-License-Identifier: Apache-2.0
#include "policy/snapshot.h"

#include "policy/hash.h"

#include "policy/compile.h"
#include "policy/string_matcher.h"

namespace np::policy {

RouteMatch RouteTable::explain(const RequestView& request, const CallerView& caller,
                               MatchTrace&) const {
  return match(request, caller);
}

std::string HostTable::name_for(std::string_view) const {
  return {};
}

const CapturedPort* Snapshot::find_captured(const SocketAddress& dialled) const {
  const auto found = by_address.find(dialled);
  if (found != by_address.end()) return found->second;
  for (const auto& [entry, port] : by_prefix) {
    if (entry.port == dialled.port && entry.prefix.contains(dialled.ip)) return port;
  }
  return nullptr;
}

const GatewayListener* Snapshot::find_listener(const SocketAddress& bind) const {
  const GatewayListener* general = nullptr;
  for (const GatewayListener& listener : listeners) {
    if (listener.bind == bind) return &listener;
    if (listener.bind.port == bind.port && listener.bind.ip.is_unspecified()) general = &listener;
  }
  return general;
}

const Snapshot::PodEntry* Snapshot::find_pod(const IpAddress& ip) const {
  const auto found = pod_by_ip.find(ip);
  return found == pod_by_ip.end() ? nullptr : found->second;
}

uint32_t Snapshot::pod_id(const IpAddress& ip) const {
  const PodEntry* entry = find_pod(ip);
  return entry == nullptr ? 0 : entry->id;
}

uint32_t IdTable::id(Space space, const std::string& name) {
  const auto [found, inserted] = ids_.try_emplace({space, name}, 0);
  if (!inserted) return found->second;
  if (space != Space::kService && space != Space::kPod) return found->second = ++next_[space];
  auto number = static_cast<uint32_t>(hash_bytes(name));
  // Two names of one hash: the later one in this process moves on; a successor may then swap the
  // two.
  while (number == 0 || !taken_.emplace(space, number).second) ++number;
  return found->second = number;
}

void IdTable::forget_others(Space space, const std::set<uint32_t>& used) {
  std::erase_if(ids_, [&](const auto& entry) {
    return entry.first.first == space && !used.contains(entry.second);
  });
}

Instant IdTable::joined(uint32_t endpoint_id, Instant now) {
  Membership& member = members_.try_emplace(endpoint_id, Membership{now}).first->second;
  member.is_current = true;
  return member.since;
}

void IdTable::forget_who_left() {
  std::erase_if(members_, [](const auto& entry) { return !entry.second.is_current; });
  for (auto& [id, member] : members_) member.is_current = false;
}

bool cors_allows(const Route& route, std::string_view origin) {
  if (!route.cors) return false;
  const std::vector<StringMatch>& allowed = route.cors->allow_origins;
  for (size_t i = 0; i < allowed.size(); ++i) {
    switch (allowed[i].kind) {
      case StringMatch::Kind::kExact:
        if (allowed[i].value == "*" || allowed[i].value == origin) return true;
        break;
      case StringMatch::Kind::kPrefix:
        if (origin.starts_with(allowed[i].value)) return true;
        break;
      case StringMatch::Kind::kRegex:
        if (i < route.cors_regexes.size() && regex_matches(route.cors_regexes[i].get(), origin)) {
          return true;
        }
        break;
      case StringMatch::Kind::kPresent:
        return true;
      case StringMatch::Kind::kPathElements:
        break;  // an origin has no path
    }
  }
  return false;
}

}  // namespace np::policy
