// SPDX-License-Identifier: Apache-2.0
// Pool: the connections of one shard to one endpoint for one cluster and source identity: idle ones
// (last used first), those being opened, and the Exchanges that wait, in order. Pools holds them
// all. Owned by the Core, which opens and closes the connections; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/metric_slots.h"
#include "policy/snapshot.h"
#include "proxy/admission.h"
#include "proxy/connection.h"
#include "proxy/exchange.h"
#include "proxy/idle_board.h"
#include "proxy/intrusive_list.h"

namespace np::proxy {

// Traffic-semantics 4.7: connections are never shared across source identities.
struct PoolKey {
  SocketAddress remote;
  IpAddress source;  // unspecified: the node's own address
  uint32_t cluster_id = 0;
  uint32_t caller = 0;  // workload whose limits hold (D9); 0: the connections are everybody's
  bool opaque = false;  // connections of opaque TCP carry one Exchange each
  bool operator==(const PoolKey&) const = default;
};
struct PoolKeyHash {
  size_t operator()(const PoolKey& key) const;
};

// A limit group as one shard knows it: its idle connections, whatever their endpoint, the one that
// has waited longest first.
struct ShardGroup {
  uint32_t caller = 0;  // as in PoolKey
  AdmissionGroup* shared = nullptr;
  IntrusiveList<Connection, &Connection::group_link> idle;
};

class Pool {
 public:
  explicit Pool(const PoolKey& pool_key)
      : key(pool_key), place(IdleBoard::place_of(PoolKeyHash()(pool_key))) {}

  // Takes over what the cluster says today.
  void configure(const policy::ConnectionPool& config);
  ConnectTarget target() const;
  bool is_empty() const;

  const PoolKey key;
  const uint32_t place;  // of the IdleBoard
  policy::ConnectionPool config;
  ShardGroup* group = nullptr;                             // null: no limits
  ClusterCounters* stats = nullptr;                        // of its cluster
  IntrusiveList<Connection, &Connection::pool_link> idle;  // back: used last
  IntrusiveList<Connection, &Connection::pool_link> connecting;
  IntrusiveList<Exchange, &Exchange::pending_link> pending;  // front: waited longest
  size_t connections = 0;                                    // all states
  uint32_t asking = 0;   // of `connecting`: another shard has been asked
  size_t waiting = 0;    // of `connecting`: for a descriptor
  size_t leaving = 0;    // closed in this step, slots not freed yet
  bool touched = false;  // waits in the Core's work list
  bool retired = false;  // no policy names its endpoint any more: nothing is kept
};

class Pools {
 public:
  Pool& get(const PoolKey& key);
  Pool* find(const PoolKey& key);
  // Forgets a pool without connections and waiting Exchanges.
  void drop_if_empty(Pool& pool);
  size_t size() const { return pools_.size(); }
  // Idle connections of all pools; front: idle for longest.
  IntrusiveList<Connection, &Connection::age_link> idle;
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (auto& [key, pool] : pools_) visit(*pool);
  }

 private:
  std::unordered_map<PoolKey, std::unique_ptr<Pool>, PoolKeyHash> pools_;
};

}  // namespace np::proxy
