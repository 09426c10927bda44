// SPDX-License-Identifier: Apache-2.0
// Exchange, phase Acquire, what it shares with other shards' Exchanges: a place among those that
// the policy lets in, an endpoint that has room, and how the try went.
#include "proxy/core.h"
#include "proxy/exchange.h"

namespace np::proxy {

// False: it waits in line, or is refused and has ended.
bool Exchange::admit() {
  try_.shadow = core_->node().shadow_use(*cluster_, caller_.workload_id);
  try_.group = core_->group_of(*cluster_, caller_.workload_id);
  if (try_.group == nullptr) {
    rehearse_limits(true);
    return true;
  }
  EngineCounters& counters = core_->counters();
  wait_node.shard = core_->shard();
  wait_node.exchange = id();
  const bool may_wait = kind_ != Kind::kOpaque;
  const Admission verdict = try_.group->shared->admit(wait_node, may_wait);
  rehearse_limits(verdict == Admission::kGranted);
  switch (verdict) {
    case Admission::kGranted:
      try_.admitted = true;
      return true;
    case Admission::kWaiting:
      ++counters.upstream_cx_overflow;
      ++stats().upstream_cx_overflow;
      ++counters.upstream_rq_waited;
      story_.waited = true;
      arm_try_timer();
      offer_place_if_done();
      return false;
    case Admission::kTooManyPending:
      ++counters.upstream_cx_overflow;
      ++stats().upstream_cx_overflow;
      if (may_wait) ++counters.upstream_rq_pending_overflow;
      if (may_wait) ++stats().upstream_rq_pending_overflow;
      break;
    case Admission::kTooManyRequests:
      ++counters.upstream_rq_overflow;
      ++stats().upstream_rq_pending_overflow;  // Envoy counts both there
      break;
  }
  try_.group = nullptr;
  fail_try(EndReason::kOverflow, 0);
  return false;
}

// Counts and tells what limits in shadow mode would have held back; those in force have decided.
void Exchange::rehearse_limits(bool goes_on) {
  if (try_.shadow == nullptr) return;
  const policy::ShadowLimits& limits = *cluster_->shadow_limits;
  try_.is_rehearsed = goes_on;
  const bool would_hold =
      goes_on ? try_.shadow->begin(limits.pool) : try_.shadow->is_full(limits.pool);
  if (!would_hold) return;
  ++core_->counters().limit_shadow;
  core_->node().note_shadow(ShadowKind::kLimit, limits.object, core_->now());
}

// The endpoint is chosen only now, with what is known now; nobody may wait for one that was
// ejected meanwhile.
void Exchange::choose_endpoint() {
  Pick pick = pick_endpoint();
  while (pick.endpoint == nullptr && pick.wait != nullptr) {
    wait_node.shard = core_->shard();
    wait_node.exchange = id();
    if (pick.wait->wait(wait_node, pick.epoch)) {
      try_.waiting_for = pick.wait;
      story_.waited = true;
      ++core_->counters().upstream_rq_probation_waits;
      arm_try_timer();
      return;
    }
    pick = pick_endpoint();  // another shard made room meanwhile
  }
  if (pick.endpoint == nullptr) {
    ++core_->counters().upstream_cx_none_healthy;
    ++stats().upstream_cx_none_healthy;
    fail_try(EndReason::kNoHealthyUpstream, 0);
    return;
  }
  if (pick.panic) {
    ++core_->counters().lb_healthy_panic;
    ++stats().lb_healthy_panic;
  }
  try_.endpoint = story_.endpoint = pick.endpoint;
  try_.live = pick.state;
  try_.service = pick.service;
  try_.probation = pick.probation;
  ++try_.live->active;
  if (tried_count_ < kTriedMax) tried_[tried_count_++] = pick.endpoint->id;
  connect(pick.endpoint->address);
}

// Its turn has come, or an endpoint may have room.
void Exchange::on_mail() {
  if (try_.waiting_for != nullptr) {
    std::exchange(try_.waiting_for, nullptr)->arrived(wait_node);
    choose_endpoint();
    return;
  }
  if (try_.group == nullptr || try_.admitted) return;
  if (!try_.group->shared->arrived(wait_node)) {
    try_.group = nullptr;
    ++core_->counters().upstream_rq_pending_overflow;
    ++stats().upstream_rq_pending_overflow;
    fail_try(EndReason::kOverflow, 0);
    return;
  }
  try_.admitted = true;
  if (try_.shadow != nullptr) {
    // What there was to count was counted when it came.
    (void)try_.shadow->begin(cluster_->shadow_limits->pool);
    try_.is_rehearsed = true;
  }
  ++core_->counters().upstream_rq_admitted;
  go_on_admitted();
}

void Exchange::leave_queues() {
  if (try_.waiting_for != nullptr) {
    try_.waiting_for->leave(wait_node);
    try_.waiting_for = nullptr;
  } else if (try_.group != nullptr && !try_.admitted) {
    ++core_->counters().upstream_rq_cancelled;
    ++stats().upstream_rq_cancelled;
    try_.group->shared->leave(wait_node);
    try_.group = nullptr;
  }
}

// A client that gives up sends FIN, and so may one that has nothing more to ask but reads on
// (RFC 9112 9.6). Nobody can tell them apart: it is served in its turn, but the first one that
// finds the line full gets its place.
void Exchange::offer_place_if_done() {
  const Connection* client = core_->find(downstream_);
  if (client == nullptr || !client->finish_delivered) return;
  if (try_.group != nullptr && !try_.admitted) try_.group->shared->offer_place(wait_node);
}

// ---- how it went -----------------------------------------------------------------------------

void Exchange::report(const TryResult& result) {
  if (try_.service == nullptr || try_.reported) return;
  try_.reported = true;
  core_->report_try(*try_.service, *try_.live->health, *cluster_, result, try_.probation);
}

// No answer came. Only what an endpoint did counts against it: not a wait for a connection that was
// never asked for, not a kept connection that had ended before.
void Exchange::report_failure(EndReason reason) {
  switch (reason) {
    case EndReason::kConnectFailed:
    case EndReason::kConnectTimeout:
      report({.kind = TryResult::Kind::kConnectFailed});
      return;
    case EndReason::kUpstreamClosed:
    case EndReason::kUpstreamProtocol:
      report({.kind = TryResult::Kind::kReset});
      return;
    case EndReason::kPerTryTimeout:
    case EndReason::kRouteTimeout:
      if (core_->find(try_.connection) != nullptr) report({.kind = TryResult::Kind::kTimedOut});
      return;
    default:
      return;
  }
}

void Exchange::forget_try() {
  if (try_.service == nullptr || try_.reported) return;
  try_.reported = true;
  if (try_.probation) try_.service->forget(*try_.live->health, core_->shard());
}

}  // namespace np::proxy
