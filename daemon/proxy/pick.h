// SPDX-License-Identifier: Apache-2.0
// Picker: chooses endpoints (traffic-semantics 3.8) and keeps their live state: requests in flight
// and round-robin positions, by cluster and endpoint id, so that a new snapshot resets nothing.
// Ejected endpoints are left out, unless too few are left (panic). Owned by the Core; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "policy/snapshot.h"
#include "proxy/ejection.h"
#include "proxy/retry.h"

namespace np::proxy {

class NodeState;

// Of one endpoint within one cluster. Held by an Exchange while a try runs.
struct EndpointState {
  uint32_t active = 0;               // tries in flight
  bool listed = true;                // part of the newest snapshot seen
  EndpointHealth* health = nullptr;  // null: the cluster ejects nobody
};

struct Pick {
  const policy::Endpoint* endpoint = nullptr;  // null: see `wait`
  EndpointState* state = nullptr;
  ServiceHealth* service = nullptr;  // hears how the try went; null: nobody asks
  bool probation = false;            // it must hear
  ServiceHealth* wait = nullptr;     // endpoints are there, but have no room at `epoch`
  uint64_t epoch = 0;
  bool panic = false;  // too few are in service: all were considered
};

class Picker {
 public:
  // Random choices that are made again to get past endpoints tried before or without an address,
  // before all are looked at in turn.
  static constexpr uint32_t kRepicks = 8;

  Picker(Rng& rng, NodeState& node, uint32_t shard) : rng_(rng), node_(node), shard_(shard) {}

  struct Request {
    const policy::Cluster* cluster = nullptr;
    uint64_t snapshot = 0;  // the Core's number of the snapshot that owns the cluster
    const policy::RequestView* view = nullptr;  // null for opaque connections
    const policy::CallerView* caller = nullptr;
    bool has_hash = false;  // `hash` is used instead of the request's own
    uint64_t hash = 0;
    std::span<const uint32_t> avoid;  // ids of endpoints tried before: others come first
  };
  Pick pick(const Request& request, Instant now);
  // Requests and repeats of the cluster on this shard.
  RetryBudget& retry_budget(const policy::Cluster& cluster);
  // Forgets clusters that no snapshot names and nobody uses.
  void sweep(const policy::Snapshot& snapshot);

 private:
  struct Deadline {
    double at = 0;
    uint32_t index = 0;
  };
  struct ClusterState {
    uint64_t snapshot = 0;
    const policy::Cluster* cluster = nullptr;
    std::unordered_map<uint32_t, std::unique_ptr<EndpointState>> endpoints;  // by endpoint id
    std::vector<EndpointState*> by_index;                                    // as in the cluster
    std::vector<uint32_t> candidates;  // indices that may be chosen
    ServiceHealth* health = nullptr;
    uint64_t health_version = 0;
    ServiceHealth::Standing standing;
    bool panic = false;
    bool equal_weights = true;
    uint32_t cursor = 0;
    bool started = false;
    std::vector<Deadline> schedule;  // heap, earliest first
    double clock = 0;
    RetryBudget budget;
  };
  enum class Use : uint8_t { kYes, kProbation, kNo };

  ClusterState& state_of(const policy::Cluster& cluster, uint64_t snapshot, Instant now);
  void adopt(ClusterState& state, const policy::Cluster& cluster, Instant now);
  void find_candidates(ClusterState& state, const policy::Cluster& cluster);
  void begin_schedule(ClusterState& state, const policy::Cluster& cluster);
  double weight(const policy::Cluster& cluster, uint32_t index, Instant now) const;
  uint32_t round_robin(ClusterState& state, const policy::Cluster& cluster, Instant now);
  uint32_t least_request(ClusterState& state, const policy::Cluster& cluster, Instant now);
  uint32_t by_hash(ClusterState& state, const policy::Cluster& cluster, uint64_t hash);
  uint32_t choose(ClusterState& state, const Request& request, bool again, Instant now);
  Use try_use(ClusterState& state, const policy::Cluster& cluster, uint32_t index);
  Pick take(ClusterState& state, const policy::Cluster& cluster, uint32_t index, Use use);
  Pick look_at_all(ClusterState& state, const Request& request, uint64_t epoch);

  Rng& rng_;
  NodeState& node_;
  const uint32_t shard_;
  std::unordered_map<uint32_t, std::unique_ptr<ClusterState>> clusters_;
};

}  // namespace np::proxy
