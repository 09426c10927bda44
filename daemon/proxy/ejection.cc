// SPDX-License-Identifier: Apache-2.0
#include "proxy/ejection.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "proxy/node_state.h"

namespace np::proxy {
namespace {

using Permit = ServiceHealth::Permit;
using Standing = ServiceHealth::Standing;

constexpr uint32_t kWhole = 100;  // percent

bool is_gateway_error(uint16_t status) {
  return status >= 502 && status <= 504;
}

bool is_failure(const TryResult& result) {
  switch (result.kind) {
    case TryResult::Kind::kAnswered:
      return result.status >= 500;
    case TryResult::Kind::kConnected:
      return false;
    case TryResult::Kind::kConnectFailed:
    case TryResult::Kind::kReset:
    case TryResult::Kind::kTimedOut:
      return true;
  }
  return true;
}

void clear_row(EndpointHealth& endpoint) {
  endpoint.consecutive_5xx = endpoint.consecutive_gateway = endpoint.consecutive_local = 0;
  endpoint.held_against = 0;
}

// What traffic-semantics 3.4 counts, per try.
void count(EndpointHealth& endpoint, const policy::Outlier& outlier, const TryResult& result) {
  const bool answered = result.kind == TryResult::Kind::kAnswered;
  if (!is_failure(result)) return clear_row(endpoint);
  if (!answered && outlier.split_local_origin) {
    ++endpoint.consecutive_local;
    return;
  }
  endpoint.consecutive_local = 0;
  ++endpoint.consecutive_5xx;
  if (!answered || is_gateway_error(result.status)) {
    ++endpoint.consecutive_gateway;
  } else {
    endpoint.consecutive_gateway = 0;
  }
}

bool is_half_open(const policy::Outlier& outlier, uint32_t flags) {
  return outlier.half_open && (flags & EndpointHealth::kReturned) != 0;
}

// Whether any rule in force holds the result against the endpoint. An answer that none does is as
// good as any; a connect that failed proves nothing either way. One slow answer says nothing, but
// who may have been out for slow ones is not let back in by another.
bool is_held_against(const policy::Outlier& outlier, const TryResult& result, uint32_t flags) {
  const bool answered = result.kind == TryResult::Kind::kAnswered;
  if (!is_failure(result)) {
    return answered && outlier.latency && is_half_open(outlier, flags) &&
           result.took > outlier.latency->threshold;
  }
  if (!answered) return true;
  if (outlier.consecutive_5xx > 0 || outlier.success_rate || outlier.failure_percentage) {
    return true;
  }
  return outlier.consecutive_gateway_errors > 0 && is_gateway_error(result.status);
}

// How many more failures in a row the rules in force forgive before they eject, and one more: at
// least one, for failures that led to no ejection block nobody.
uint32_t failures_left(const EndpointHealth& endpoint, const policy::Outlier& outlier) {
  uint32_t left = UINT32_MAX;
  const auto consider = [&left](uint32_t threshold, uint32_t count) {
    if (threshold > 0) left = std::min(left, threshold > count ? threshold - count : 1);
  };
  consider(outlier.consecutive_5xx, endpoint.consecutive_5xx);
  consider(outlier.consecutive_gateway_errors, endpoint.consecutive_gateway);
  if (outlier.split_local_origin) {
    consider(outlier.consecutive_local_origin_failures, endpoint.consecutive_local);
  }
  return left;
}

void weigh(EndpointHealth& endpoint, const policy::Outlier& outlier) {
  const uint32_t forgiven = forgiven_failures(outlier);
  const uint32_t left = failures_left(endpoint, outlier);
  endpoint.held_against = forgiven > left ? forgiven - left : 0;
}

EjectionCause judge(const EndpointHealth& endpoint, const policy::Outlier& outlier) {
  const auto reached = [](uint32_t count, uint32_t threshold) {
    return threshold > 0 && count >= threshold;
  };
  if (reached(endpoint.consecutive_5xx, outlier.consecutive_5xx)) {
    return EjectionCause::kConsecutive5xx;
  }
  if (reached(endpoint.consecutive_gateway, outlier.consecutive_gateway_errors)) {
    return EjectionCause::kConsecutiveGateway;
  }
  if (outlier.split_local_origin &&
      reached(endpoint.consecutive_local, outlier.consecutive_local_origin_failures)) {
    return EjectionCause::kConsecutiveLocal;
  }
  return EjectionCause::kNone;
}

// D6: the old rule looks at the share before this ejection, today's at the share after it.
bool may_eject(const policy::Outlier& outlier, const Standing& standing) {
  if (standing.endpoints == 0) return false;
  const uint64_t allowed = uint64_t{outlier.max_ejection_percent} * standing.endpoints;
  if (outlier.old_percent_rule) return uint64_t{standing.ejected} * kWhole < allowed;
  return (uint64_t{standing.ejected} + 1) * kWhole <= allowed;
}

// Whether requests would stay away from one more ejected endpoint: panic uses it all the same.
bool would_matter(const policy::Outlier& outlier, const Standing& standing) {
  const uint64_t left = standing.endpoints - std::min(standing.endpoints, standing.ejected + 1);
  return left * kWhole >= uint64_t{outlier.panic_percent} * standing.endpoints;
}

}  // namespace

const char* to_text(EjectionCause cause) {
  switch (cause) {
    case EjectionCause::kNone:
      return "none";
    case EjectionCause::kConsecutive5xx:
      return "consecutive 5xx";
    case EjectionCause::kConsecutiveGateway:
      return "consecutive gateway errors";
    case EjectionCause::kConsecutiveLocal:
      return "consecutive local-origin failures";
    case EjectionCause::kSuccessRate:
      return "success rate";
    case EjectionCause::kFailurePercentage:
      return "failure percentage";
    case EjectionCause::kLatency:
      return "latency";
  }
  return "none";
}

uint32_t forgiven_failures(const policy::Outlier& outlier) {
  uint32_t least = 0;
  const auto consider = [&least](uint32_t threshold) {
    if (threshold > 0 && (least == 0 || threshold < least)) least = threshold;
  };
  consider(outlier.consecutive_5xx);
  consider(outlier.consecutive_gateway_errors);
  if (outlier.split_local_origin) consider(outlier.consecutive_local_origin_failures);
  return least;
}

// Health checks send endpoints out beyond maxEjectionPercent: half-open holds wherever others are
// there to be asked.
bool holds_back(const policy::Outlier& outlier, const Standing& standing, uint32_t flags) {
  if (outlier.shadow || !would_matter(outlier, standing)) return false;
  if (is_half_open(outlier, flags) && standing.ejected + 1 < standing.endpoints) return true;
  const bool has_rule = is_half_open(outlier, flags) || forgiven_failures(outlier) > 0;
  return has_rule && may_eject(outlier, standing);
}

ServiceHealth::ServiceHealth(NodeState& node, uint32_t service_id)
    : node_(node), service_id_(service_id) {}

EndpointHealth& ServiceHealth::endpoint(const SocketAddress& address) {
  const SpinGuard guard(lock_);
  return record_of(address);
}

EndpointHealth& ServiceHealth::record_of(const SocketAddress& address) {
  std::unique_ptr<EndpointHealth>& record = endpoints_[address];
  if (record == nullptr) {
    record = std::make_unique<EndpointHealth>();
    record->address = address;
  }
  return *record;
}

void ServiceHealth::adopt(const policy::Cluster& cluster, Instant now, uint32_t shard) {
  const SpinGuard guard(lock_);
  if (!cluster.outlier) {
    rules_.erase(cluster.id);
    return;
  }
  interval_ = std::max<Duration>(cluster.outlier->interval, std::chrono::milliseconds(1));
  if (swept_ == Instant{}) swept_ = now;
  Rules& rules = rules_[cluster.id];
  rules.cluster_id = cluster.id;
  rules.outlier = *cluster.outlier;
  rules.endpoints.clear();
  for (const policy::Endpoint& listed : cluster.endpoints) {
    EndpointHealth& record = record_of(listed.address);
    if (rules.outlier.looks_at_intervals() && record.window == nullptr) {
      record.window = std::make_unique<EndpointWindow>();
    }
    rules.endpoints.push_back(&record);
    take_in(record, rules.outlier, listed.joined, now, shard);
  }
  for (EndpointHealth* endpoint : rules.endpoints) {
    if (!std::exchange(endpoint->restored, false)) continue;
    const EjectionCause cause = judge(*endpoint, rules.outlier);
    if (cause != EjectionCause::kNone && !endpoint->is_ejected()) {
      (void)try_eject(*endpoint, rules, {cause}, now, shard);
    }
    save(*endpoint);
  }
}

// A new endpoint at an old address is no heir of what was there; one that the worker before had
// asked and that had not answered failed then.
void ServiceHealth::take_in(EndpointHealth& endpoint, const policy::Outlier& outlier,
                            Instant joined, Instant now, uint32_t shard) {
  const bool is_new = endpoint.joined != Instant{} && joined > endpoint.joined;
  endpoint.joined = std::max(endpoint.joined, joined);
  const TryResult cut_off{.kind = TryResult::Kind::kReset};
  for (; endpoint.restored_unanswered > 0; --endpoint.restored_unanswered) {
    count(endpoint, outlier, cut_off);
    weigh(endpoint, outlier);
    endpoint.note_failure(cut_off, now);
  }
  if (!is_new) return;
  const bool was_ejected = endpoint.is_ejected();
  endpoint.multiplier = endpoint.ejections = endpoint.failure_count = 0;
  endpoint.restored = false;
  endpoint.would = {};
  if (was_ejected) {
    bring_back(endpoint, now, false);
    endpoint.set(EndpointHealth::kReturned, false);
    wake_all(shard);
    return;
  }
  clear_row(endpoint);
  endpoint.set(EndpointHealth::kFailing | EndpointHealth::kReturned, false);
  endpoint.set(EndpointHealth::kUnproven, true);
  save(endpoint);
}

// ---- requests --------------------------------------------------------------------------------

Permit ServiceHealth::ask(EndpointHealth& endpoint, const policy::Outlier& outlier,
                          const Standing& standing) {
  // Ejected endpoints are asked only in panic, which forgives everything.
  const uint32_t seen = endpoint.flags.load(std::memory_order_acquire);
  if ((seen & EndpointHealth::kUnproven) == 0 || !holds_back(outlier, standing, seen)) {
    return Permit::kPlain;
  }
  const SpinGuard guard(lock_);
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  if ((flags & EndpointHealth::kUnproven) == 0 || (flags & EndpointHealth::kEjected) != 0) {
    return (flags & EndpointHealth::kEjected) != 0 ? Permit::kNoRoom : Permit::kPlain;
  }
  const uint32_t room = is_half_open(outlier, flags) ? 1 : failures_left(endpoint, outlier);
  if (endpoint.unanswered >= room) return Permit::kNoRoom;
  ++endpoint.unanswered;
  save(endpoint);
  return Permit::kProbation;
}

ServiceHealth::Verdict ServiceHealth::report(EndpointHealth& endpoint,
                                             const policy::Cluster& cluster,
                                             const TryResult& result, bool probation, Instant now,
                                             uint32_t shard) {
  const bool failed = is_failure(result);
  const bool watched = cluster.outlier && cluster.outlier->looks_at_intervals();
  if (!failed && !probation && !watched && endpoint.is_plain()) return {};
  const SpinGuard guard(lock_);
  if (probation) {
    NP_DCHECK(endpoint.unanswered > 0);
    --endpoint.unanswered;
  }
  Verdict verdict;
  if (failed) endpoint.note_failure(result, now);
  if (cluster.outlier) {
    count(endpoint, *cluster.outlier, result);
    weigh(endpoint, *cluster.outlier);
    const EjectionCause cause = failed ? judge(endpoint, *cluster.outlier) : EjectionCause::kNone;
    const auto rules = rules_.find(cluster.id);
    if (cause != EjectionCause::kNone && !endpoint.is_ejected() && rules != rules_.end()) {
      verdict = try_eject(endpoint, rules->second, {cause}, now, shard);
    }
  }
  if (watched && endpoint.window != nullptr && !endpoint.is_ejected()) {
    verdict.sweep = !std::exchange(windows_open_, true);
    endpoint.window->add(failed, result.took);
  }
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  const bool is_good =
      cluster.outlier ? !is_held_against(*cluster.outlier, result, flags) : !failed;
  if (is_good && !endpoint.is_ejected()) {
    endpoint.set(EndpointHealth::kUnproven | EndpointHealth::kReturned, false);
  }
  endpoint.set(EndpointHealth::kFailing, endpoint.failures_in_a_row() > 0);
  save(endpoint);
  if (probation) wake_all(shard);
  return verdict;
}

void ServiceHealth::forget(EndpointHealth& endpoint, uint32_t shard) {
  const SpinGuard guard(lock_);
  NP_DCHECK(endpoint.unanswered > 0);
  --endpoint.unanswered;
  save(endpoint);
  wake_all(shard);
}

// ---- ejection --------------------------------------------------------------------------------

Standing ServiceHealth::standing(const Rules& rules) {
  Standing standing;
  standing.endpoints = static_cast<uint32_t>(rules.endpoints.size());
  for (const EndpointHealth* endpoint : rules.endpoints) {
    if (endpoint->is_ejected()) ++standing.ejected;
  }
  return standing;
}

ServiceHealth::Verdict ServiceHealth::try_eject(EndpointHealth& endpoint, const Rules& rules,
                                                const EjectionReason& why, Instant now,
                                                uint32_t shard) {
  const policy::Outlier& outlier = rules.outlier;
  EjectionEvent event;
  event.service_id = service_id_;
  event.endpoint = endpoint.address;
  event.why = why;
  event.at = now;
  if (endpoint.failure_count > 0) {
    event.last = endpoint.failures[(endpoint.failure_count - 1) % kSeenFailures].result;
  }
  Verdict verdict{.cause = why.cause, .cluster_id = rules.cluster_id};
  if (!may_eject(outlier, standing(rules))) {
    verdict.overflow = true;
    return verdict;
  }
  if (outlier.shadow) {
    clear_row(endpoint);
    endpoint.would = why;
    endpoint.would_at = now;
    event.kind = EjectionEvent::Kind::kWouldEject;
    node_.add_event(event);
    verdict.shadow = true;
    return verdict;
  }
  const Duration most = std::max(outlier.max_ejection_time, outlier.base_ejection_time);
  endpoint.multiplier = std::min<uint32_t>(endpoint.multiplier + 1, UINT16_MAX);
  const bool capped = outlier.base_ejection_time > most / endpoint.multiplier;
  endpoint.ejected_at = now;
  endpoint.until = now + (capped ? most : outlier.base_ejection_time * endpoint.multiplier);
  endpoint.why = why;
  ++endpoint.ejections;
  endpoint.set(EndpointHealth::kEjected, true);
  version_.fetch_add(1, std::memory_order_release);
  event.ejections = endpoint.ejections;
  event.until = endpoint.until;
  node_.add_event(event);
  wake_all(shard);
  verdict.ejected = true;
  return verdict;
}

void ServiceHealth::bring_back(EndpointHealth& endpoint, Instant now, bool asked) {
  clear_row(endpoint);
  endpoint.calm_since = now;
  if (endpoint.window != nullptr) endpoint.window->clear();
  endpoint.set(EndpointHealth::kEjected | EndpointHealth::kFailing, false);
  endpoint.set(EndpointHealth::kUnproven | EndpointHealth::kReturned, true);
  version_.fetch_add(1, std::memory_order_release);
  EjectionEvent event;
  event.kind = asked ? EjectionEvent::Kind::kUnejected : EjectionEvent::Kind::kReturned;
  event.service_id = service_id_;
  event.endpoint = endpoint.address;
  event.why = endpoint.why;
  event.ejections = endpoint.ejections;
  event.at = now;
  event.until = endpoint.until;
  node_.add_event(event);
  save(endpoint);
}

bool ServiceHealth::uneject(const SocketAddress& address, Instant now) {
  const SpinGuard guard(lock_);
  const auto found = endpoints_.find(address);
  if (found == endpoints_.end() || !found->second->is_ejected()) return false;
  EndpointHealth& endpoint = *found->second;
  endpoint.multiplier = 0;
  bring_back(endpoint, now, true);
  wake_all(UINT32_MAX);
  return true;
}

// ---- time ------------------------------------------------------------------------------------

// Sweeps happen at whole intervals, so an ejection lasts its time rounded up to the next.
Instant ServiceHealth::sweep_after(Instant at) const {
  if (at <= swept_) return swept_ + interval_;
  const int64_t intervals = (at - swept_ + interval_ - Duration(1)) / interval_;
  return swept_ + interval_ * intervals;
}

Instant ServiceHealth::next_sweep_locked(Instant now) const {
  Instant next = kNever;
  for (const auto& [address, endpoint] : endpoints_) {
    if (endpoint->is_ejected()) {
      next = std::min(next, sweep_after(std::max(endpoint->until, now)));
    } else if (endpoint->multiplier > 0) {
      next = std::min(next, sweep_after(std::max(endpoint->calm_since + interval_, now)));
    }
  }
  if (windows_open_) next = std::min(next, sweep_after(std::max(now, swept_ + Duration(1))));
  return next;
}

Instant ServiceHealth::next_sweep() {
  const SpinGuard guard(lock_);
  return next_sweep_locked(swept_);
}

ServiceHealth::Swept ServiceHealth::sweep(Instant now, uint32_t shard) {
  const SpinGuard guard(lock_);
  Swept swept;
  const bool due = now >= swept_ + interval_;
  if (!due) {
    swept.next = next_sweep_locked(now);
    return swept;
  }
  swept_ += interval_ * ((now - swept_) / interval_);
  bool changed = false;
  for (const auto& [cluster, rules] : rules_) judge_interval(rules, now, shard, swept);
  windows_open_ = false;
  for (auto& [address, record] : endpoints_) {
    EndpointHealth& endpoint = *record;
    if (endpoint.window != nullptr) endpoint.window->clear();
    if (endpoint.is_ejected()) {
      if (endpoint.until > now) continue;
      bring_back(endpoint, now, false);
      changed = true;
    } else if (endpoint.multiplier > 0 && now >= endpoint.calm_since + interval_) {
      --endpoint.multiplier;
      endpoint.calm_since = now;
      save(endpoint);
    }
  }
  if (changed) wake_all(shard);
  swept.next = next_sweep_locked(now + Duration(1));
  return swept;
}

// ---- waiting ---------------------------------------------------------------------------------

bool ServiceHealth::wait(WaitNode& node, uint64_t epoch) {
  const SpinGuard guard(lock_);
  if (epoch != epoch_.load(std::memory_order_relaxed)) return false;
  node.place = WaitNode::Place::kQueue;
  waiting_.push_back(node);
  return true;
}

void ServiceHealth::leave(WaitNode& node) {
  const SpinGuard guard(lock_);
  if (node.place == WaitNode::Place::kQueue) waiting_.remove(node);
  if (node.place == WaitNode::Place::kMailbox) node_.mailbox(node.shard).remove(node);
  node.place = WaitNode::Place::kNowhere;
}

void ServiceHealth::arrived(WaitNode& node) {
  const SpinGuard guard(lock_);
  node.place = WaitNode::Place::kNowhere;
}

// Each of them looks again, in order of arrival; who finds no room waits again.
void ServiceHealth::wake_all(uint32_t shard) {
  epoch_.fetch_add(1, std::memory_order_release);
  while (!waiting_.empty()) {
    WaitNode& node = *waiting_.front();
    waiting_.remove(node);
    node.place = WaitNode::Place::kMailbox;
    node_.deliver(node, shard);
  }
}

}  // namespace np::proxy
