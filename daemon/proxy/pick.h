// SPDX-License-Identifier: Apache-2.0
// Picker: chooses endpoints (traffic-semantics 3.8) and keeps their live state: requests in flight
// and round-robin positions, by cluster and endpoint id, so that a new snapshot resets nothing.
// Owned by the Core; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "policy/snapshot.h"

namespace np::proxy {

// Of one endpoint within one cluster. Held by an Exchange while a try runs.
struct EndpointState {
  uint32_t active = 0;  // tries in flight
  bool listed = true;   // part of the newest snapshot seen
};

struct Pick {
  const policy::Endpoint* endpoint = nullptr;  // null: nobody there
  EndpointState* state = nullptr;
};

class Picker {
 public:
  explicit Picker(Rng& rng) : rng_(rng) {}

  struct Request {
    const policy::Cluster* cluster = nullptr;
    uint64_t snapshot = 0;  // the Core's number of the snapshot that owns the cluster
    const policy::RequestView* view = nullptr;  // null for opaque connections
    const policy::CallerView* caller = nullptr;
    bool has_hash = false;  // `hash` is used instead of the request's own
    uint64_t hash = 0;
  };
  Pick pick(const Request& request, Instant now);
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
    bool equal_weights = true;
    uint32_t cursor = 0;
    bool started = false;
    std::vector<Deadline> schedule;  // heap, earliest first
    double clock = 0;
  };

  ClusterState& state_of(const policy::Cluster& cluster, uint64_t snapshot);
  void adopt(ClusterState& state, const policy::Cluster& cluster);
  double weight(const policy::Cluster& cluster, uint32_t index, Instant now) const;
  uint32_t round_robin(ClusterState& state, const policy::Cluster& cluster, Instant now);
  uint32_t least_request(ClusterState& state, const policy::Cluster& cluster, Instant now);
  uint32_t choose(ClusterState& state, const Request& request, Instant now);

  Rng& rng_;
  std::unordered_map<uint32_t, std::unique_ptr<ClusterState>> clusters_;
};

}  // namespace np::proxy
