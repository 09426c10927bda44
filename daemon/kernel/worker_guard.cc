// SPDX-License-Identifier: Apache-2.0
// The worker's side of the admission guard: asks the supervisor for interfaces, writes rules
// itself.
#include <array>

#include "kernel/worker_link_impl.h"

namespace np::kernel {

namespace {

// By the numbers of GuardMode and GuardHook (guard_attach.h, which is the supervisor's).
constexpr std::array<const char*, 4> kModes = {"", "native", "generic", "tc"};
constexpr std::array<const char*, 5> kHooks = {"", "native", "generic", "tcx", "clsact"};

control::GuardState state_of(const link::GuardState& wire) {
  control::GuardState state;
  state.place.ifname = link::get_text(wire.ifname);
  if (wire.mode < kModes.size()) state.place.mode = kModes[wire.mode];
  if (wire.hook < kHooks.size()) state.hook = kHooks[wire.hook];
  state.ifindex = wire.ifindex;
  state.note = link::get_text(wire.note);
  state.problem = link::get_text(wire.problem);
  return state;
}

std::vector<control::GuardState> states_in(const std::vector<LinkMessage>& messages) {
  std::vector<control::GuardState> states;
  for (const LinkMessage& message : messages) {
    const auto state = message.as<link::GuardState>();
    if (message.kind == link::Kind::kGuardState && state) states.push_back(state_of(*state));
  }
  return states;
}

}  // namespace

Result<control::GuardState> WorkerLink::Impl::Guard::attach(const control::GuardPlace& place,
                                                            bool is_kept) {
  link::AttachGuard request;
  if (place.ifname.size() >= sizeof(request.ifname)) {
    return Error{ErrorCode::kInvalid, "guard " + place.ifname,
                 "an interface's name has at most 15 characters", ""};
  }
  for (uint32_t mode = 0; mode < kModes.size(); ++mode) {
    if (place.mode == kModes[mode]) request.mode = mode;
  }
  request.is_kept = is_kept ? 1 : 0;
  link::put_text(request.ifname, place.ifname);
  std::vector<LinkMessage> extra;
  NP_TRY(impl_.call(link::Kind::kAttachGuard, request, &extra));
  const std::vector<control::GuardState> states = states_in(extra);
  if (!states.empty()) return states.front();
  return Error{ErrorCode::kSystem, "guard " + place.ifname, "the supervisor gave no answer", ""};
}

Result<void> WorkerLink::Impl::Guard::detach(const std::string& ifname) {
  link::DetachGuard request;
  if (ifname.size() >= sizeof(request.ifname) || ifname.find_first_of("/ \t\n") != ifname.npos) {
    return Error{ErrorCode::kNotFound, "guard " + ifname, "it carries no guard", ""};
  }
  link::put_text(request.ifname, ifname);
  return impl_.call(link::Kind::kDetachGuard, request);
}

std::vector<control::GuardState> WorkerLink::Impl::Guard::states() {
  std::vector<LinkMessage> extra;
  if (!impl_.call(link::Kind::kListGuards, uint32_t{0}, &extra)) return {};
  return states_in(extra);
}

Result<void> WorkerLink::Impl::Guard::set_denied(const std::vector<IpPrefix>& prefixes) {
  return rules_.set_denied(prefixes);
}

Result<void> WorkerLink::Impl::Guard::set_limits(const std::vector<control::GuardLimit>& limits) {
  return rules_.set_limits(limits);
}

Result<void> WorkerLink::Impl::Guard::set_exposed(const std::vector<SocketAddress>& listeners) {
  return rules_.set_exposed(listeners);
}

std::vector<control::GuardUse> WorkerLink::Impl::Guard::uses() {
  return rules_.uses();
}

std::vector<control::NamedCounter> WorkerLink::Impl::Guard::counters() {
  std::vector<control::NamedCounter> counters;
  const Result<np_guard_st> stats = sum_guard_stats(impl_.map(Map::kGuardStats));
  if (!stats) return counters;
#define NP_ADD_COUNTER(field, help) counters.push_back({#field, stats->field});
  NP_GUARD_STATS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
  return counters;
}

}  // namespace np::kernel
