// SPDX-License-Identifier: Apache-2.0
#include "proxy/pick.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "policy/limit_verdict.h"
#include "proxy/node_state.h"

namespace np::proxy {
namespace {

using Kind = policy::LoadBalancing::Kind;

constexpr double kRandomUnit = 1.0 / 4294967296.0;

bool has_address(const policy::Endpoint& endpoint) {
  return endpoint.address.port != 0 && !endpoint.address.ip.is_unspecified();
}

bool is_avoided(const Picker::Request& request, const policy::Endpoint& endpoint) {
  return std::find(request.avoid.begin(), request.avoid.end(), endpoint.id) != request.avoid.end();
}

// Rules that only look on keep nobody out, nor does what rules before them did; health checks do.
bool is_left_out(const policy::Cluster& cluster, const EndpointHealth* health) {
  if (health == nullptr) return false;
  const bool obeys = cluster.outlier || !cluster.shadow_outlier;
  return health->is_unhealthy() || (obeys && health->is_ejected());
}

}  // namespace

Pick Picker::pick(const Request& request, Instant now) {
  const policy::Cluster& cluster = *request.cluster;
  if (cluster.endpoints.empty()) return {};
  ClusterState& state = state_of(cluster, request.snapshot, now);
  const uint64_t epoch = state.health != nullptr ? state.health->epoch() : 0;
  // Looked at again after the epoch: whoever waits at this epoch is told of what comes after it, so
  // what came before must have been seen. The last ejection may have brought panic, in which nobody
  // waits, and nobody would be woken.
  if (state.health != nullptr && state.health->version() != state.health_version) {
    find_candidates(state, cluster);
  }
  if (state.candidates.empty()) return {};
  for (uint32_t i = 0; i <= kRepicks; ++i) {
    const uint32_t index = choose(state, request, i > 0, now);
    const policy::Endpoint& endpoint = cluster.endpoints[index];
    // Names that are not resolved yet have no address to go to.
    if (!has_address(endpoint) || is_avoided(request, endpoint)) continue;
    const Use use = try_use(state, cluster, index);
    if (use != Use::kNo) return take(state, cluster, index, use);
    break;  // endpoints under probation are few: look for one in turn
  }
  return look_at_all(state, request, epoch);
}

// In turn from a random place: first those that were not tried, then any.
Pick Picker::look_at_all(ClusterState& state, const Request& request, uint64_t epoch) {
  const policy::Cluster& cluster = *request.cluster;
  const auto count = static_cast<uint32_t>(state.candidates.size());
  const uint32_t start = rng_.below(count);
  bool has_any = false;
  for (const bool avoiding : {true, false}) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t index = state.candidates[(start + i) % count];
      const policy::Endpoint& endpoint = cluster.endpoints[index];
      if (!has_address(endpoint)) continue;
      has_any = true;
      if (avoiding && is_avoided(request, endpoint)) continue;
      const Use use = try_use(state, cluster, index);
      if (use != Use::kNo) return take(state, cluster, index, use);
    }
    if (request.avoid.empty()) break;
  }
  Pick none;
  if (has_any) none.wait = state.health;
  none.epoch = epoch;
  return none;
}

Picker::Use Picker::try_use(ClusterState& state, const policy::Cluster& cluster, uint32_t index) {
  EndpointHealth* health = state.by_index[index]->health;
  const bool forgives = !cluster.outlier || state.panic;
  if (health == nullptr || health->is_plain() || forgives) return Use::kYes;
  switch (state.health->ask(*health, *cluster.outlier, state.standing)) {
    case ServiceHealth::Permit::kPlain:
      return Use::kYes;
    case ServiceHealth::Permit::kProbation:
      return Use::kProbation;
    case ServiceHealth::Permit::kNoRoom:
      break;
  }
  return Use::kNo;
}

Pick Picker::take(ClusterState& state, const policy::Cluster& cluster, uint32_t index, Use use) {
  Pick pick;
  pick.endpoint = &cluster.endpoints[index];
  pick.state = state.by_index[index];
  pick.service = state.health;
  pick.probation = use == Use::kProbation;
  pick.panic = state.panic;
  return pick;
}

Picker::ClusterState& Picker::state_of(const policy::Cluster& cluster, uint64_t snapshot,
                                       Instant now) {
  std::unique_ptr<ClusterState>& slot = clusters_[cluster.id];
  if (slot == nullptr) slot = std::make_unique<ClusterState>();
  if (slot->snapshot != snapshot || slot->cluster != &cluster) {
    slot->snapshot = snapshot;
    slot->cluster = &cluster;
    adopt(*slot, cluster, now);
  } else if (slot->health != nullptr && slot->health->version() != slot->health_version) {
    find_candidates(*slot, cluster);
  }
  return *slot;
}

RetryBudget& Picker::retry_budget(const policy::Cluster& cluster) {
  std::unique_ptr<ClusterState>& slot = clusters_[cluster.id];
  if (slot == nullptr) slot = std::make_unique<ClusterState>();
  return slot->budget;
}

