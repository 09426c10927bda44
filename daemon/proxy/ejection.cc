// SPDX-License-Identifier: Apache-2.0
#include "proxy/ejection.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "proxy/ejection_rules.h"
#include "proxy/node_state.h"

namespace np::proxy {
using Permit = ServiceHealth::Permit;
using Standing = ServiceHealth::Standing;

namespace {

// Who comes back half-open and fails its trial is out again, whatever the rows of failures say.
EjectionCause cause_of(const EndpointHealth& endpoint, const policy::Outlier& outlier, bool failed,
                       bool failed_probation) {
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  if (failed_probation && is_half_open(outlier, flags)) return EjectionCause::kTrial;
  return failed ? judge_row(endpoint, outlier) : EjectionCause::kNone;
}

}  // namespace

ServiceHealth::ServiceHealth(NodeState& node, uint32_t service_id)
    : node_(node),
      service_id_(service_id),
      rehearsal_(new ServiceHealth(node, service_id, Rehearsal{})) {}

ServiceHealth::ServiceHealth(NodeState& node, uint32_t service_id, Rehearsal /*mode*/)
    : node_(node), service_id_(service_id) {}

ServiceHealth::~ServiceHealth() = default;

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
  adopt_rules(cluster, now, shard);
  if (is_rehearsal()) return;
  rehearsal_->adopt(cluster, now, shard);
  if (!cluster.shadow_outlier) return;
  for (const policy::Endpoint& listed : cluster.endpoints) {
    EndpointHealth* rehearsed = &rehearsal_->endpoint(listed.address);
    endpoint(listed.address).rehearsed.store(rehearsed, std::memory_order_release);
  }
}

void ServiceHealth::adopt_rules(const policy::Cluster& cluster, Instant now, uint32_t shard) {
  const SpinGuard guard(lock_);
  const std::optional<policy::Outlier>& outlier = rules_of(cluster);
  if (!outlier) {
    rules_.erase(cluster.id);
    return;
  }
  interval_ = std::max<Duration>(outlier->interval, std::chrono::milliseconds(1));
  if (swept_ == Instant{}) swept_ = now;
  Rules& rules = rules_[cluster.id];
  rules.cluster_id = cluster.id;
  rules.outlier = *outlier;
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
    const EjectionCause cause = judge_row(*endpoint, rules.outlier);
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
    count_result(endpoint, outlier, cut_off);
    weigh_row(endpoint, outlier);
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
  Verdict verdict = report_own(endpoint, cluster, result, probation, now, shard);
  if (!cluster.shadow_outlier) return verdict;
  EndpointHealth* rehearsed = endpoint.rehearsed.load(std::memory_order_acquire);
  if (rehearsed == nullptr) return verdict;
  const Verdict told = rehearsal_->report_own(*rehearsed, cluster, result, false, now, shard);
  verdict.shadow = told.shadow;
  verdict.sweep |= told.sweep;
  return verdict;
}

ServiceHealth::Verdict ServiceHealth::report_own(EndpointHealth& endpoint,
                                                 const policy::Cluster& cluster,
                                                 const TryResult& result, bool probation,
                                                 Instant now, uint32_t shard) {
  const bool failed = is_failure(result);
  const std::optional<policy::Outlier>& outlier = rules_of(cluster);
  const bool watched = outlier && outlier->looks_at_intervals();
  if (!failed && !probation && !watched && endpoint.is_plain()) return {};
  const SpinGuard guard(lock_);
  if (probation) {
    NP_DCHECK(endpoint.unanswered > 0);
    --endpoint.unanswered;
  }
  Verdict verdict;
  if (failed) endpoint.note_failure(result, now);
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  const bool is_good = outlier ? !is_held_against(*outlier, result, flags) : !failed;
  if (outlier) {
    count_result(endpoint, *outlier, result);
    weigh_row(endpoint, *outlier);
    const auto rules = rules_.find(cluster.id);
    const EjectionCause cause = cause_of(endpoint, *outlier, failed, probation && !is_good);
    if (cause != EjectionCause::kNone && !endpoint.is_ejected() && rules != rules_.end()) {
      verdict = try_eject(endpoint, rules->second, {cause}, now, shard);
    }
  }
  if (watched && endpoint.window != nullptr && !endpoint.is_ejected()) {
    verdict.sweep = !std::exchange(windows_open_, true);
    endpoint.window->add(failed, result.took);
  }
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
    verdict.overflow = !is_rehearsal();
    return verdict;
  }
  if (is_rehearsal()) {
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
  const Instant rehearsed = is_rehearsal() ? kNever : rehearsal_->next_sweep();
  const SpinGuard guard(lock_);
  return std::min(next_sweep_locked(swept_), rehearsed);
}

ServiceHealth::Swept ServiceHealth::sweep(Instant now, uint32_t shard) {
  Swept swept = sweep_own(now, shard);
  Swept told = rehearsal_->sweep_own(now, shard);
  swept.next = std::min(swept.next, told.next);
  swept.verdicts.insert(swept.verdicts.end(), told.verdicts.begin(), told.verdicts.end());
  return swept;
}

ServiceHealth::Swept ServiceHealth::sweep_own(Instant now, uint32_t shard) {
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
