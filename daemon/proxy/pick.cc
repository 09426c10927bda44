// SPDX-License-Identifier: Apache-2.0
#include "proxy/pick.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace np::proxy {
namespace {

using Kind = policy::LoadBalancing::Kind;

constexpr double kRandomUnit = 1.0 / 4294967296.0;

}  // namespace

Pick Picker::pick(const Request& request, Instant now) {
  const policy::Cluster& cluster = *request.cluster;
  if (cluster.endpoints.empty()) return {};
  ClusterState& state = state_of(cluster, request.snapshot);
  const uint32_t index = choose(state, request, now);
  return {&cluster.endpoints[index], state.by_index[index]};
}

Picker::ClusterState& Picker::state_of(const policy::Cluster& cluster, uint64_t snapshot) {
  std::unique_ptr<ClusterState>& slot = clusters_[cluster.id];
  if (slot == nullptr) slot = std::make_unique<ClusterState>();
  if (slot->snapshot != snapshot || slot->cluster != &cluster) {
    slot->snapshot = snapshot;
    slot->cluster = &cluster;
    adopt(*slot, cluster);
  }
  return *slot;
}

void Picker::adopt(ClusterState& state, const policy::Cluster& cluster) {
  for (auto& [id, endpoint] : state.endpoints) endpoint->listed = false;
  state.by_index.clear();
  state.equal_weights = cluster.load_balancing.warmup <= Duration::zero();
  for (const policy::Endpoint& endpoint : cluster.endpoints) {
    std::unique_ptr<EndpointState>& live = state.endpoints[endpoint.id];
    if (live == nullptr) live = std::make_unique<EndpointState>();
    live->listed = true;
    state.by_index.push_back(live.get());
    if (endpoint.weight != cluster.endpoints.front().weight) state.equal_weights = false;
  }
  std::erase_if(state.endpoints,
                [](const auto& entry) { return !entry.second->listed && !entry.second->active; });
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  // The start is random once per shard; later snapshots go on from where it was.
  if (!state.started) state.cursor = rng_.below(count);
  state.started = true;
  state.cursor %= count;
  state.schedule.clear();
  if (state.equal_weights) return;
  for (uint32_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(rng_.below(UINT32_MAX)) * kRandomUnit;
    const double w = std::max<double>(cluster.endpoints[i].weight, 1e-6);
    state.schedule.push_back({state.clock + share / w, i});
  }
  std::make_heap(state.schedule.begin(), state.schedule.end(),
                 [](const Deadline& a, const Deadline& b) { return a.at > b.at; });
}

// Slow start: weight x max(minimum, (age / window)^(1 / aggression)).
double Picker::weight(const policy::Cluster& cluster, uint32_t index, Instant now) const {
  const policy::Endpoint& endpoint = cluster.endpoints[index];
  const double full = std::max<double>(endpoint.weight, 1e-6);
  const policy::LoadBalancing& lb = cluster.load_balancing;
  if (lb.warmup <= Duration::zero()) return full;
  const Duration age = now - endpoint.joined;
  if (age >= lb.warmup) return full;
  const double share =
      std::max(0.0, static_cast<double>(age.count())) / static_cast<double>(lb.warmup.count());
  const double aggression = lb.warmup_aggression > 0 ? lb.warmup_aggression : 1.0;
  const double factor =
      std::max(lb.warmup_minimum_percent / 100.0, std::pow(share, 1.0 / aggression));
  return full * std::max(factor, 1e-6);
}

// Weighted: earliest deadline first; each use moves an endpoint 1 / weight ahead.
uint32_t Picker::round_robin(ClusterState& state, const policy::Cluster& cluster, Instant now) {
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  if (state.equal_weights) {
    const uint32_t index = state.cursor;
    state.cursor = (state.cursor + 1) % count;
    return index;
  }
  const auto later = [](const Deadline& a, const Deadline& b) { return a.at > b.at; };
  std::pop_heap(state.schedule.begin(), state.schedule.end(), later);
  Deadline& due = state.schedule.back();
  const uint32_t index = due.index;
  state.clock = due.at;
  due.at += 1.0 / weight(cluster, index, now);
  std::push_heap(state.schedule.begin(), state.schedule.end(), later);
  return index;
}

uint32_t Picker::least_request(ClusterState& state, const policy::Cluster& cluster, Instant now) {
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  if (count == 1) return 0;
  const uint32_t a = rng_.below(count);
  uint32_t b = rng_.below(count - 1);
  if (b >= a) ++b;
  if (state.equal_weights) return state.by_index[b]->active < state.by_index[a]->active ? b : a;
  const double score_a = weight(cluster, a, now) / (state.by_index[a]->active + 1.0);
  const double score_b = weight(cluster, b, now) / (state.by_index[b]->active + 1.0);
  return score_b > score_a ? b : a;
}

uint32_t Picker::choose(ClusterState& state, const Request& request, Instant now) {
  const policy::Cluster& cluster = *request.cluster;
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  switch (cluster.load_balancing.kind) {
    case Kind::kRoundRobin:
    case Kind::kPassthrough:
      return round_robin(state, cluster, now);
    case Kind::kLeastRequest:
      return least_request(state, cluster, now);
    case Kind::kRandom:
      return rng_.below(count);
    case Kind::kRingHash:
    case Kind::kMaglev:
      break;
  }
  if (cluster.ring.empty() && cluster.maglev.empty()) return rng_.below(count);
  std::optional<uint64_t> hash;
  if (request.has_hash) {
    hash = request.hash;
  } else if (request.view != nullptr) {
    hash = policy::request_hash(cluster.load_balancing, *request.view, *request.caller);
  }
  if (!hash) return rng_.below(count);  // nothing to hash: random
  const uint32_t index = policy::endpoint_for_hash(cluster, *hash);
  return index < count ? index : 0;
}

void Picker::sweep(const policy::Snapshot& snapshot) {
  std::unordered_set<uint32_t> named;
  for (const auto& cluster : snapshot.clusters) named.insert(cluster->id);
  std::erase_if(clusters_, [&](const auto& entry) {
    if (named.contains(entry.first)) return false;
    for (const auto& [id, endpoint] : entry.second->endpoints) {
      if (endpoint->active != 0) return false;
    }
    return true;
  });
}

}  // namespace np::proxy