void Picker::adopt(ClusterState& state, const policy::Cluster& cluster, Instant now) {
  const bool watched = cluster.outlier || cluster.shadow_outlier || cluster.health_check;
  state.health = watched ? &node_.health(cluster.service_id) : nullptr;
  if (state.health != nullptr) state.health->adopt(cluster, now, shard_);
  for (auto& [id, endpoint] : state.endpoints) endpoint->listed = false;
  state.by_index.clear();
  state.equal_weights = cluster.load_balancing.warmup <= Duration::zero();
  for (const policy::Endpoint& endpoint : cluster.endpoints) {
    std::unique_ptr<EndpointState>& live = state.endpoints[endpoint.id];
    if (live == nullptr) live = std::make_unique<EndpointState>();
    live->listed = true;
    live->health = state.health != nullptr ? &state.health->endpoint(endpoint.address) : nullptr;
    state.by_index.push_back(live.get());
    if (endpoint.weight != cluster.endpoints.front().weight) state.equal_weights = false;
  }
  std::erase_if(state.endpoints,
                [](const auto& entry) { return !entry.second->listed && !entry.second->active; });
  // The start is random once per shard; later snapshots go on from where it was.
  if (!state.started) state.cursor = rng_.below(static_cast<uint32_t>(cluster.endpoints.size()));
  state.started = true;
  find_candidates(state, cluster);
}

// D16: with too few in service, all of them are used.
void Picker::find_candidates(ClusterState& state, const policy::Cluster& cluster) {
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  state.candidates.clear();
  // Read before the flags: a change in between is seen at the next request.
  state.health_version = state.health != nullptr ? state.health->version() : 0;
  state.standing = {count, 0};
  for (uint32_t i = 0; i < count; ++i) {
    const EndpointHealth* health = state.by_index[i]->health;
    if (health != nullptr && health->is_ejected()) ++state.standing.ejected;
    if (!is_left_out(cluster, health)) state.candidates.push_back(i);
  }
  const uint64_t available = state.candidates.size();
  state.panic = policy::is_panic(cluster.outlier, available, count);
  if (state.panic) {
    state.candidates.resize(count);
    std::iota(state.candidates.begin(), state.candidates.end(), 0U);
  }
  if (!state.candidates.empty()) state.cursor %= static_cast<uint32_t>(state.candidates.size());
  begin_schedule(state, cluster);
}

void Picker::begin_schedule(ClusterState& state, const policy::Cluster& cluster) {
  state.schedule.clear();
  if (state.equal_weights) return;
  for (const uint32_t index : state.candidates) {
    const double share = static_cast<double>(rng_.below(UINT32_MAX)) * kRandomUnit;
    const double w = std::max<double>(cluster.endpoints[index].weight, 1e-6);
    state.schedule.push_back({state.clock + share / w, index});
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
  if (state.equal_weights) {
    const uint32_t index = state.candidates[state.cursor];
    state.cursor = (state.cursor + 1) % static_cast<uint32_t>(state.candidates.size());
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
  const auto count = static_cast<uint32_t>(state.candidates.size());
  if (count == 1) return state.candidates.front();
  const uint32_t first = rng_.below(count);
  uint32_t second = rng_.below(count - 1);
  if (second >= first) ++second;
  const uint32_t a = state.candidates[first];
  const uint32_t b = state.candidates[second];
  if (state.equal_weights) return state.by_index[b]->active < state.by_index[a]->active ? b : a;
  const double score_a = weight(cluster, a, now) / (state.by_index[a]->active + 1.0);
  const double score_b = weight(cluster, b, now) / (state.by_index[b]->active + 1.0);
  return score_b > score_a ? b : a;
}

// The endpoint of the hash; when that one is out, one that another hash of the same value names, so
// that its share goes to all others and comes back when it does.
uint32_t Picker::by_hash(ClusterState& state, const policy::Cluster& cluster, uint64_t hash) {
  const auto count = static_cast<uint32_t>(cluster.endpoints.size());
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15U;
  for (uint32_t i = 0; i <= kRepicks; ++i) {
    const uint32_t index = policy::endpoint_for_hash(cluster, hash + i * kStep);
    if (index >= count) break;
    if (state.panic || !is_left_out(cluster, state.by_index[index]->health)) return index;
  }
  return state.candidates[static_cast<size_t>(hash % state.candidates.size())];
}

uint32_t Picker::choose(ClusterState& state, const Request& request, bool again, Instant now) {
  const policy::Cluster& cluster = *request.cluster;
  const auto any = [&] {
    return state.candidates[rng_.below(static_cast<uint32_t>(state.candidates.size()))];
  };
  switch (cluster.load_balancing.kind) {
    case Kind::kRoundRobin:
    case Kind::kPassthrough:
      return round_robin(state, cluster, now);
    case Kind::kLeastRequest:
      return least_request(state, cluster, now);
    case Kind::kRandom:
      return any();
    case Kind::kRingHash:
    case Kind::kMaglev:
      break;
  }
  // A hash would name the same endpoint again.
  if (again || (cluster.ring.empty() && cluster.maglev.empty())) return any();
  std::optional<uint64_t> hash;
  if (request.has_hash) {
    hash = request.hash;
  } else if (request.view != nullptr) {
    hash = policy::request_hash(cluster.load_balancing, *request.view, *request.caller);
  }
  return hash ? by_hash(state, cluster, *hash) : any();  // nothing to hash: random
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
