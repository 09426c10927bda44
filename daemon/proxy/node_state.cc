// SPDX-License-Identifier: Apache-2.0
#include "proxy/node_state.h"

#include <algorithm>
#include <utility>

namespace np::proxy {
namespace {

uint64_t group_key(uint32_t cluster_id, uint32_t caller) {
  return (static_cast<uint64_t>(cluster_id) << 32U) | caller;
}

}  // namespace

NodeState::NodeState(uint32_t shards, const Seams& seams)
    : shards_(shards),
      seams_(seams),
      mailboxes_(std::make_unique<Mailbox[]>(shards)),
      idle_board_(shards) {
  events_.reserve(kEventsMax);
}

NodeState::~NodeState() = default;

AdmissionGroup& NodeState::admission(uint32_t cluster_id, uint32_t caller) {
  const SpinGuard guard(lock_);
  std::unique_ptr<AdmissionGroup>& group = groups_[group_key(cluster_id, caller)];
  if (group == nullptr) {
    const size_t index = groups_.size() - 1;
    LimitSlot* slot = index < seams_.slots.size() ? &seams_.slots[index] : nullptr;
    group = std::make_unique<AdmissionGroup>(*this, shards_, slot);
  }
  return *group;
}

AdmissionGroup* NodeState::find_admission(uint32_t cluster_id, uint32_t caller) {
  const uint64_t key = (static_cast<uint64_t>(cluster_id) << 32U) | caller;
  const SpinGuard guard(lock_);
  const auto found = groups_.find(key);
  return found == groups_.end() ? nullptr : found->second.get();
}

std::vector<NodeState::AdmissionView> NodeState::admissions() {
  std::vector<std::pair<uint64_t, AdmissionGroup*>> groups;
  {
    const SpinGuard guard(lock_);
    groups.reserve(groups_.size());
    for (const auto& [key, group] : groups_) groups.emplace_back(key, group.get());
  }
  // Each has a lock of its own, and none is ever removed.
  std::vector<AdmissionView> views;
  for (const auto& [key, group] : groups) {
    views.push_back(
        {static_cast<uint32_t>(key >> 32U), static_cast<uint32_t>(key), group->counts()});
  }
  return views;
}

ShadowUse* NodeState::shadow_use(const policy::Cluster& cluster, uint32_t caller) {
  if (!cluster.shadow_limits) return nullptr;
  if (cluster.shadow_limits->pool.scope_node) caller = 0;
  const SpinGuard guard(lock_);
  std::unique_ptr<ShadowUse>& use = shadow_uses_[group_key(cluster.id, caller)];
  if (use == nullptr) use = std::make_unique<ShadowUse>();
  return use.get();
}

ServiceHealth& NodeState::health(uint32_t service_id) {
  const SpinGuard guard(lock_);
  std::unique_ptr<ServiceHealth>& service = services_[service_id];
  if (service == nullptr) service = std::make_unique<ServiceHealth>(*this, service_id);
  return *service;
}

ServiceHealth* NodeState::find_health(uint32_t service_id) {
  const SpinGuard guard(lock_);
  const auto found = services_.find(service_id);
  return found == services_.end() ? nullptr : found->second.get();
}

std::vector<ServiceHealth*> NodeState::services() {
  const SpinGuard guard(lock_);
  std::vector<ServiceHealth*> list;
  for (const auto& [id, service] : services_) list.push_back(service.get());
  return list;
}

ServiceHealth::Swept NodeState::sweep(Instant now, uint32_t shard) {
  ServiceHealth::Swept all;
  for (ServiceHealth* service : services()) {
    const ServiceHealth::Swept one = service->sweep(now, shard);
    all.next = std::min(all.next, one.next);
    all.verdicts.insert(all.verdicts.end(), one.verdicts.begin(), one.verdicts.end());
  }
  return all;
}

void NodeState::deliver(WaitNode& node, uint32_t from_shard) {
  const uint32_t to = node.shard;
  const bool first = mailboxes_[to].put(node);
  if (first && to != from_shard && seams_.wake != nullptr) seams_.wake->wake(to);
}

void NodeState::ring(uint32_t shard, uint32_t from_shard) {
  const bool first = mailboxes_[shard].ring();
  if (first && shard != from_shard && seams_.wake != nullptr) seams_.wake->wake(shard);
}

void NodeState::add_event(const EjectionEvent& event) {
  {
    const SpinGuard guard(event_lock_);
    if (events_.size() >= kEventsMax) {
      lost_events_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    events_.push_back(event);
  }
  if (seams_.wake != nullptr) seams_.wake->wake_watcher();
}

std::vector<EjectionEvent> NodeState::take_events() {
  std::vector<EjectionEvent> fresh;
  fresh.reserve(kEventsMax);
  const SpinGuard guard(event_lock_);
  fresh.swap(events_);
  return fresh;
}

void NodeState::note_shadow(ShadowKind kind, std::string_view object, Instant now) {
  if (shadow_log_.note(kind, object, now) && seams_.wake != nullptr) seams_.wake->wake_watcher();
}

}  // namespace np::proxy
