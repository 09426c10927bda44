// SPDX-License-Identifier: Apache-2.0
// Exchange, phase Acquire: back-off, endpoint, connection; and whether a try is repeated.
#include <algorithm>
#include <cmath>
#include <utility>

#include "proxy/core.h"
#include "proxy/exchange.h"
#include "proxy/exchange_teller.h"
#include "proxy/retry.h"

namespace np::proxy {

namespace {

size_t index_of(ExchangeTimer timer) {
  return static_cast<size_t>(timer);
}

}  // namespace

void Exchange::enter_acquire() {
  advance_to(Phase::kAcquire);
  if (request_complete_) start_mirrors();
  begin_try();
}

// The order within a try is fixed: a place among those that the policy lets in, then an endpoint,
// then a connection.
void Exchange::begin_try() {
  try_ = {};
  if (terms_.retries > 0 && repeats_ == 0 && stale_repeats_ == 0) {
    core_->picker().retry_budget(*cluster_).count_request(core_->now());
  }
  if (admit()) go_on_admitted();
}

void Exchange::go_on_admitted() {
  if (cluster_->original_destination ||
      cluster_->load_balancing.kind == policy::LoadBalancing::Kind::kPassthrough) {
    connect(original_);
  } else {
    choose_endpoint();
  }
}

void Exchange::connect(const SocketAddress& remote) {
  PoolKey key;
  key.remote = story_.remote = remote;
  key.cluster_id = cluster_->id;
  key.caller = try_.group != nullptr ? try_.group->caller : 0;
  key.opaque = kind_ == Kind::kOpaque || (probe_ != nullptr && !probe_->check.http);
  if (cluster_->source_pod && !gateway_) key.source = source_for(key.remote.ip);
  if (Connection* client = core_->find(downstream_)) {
    FlowUpdate flow(*client->record, core_->now());
    flow->endpoint_id = try_.endpoint != nullptr ? try_.endpoint->id : 0;
  }
  arm_try_timer();
  Connection* connection = core_->acquire(*this, key, cluster_->pool, try_.group, want_fresh_);
  if (connection == nullptr) {
    try_.waiting_in = core_->pool_of(key);
    return;
  }
  enter_exchange(*connection);
}

// The caller's own address in the endpoint's family, because a pod may dial one family and be given
// an endpoint of the other. Unspecified: the node's address is used.
IpAddress Exchange::source_for(const IpAddress& endpoint) const {
  const std::span<const IpAddress> own = caller_.pod != nullptr
                                             ? std::span<const IpAddress>(caller_.pod->ips)
                                             : std::span(&peer_.ip, 1);
  IpAddress source;
  for (const IpAddress& ip : own) {
    // A pod that reaches itself must not see its own address as the source (capture R28).
    if (ip == endpoint) return IpAddress{};
    if (ip.is_v4() == endpoint.is_v4() && source.is_unspecified()) source = ip;
  }
  return source;
}

Pick Exchange::pick_endpoint() {
  const policy::RequestView view = request_view();
  Picker::Request request;
  request.cluster = cluster_;
  request.snapshot = pin_->number;
  request.view = kind_ == Kind::kOpaque ? nullptr : &view;
  request.caller = &caller_;
  make_affinity_cookie();
  request.has_hash = has_hash_;
  request.hash = hash_;
  const policy::Retry* retry = match_.route != nullptr ? &match_.route->retry : nullptr;
  const bool avoids = retry != nullptr && (retry->avoid_previous_hosts || kind_ == Kind::kOpaque);
  if (avoids) request.avoid = {tried_, tried_count_};
  return core_->picker().pick(request, core_->now());
}

// From the moment when both the try has begun and the whole request is here.
void Exchange::arm_try_timer() {
  if (kind_ != Kind::kRequest || !request_complete_ || answer_started_) return;
  const Duration limit = terms_.per_try_timeout;
  if (limit <= Duration::zero() || timers_[index_of(ExchangeTimer::kTry)].armed) return;
  if (timers_[index_of(ExchangeTimer::kPhase)].armed) return;  // the wait before it is no try
  core_->timers().arm(timers_[index_of(ExchangeTimer::kTry)], core_->now() + limit);
}

// Lets go of endpoint and connection, whatever state the try is in.
void Exchange::end_try(bool reusable) {
  core_->timers().disarm(timers_[index_of(ExchangeTimer::kTry)]);
  leave_queues();
  forget_try();
  if (try_.live != nullptr) --try_.live->active;
  if (try_.is_rehearsed) try_.shadow->end();
  if (try_.stats != nullptr) ++try_.stats->upstream_rq_ended;
  if (try_.waiting_in != nullptr) {
    ++core_->counters().upstream_rq_cancelled;
    ++stats().upstream_rq_cancelled;
    core_->cancel_acquire(*this, *try_.waiting_in);
  }
  if (Connection* connection = core_->find(try_.connection)) {
    if ((tunnel_ || kind_ == Kind::kOpaque) && request_complete_ && answer_ended_) {
      connection->exchange = {};
      core_->close_after_flush(*connection);
    } else if (discard_answer_ && try_.end_sent) {
      core_->discard_upstream(*connection);
    } else {
      core_->release_upstream(*connection, reusable);
    }
  }
  // After the connection went back, so that the next in line finds it.
  if (try_.group != nullptr) {
    core_->hand_over_admission(*try_.group, core_->find(try_.connection));
  }
  try_ = {};
}

// ---- repeats ---------------------------------------------------------------------------------

bool Exchange::is_replayable() const {
  return kind_ == Kind::kRequest && !answer_started_ && !continue_passed_ && !tunnel_ &&
         body_.can_replay();
}

bool Exchange::nothing_reached_upstream() {
  const Connection* connection = core_->find(try_.connection);
  return connection == nullptr || connection->offered_bytes == try_.offered_before;
}

// One share of the budget and of max_retries for as long as the Exchange repeats, and each repeat
// against what the cluster's requests of the last seconds allow.
bool Exchange::take_retry_share() {
  const auto& own = cluster_->pool.retry_budget;
  const EngineLimits& limits = core_->limits();
  if (!retry_share_.is_held) {
    ShardGroup* group = core_->group_of(*cluster_, caller_.workload_id);
    if (!core_->take_retry_share(group, own.has_value())) return false;
    ShadowUse* shadow = core_->node().shadow_use(*cluster_, caller_.workload_id);
    retry_share_ = {true, group, shadow};
    if (shadow != nullptr && shadow->begin_retry(cluster_->shadow_limits->pool)) {
      ++core_->counters().limit_shadow;
      core_->node().note_shadow(ShadowKind::kRetry, cluster_->shadow_limits->object, core_->now());
    }
  }
  const uint32_t percent =
      own ? static_cast<uint32_t>(std::ceil(own->percent)) : limits.retry_window_percent;
  return core_->picker().retry_budget(*cluster_).take(core_->now(), percent,
                                                      limits.retry_window_minimum);
}

// Decides on a repeat by policy and, if so, ends the try and waits for the back-off.
bool Exchange::repeat(uint32_t conditions, bool nothing_sent) {
  if (kind_ != Kind::kRequest) return false;
  const policy::Retry& retry = match_.route->retry;
  if (terms_.retries == 0 || (terms_.retry_on & conditions) == 0 || !is_replayable()) return false;
  if (!nothing_sent && !retry.allow_non_idempotent && !policy::is_idempotent(request_.method))
    return false;
  EngineCounters& counters = core_->counters();
  if (repeats_ >= terms_.retries) {
    ++counters.upstream_rq_retry_limit_exceeded;
    ++stats().upstream_rq_retry_limit_exceeded;
    story_.retries_used_up = true;
    return false;
  }
  if (!take_retry_share()) {
    ++counters.upstream_rq_retry_overflow;
    ++stats().upstream_rq_retry_overflow;
    return false;
  }
  ++repeats_;
  ++counters.upstream_rq_retry;
  ++stats().upstream_rq_retry;
  if (Connection* client = core_->find(downstream_)) {
    ++FlowUpdate(*client->record, core_->now())->retries;
  }
  end_try(false);
  body_.rewind();
  advance_to(Phase::kAcquire);
  core_->timers().arm(timers_[index_of(ExchangeTimer::kPhase)],
                      core_->now() + backoff(retry, repeats_, core_->rng()));
  return true;
}

// Opaque connections have no retry policy; until one endpoint is connected nothing was sent to any.
bool Exchange::connect_elsewhere(EndReason reason) {
  const bool failed = reason == EndReason::kConnectFailed || reason == EndReason::kConnectTimeout;
  const size_t tries = std::min<size_t>(core_->limits().tcp_connect_tries, kTriedMax);
  if (kind_ != Kind::kOpaque || !failed || try_.endpoint == nullptr ||
      tried_count_ >= std::min(tries, cluster_->endpoints.size())) {
    return false;
  }
  if (Connection* client = core_->find(downstream_)) {
    ++FlowUpdate(*client->record, core_->now())->retries;
  }
  try_again_in_place();
  return true;
}

// The next try of a request that was let in already: its place is its own until it ends, so nobody
// overtakes it and nobody takes the last place in the line from it.
void Exchange::try_again_in_place() {
  ShardGroup* place = std::exchange(try_.group, nullptr);
  ShadowUse* shadow = try_.shadow;
  const bool is_rehearsed = std::exchange(try_.is_rehearsed, false);
  end_try(false);
  advance_to(Phase::kAcquire);
  try_.shadow = shadow;
  try_.is_rehearsed = is_rehearsed;
  try_.group = place;
  try_.admitted = place != nullptr;
  go_on_admitted();
}

// A kept connection that the endpoint closed at the moment of its reuse says nothing about the
// endpoint. One byte of an answer, even of an interim one, and the endpoint was there.
Connection* Exchange::stale_connection(EndReason reason) {
  if (reason != EndReason::kUpstreamClosed || !try_.reused) return nullptr;
  Connection* connection = core_->find(try_.connection);
  if (connection == nullptr || connection->received_bytes != try_.received_before) return nullptr;
  return connection;
}

// The try gave no answer: repeats it, or ends the Exchange.
void Exchange::fail_try(EndReason reason, uint32_t conditions) {
  const bool nothing_sent = nothing_reached_upstream();
  Connection* stale = stale_connection(reason);
  if (stale != nullptr) core_->distrust_idle(*stale->pool);
  if (stale == nullptr) report_failure(reason);
  // Repeated without asking the policy, where that is safe (traffic-semantics 4.7).
  if (stale != nullptr && is_replayable() && stale_repeats_ < core_->limits().repeats_on_stale &&
      (nothing_sent || policy::is_idempotent(request_.method))) {
    ++stale_repeats_;
    ++core_->counters().upstream_rq_retry_stale;
    body_.rewind();
    want_fresh_ = true;
    tried_count_ = 0;
    try_again_in_place();
    return;
  }
  if (connect_elsewhere(reason) || repeat(conditions, nothing_sent)) return;
  if (kind_ == Kind::kMirror) reason = EndReason::kMirrorFailed;
  if (kind_ == Kind::kOpaque) {
    const bool overflow = reason == EndReason::kOverflow;
    reason = overflow ? EndReason::kTcpOverflow : EndReason::kTcpFailed;
  }
  enter_finish(reason);
}

// ---- to Exchange -----------------------------------------------------------------------------

void Exchange::enter_exchange(Connection& upstream) {
  advance_to(Phase::kExchange);
  want_fresh_ = false;
  try_.connection = upstream.id();
  try_.sent_at = core_->now();
  try_.reused = upstream.requests > 0;
  try_.offered_before = upstream.offered_bytes;
  try_.received_before = upstream.received_bytes;
  ++upstream.requests;
  if (probe_ != nullptr && !probe_->check.http) {
    finish_connect_probe(upstream);
    return;
  }
  EngineCounters& counters = core_->counters();
  ++counters.upstream_rq_total;
  try_.stats = &stats();
  ++try_.stats->upstream_rq_total;
  story_.sent = core_->now();
  story_.answered = {};
  if (try_.reused) ++counters.upstream_cx_reused;
  if (kind_ == Kind::kOpaque) {
    report({.kind = TryResult::Kind::kConnected});
    ExchangeTeller(*this, EndReason::kTcpClosed).opened();
    tunnel_ = true;
    release_policy();
    pump_tunnel();
  } else {
    send_request_head(upstream);
    if (upstream.codec->wants_close()) {
      // The codec refused to write this head (an authority that a rewrite made illegal): no byte
      // went out and none will come. The endpoint has no part in it.
      forget_try();
      fail_try(EndReason::kUpstreamProtocol, 0);
      return;
    }
    pump_request();
  }
  core_->touch(upstream);
  if (Connection* client = core_->find(downstream_)) core_->touch(*client);
}

}  // namespace np::proxy
