// SPDX-License-Identifier: Apache-2.0
// Core, shared with other shards: limits, ejections, and the mail that says whose turn it is.
#include <algorithm>
#include <unordered_map>

#include "proxy/core.h"

namespace np::proxy {
namespace {

uint64_t group_key(uint32_t cluster_id, uint32_t caller) {
  return (static_cast<uint64_t>(cluster_id) << 32U) | caller;
}

// What a snapshot says; a cluster that it does not name has no limits.
const policy::ConnectionPool& limits_in(const policy::Snapshot& snapshot, uint32_t cluster_id) {
  static const policy::ConnectionPool kNone;
  for (const auto& cluster : snapshot.clusters) {
    if (cluster->id == cluster_id) return cluster->pool;
  }
  return kNone;
}

}  // namespace

// ---- limits ----------------------------------------------------------------------------------

ShardGroup* Core::group_of(const policy::Cluster& cluster, uint32_t caller) {
  if (!policy::has_limits(cluster.pool)) return nullptr;
  if (cluster.pool.scope_node) caller = 0;
  std::unique_ptr<ShardGroup>& group = groups_[group_key(cluster.id, caller)];
  if (group == nullptr) {
    group = std::make_unique<ShardGroup>();
    group->caller = caller;
    group->shared = &node_->admission(cluster.id, caller);
    // An Exchange that began under an older policy may be the first of its group here; the limits
    // of today hold for it all the same, and for all others.
    const bool may_be_old = pins_.size() > 1;
    group->shared->configure(
        may_be_old ? limits_in(*pins_.back()->snapshot, cluster.id) : cluster.pool, shard_);
  }
  return group.get();
}

// The new policy's limits hold for who waits already; a cluster without policy has none.
void Core::refresh_groups() {
  static const policy::ConnectionPool kNoLimits;
  std::unordered_map<uint32_t, const policy::Cluster*> by_id;
  for (const auto& cluster : pins_.back()->snapshot->clusters) by_id[cluster->id] = cluster.get();
  for (auto& [key, group] : groups_) {
    const auto found = by_id.find(static_cast<uint32_t>(key >> 32U));
    group->shared->configure(found == by_id.end() ? kNoLimits : found->second->pool, shard_);
  }
}

// Endpoints that are out, or were when the last worker died, are under the new rules at once, not
// only when the next request asks for one.
void Core::refresh_rules() {
  for (const auto& cluster : pins_.back()->snapshot->clusters) {
    ServiceHealth* health = node_->find_health(cluster->service_id);
    if (health != nullptr) health->adopt(*cluster, now_, shard_);
  }
}

// A connection above the limit was begun: an idle one goes, here or on another shard.
void Core::trim(ShardGroup& group) {
  if (Connection* idle = group.idle.front()) {
    ++counters_->upstream_cx_trimmed;
    close(*idle, false);
    return;
  }
  (void)group.shared->ask_to_trim(shard_);
}

void Core::end_admission(Connection& connection) {
  if (connection.admission == nullptr) return;
  std::exchange(connection.admission, nullptr)->end(shard_);
}

void Core::hand_over_admission(ShardGroup& group, Connection* connection) {
  const bool lingers = connection != nullptr && !connection->is_closed() &&
                       !connection->pool_link.linked && connection->admission == nullptr;
  if (lingers) {
    connection->admission = group.shared;
  } else {
    group.shared->end(shard_);
  }
}

// ---- ejections -------------------------------------------------------------------------------

void Core::report_try(ServiceHealth& service, EndpointHealth& endpoint,
                      const policy::Cluster& cluster, const TryResult& result, bool probation) {
  const ServiceHealth::Verdict verdict =
      service.report(endpoint, cluster, result, probation, now_, shard_);
  count(verdict);
  if (verdict.sweep || verdict.ejected) arm_sweep(service.next_sweep());
}

void Core::count(const ServiceHealth::Verdict& verdict) {
  EngineCounters& all = *counters_;
  ClusterCounters& own = stats(verdict.cluster_id);
  if (verdict.overflow) ++all.outlier_ejections_overflow;
  if (verdict.overflow) ++own.outlier_detection_ejections_overflow;
  if (verdict.shadow) ++all.outlier_ejections_shadow;
  if (!verdict.ejected) return;
  ++all.outlier_ejections_enforced_total;
  ++own.outlier_detection_ejections_enforced_total;
  switch (verdict.cause) {
    case EjectionCause::kConsecutive5xx:
      ++all.outlier_ejections_consecutive_5xx;
      ++own.outlier_detection_ejections_enforced_consecutive_5xx;
      return;
    case EjectionCause::kConsecutiveGateway:
      ++all.outlier_ejections_consecutive_gateway;
      ++own.outlier_detection_ejections_enforced_consecutive_gateway_failure;
      return;
    case EjectionCause::kConsecutiveLocal:
      ++all.outlier_ejections_consecutive_local;
      ++own.outlier_detection_ejections_enforced_consecutive_local_origin_failure;
      return;
    case EjectionCause::kSuccessRate:
      ++all.outlier_ejections_success_rate;
      ++own.outlier_detection_ejections_enforced_success_rate;
      return;
    case EjectionCause::kFailurePercentage:
      ++all.outlier_ejections_failure_percentage;
      ++own.outlier_detection_ejections_enforced_failure_percentage;
      return;
    case EjectionCause::kLatency:
      ++all.outlier_ejections_latency;
      ++own.outlier_detection_ejections_enforced_latency;
      return;
    case EjectionCause::kTrial:  // Envoy knows none of the kind: in the total only
    case EjectionCause::kNone:
      return;
  }
}

void Core::sweep() {
  const ServiceHealth::Swept swept = node_->sweep(now_, shard_);
  for (const ServiceHealth::Verdict& verdict : swept.verdicts) count(verdict);
  arm_sweep(swept.next);
}

// Whoever ejects sees to it that the endpoint comes back.
void Core::arm_sweep(Instant at) {
  if (at == kNever || (sweep_timer_.armed && sweep_timer_.deadline <= at)) return;
  sweep_timer_.owner = Timer::Owner::kCore;
  timers_.arm(sweep_timer_, at);
}

// ---- health checks ---------------------------------------------------------------------------

void Core::begin_probe(uint32_t slot) {
  const ProbeTarget* target = draining_ ? nullptr : prober_.begin(slot);
  if (target != nullptr) exchanges_.take().begin_probe(*this, *target);
}

void Core::probe_ended(uint32_t slot, ProbeResult result) {
  ++counters_->health_checks;
  if (result != ProbeResult::kGood) ++counters_->health_checks_failed;
  prober_.ended(slot, result, now_);
}

// ---- mail ------------------------------------------------------------------------------------

void Core::on_wake(Instant now, ActionList& actions) {
  begin_step(now, actions);
  end_step();
}

void Core::read_mail() {
  Mailbox& mailbox = node_->mailbox(shard_);
  mailbox.begin_taking();
  while (WaitNode* node = mailbox.take()) {
    Exchange* exchange = find(node->exchange);
    if (exchange != nullptr) exchange->on_event({.kind = ExchangeEvent::Kind::kMail});
  }
  if (!mailbox.take_ring()) return;
  for (auto& [key, group] : groups_) {
    for (uint32_t count = group->shared->take_trims(shard_); count > 0; --count) {
      Connection* idle = group->idle.front();
      if (idle == nullptr) break;
      ++counters_->upstream_cx_trimmed;
      close(*idle, false);
    }
  }
}

}  // namespace np::proxy
