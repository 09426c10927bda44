// SPDX-License-Identifier: Apache-2.0
#include "control/guard_book.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

// All of IPv4, which lies below ::/80, or more: the node would hear nobody, nor the one who could
// take it back.
bool is_everybody(const IpPrefix& prefix) {
  constexpr uint8_t kAllOfV4 = 96;
  return prefix.length <= kAllOfV4 && prefix.contains(IpAddress::v4(0, 0, 0, 0));
}

auto find_place(std::vector<GuardPlace>& places, const std::string& ifname) {
  return std::find_if(places.begin(), places.end(),
                      [&ifname](const GuardPlace& place) { return place.ifname == ifname; });
}

auto find_limit(std::vector<GuardLimit>& limits, const SocketAddress& destination) {
  return std::find_if(limits.begin(), limits.end(), [&destination](const GuardLimit& limit) {
    return limit.destination == destination;
  });
}

}  // namespace

Result<void> GuardBook::require_host(const std::string& what) const {
  if (host_ != nullptr) return ok();
  return Error{ErrorCode::kUnsupported, what, "the daemon runs with --no-capture", ""};
}

void GuardBook::start() {
  if (host_ == nullptr) {
    if (settings_ != GuardSettings{}) log_warn("guard: not in effect with --no-capture");
    return;
  }
  if (auto put = put_rules(settings_); !put) log_error("guard: " + put.error().to_string());
  for (const GuardPlace& place : settings_.places) {
    const Result<GuardState> state = host_->attach(place, /*is_kept=*/true);
    const std::string problem = state ? state->problem : state.error().to_string();
    if (!problem.empty()) log_error("guard: " + problem);
  }
  for (const GuardState& state : host_->states()) {
    const std::string& ifname = state.place.ifname;
    if (find_place(settings_.places, ifname) != settings_.places.end()) continue;
    log_warn("guard " + ifname + ": nobody asked for it (any more), detached");
    if (auto detached = host_->detach(ifname); !detached) log_error(detached.error().to_string());
  }
}

Result<void> GuardBook::put_rules(const GuardSettings& settings) {
  NP_TRY(host_->set_denied(settings.denied));
  return host_->set_limits(settings.limits);
}

Result<void> GuardBook::commit(GuardSettings next) {
  if (next == settings_) return ok();
  Result<void> result = put_rules(next);
  GuardSettings before = std::exchange(settings_, std::move(next));
  if (result) result = save_();
  if (result) return ok();
  settings_ = std::move(before);
  if (auto undone = put_rules(settings_); !undone) {
    log_error("guard: putting the earlier rules back failed: " + undone.error().to_string());
  }
  return result;
}

Result<GuardState> GuardBook::attach(const GuardPlace& place) {
  NP_TRY(require_host("guard " + place.ifname));
  NP_TRY_ASSIGN(GuardState state, host_->attach(place, /*is_kept=*/false));
  GuardSettings next = settings_;
  const auto known = find_place(next.places, place.ifname);
  const bool is_new = known == next.places.end();
  if (is_new) {
    next.places.push_back(place);
  } else {
    *known = place;
  }
  Result<void> saved = commit(std::move(next));
  if (saved) return state;
  if (is_new) (void)host_->detach(place.ifname);
  return std::move(saved).error();
}

Result<void> GuardBook::detach(const std::string& ifname) {
  NP_TRY(require_host("unguard " + ifname));
  NP_TRY(host_->detach(ifname));
  GuardSettings next = settings_;
  std::erase_if(next.places, [&](const GuardPlace& place) { return place.ifname == ifname; });
  return commit(std::move(next));
}

Result<void> GuardBook::deny(const std::vector<IpPrefix>& prefixes) {
  NP_TRY(require_host("deny sources"));
  GuardSettings next = settings_;
  for (const IpPrefix& prefix : prefixes) {
    if (is_everybody(prefix)) {
      return Error{ErrorCode::kInvalid, "deny " + prefix.to_string(),
                   "nobody could reach this node any more, you neither", "deny parts of it"};
    }
    next.denied.push_back(prefix);
  }
  std::sort(next.denied.begin(), next.denied.end());
  next.denied.erase(std::unique(next.denied.begin(), next.denied.end()), next.denied.end());
  return commit(std::move(next));
}

Result<void> GuardBook::allow(const std::vector<IpPrefix>& prefixes) {
  NP_TRY(require_host("allow sources"));
  GuardSettings next = settings_;
  for (const IpPrefix& prefix : prefixes) {
    if (std::erase(next.denied, prefix) > 0) continue;
    return Error{ErrorCode::kNotFound, "allow " + prefix.to_string(),
                 "the deny list has no such entry", "`nodectl guard deny list` shows them"};
  }
  return commit(std::move(next));
}

Result<void> GuardBook::limit(const std::vector<GuardLimit>& limits) {
  NP_TRY(require_host("limit new connections"));
  GuardSettings next = settings_;
  for (const GuardLimit& limit : limits) {
    const auto known = find_limit(next.limits, limit.destination);
    if (known == next.limits.end()) {
      next.limits.push_back(limit);
    } else {
      *known = limit;
    }
  }
  return commit(std::move(next));
}

Result<void> GuardBook::unlimit(const std::vector<SocketAddress>& destinations) {
  NP_TRY(require_host("unlimit new connections"));
  GuardSettings next = settings_;
  for (const SocketAddress& destination : destinations) {
    const auto known = find_limit(next.limits, destination);
    if (known == next.limits.end()) {
      return Error{ErrorCode::kNotFound, "unlimit " + destination.to_string(), "it has no limit",
                   "`nodectl guard limit` shows them"};
    }
    next.limits.erase(known);
  }
  return commit(std::move(next));
}

}  // namespace np::control
