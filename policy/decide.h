// SPDX-License-Identifier: Apache-2.0
// From a request's head to what becomes of it, step by step, in the order in which an Exchange
// takes them. Pure functions of the snapshot: what is drawn at random is handed in. The engine
// calls them for each request, explain() for one that a person asks about, so that both always
// agree. Any thread; no heap use.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "policy/snapshot.h"

namespace np::policy {

// ---- what policy sees ------------------------------------------------------------------------

// Fields that a client may not set, because no hop before us is trusted: policy sees none of them.
bool is_untrusted_field(std::string_view name, bool gateway);
// What it sees in their place. `peer`: the client's address.
inline std::array<Field, 2> own_fields(std::string_view peer) {
  return {Field{"x-forwarded-for", peer}, Field{"x-forwarded-proto", "http"}};
}

// ---- way in ----------------------------------------------------------------------------------

// Where a request came in, and whose rules it meets there.
struct Way {
  bool is_covered = true;  // false: captured once, by a policy that is gone
  const CapturedPort* port = nullptr;
  const GatewayListener* listener = nullptr;
  const RouteTable* table = nullptr;  // null: no host of that name
};
// `local`: the dialled address, or where the gateway listens.
Way find_captured_way(const Snapshot& snapshot, const SocketAddress& local,
                      std::string_view authority);
// The same for a connection whose bytes are opaque.
Way find_opaque_way(const Snapshot& snapshot, const SocketAddress& local);
Way find_gateway_way(const Snapshot& snapshot, const SocketAddress& local,
                     std::string_view authority);

// The pod behind a captured connection, as the kernel knows it.
CallerView captured_caller(const Snapshot& snapshot, const IpAddress& peer);
// Somebody outside: an address, and the gateway's name.
CallerView gateway_caller(const Way& way, const IpAddress& peer);

// No route: 404. What is covered no longer goes to the dialled address, as it would without us.
RouteMatch find_route(const Way& way, const RequestView& request, const CallerView& caller);
// What that route is, whoever asks: one cluster that forwards to the dialled address.
const Route& passthrough_route();

// ---- the weighted split ----------------------------------------------------------------------

// Whether there is anything to draw.
inline bool is_split(const Route& route) {
  return route.clusters.size() > 1 && route.total_weight > 0;
}
// Where in the sum of weights a person keeps falling; nothing: it is drawn.
std::optional<uint64_t> sticky_point(const Route& route, const RequestView& request,
                                     const CallerView& caller);
// `point`: below the sum of weights; without meaning where nothing is split. Null: the route leads
// nowhere.
const WeightedCluster* cluster_at(const Route& route, uint64_t point);

// ---- faults ----------------------------------------------------------------------------------

// The fault that a request may meet; whether it does is drawn.
struct FaultChoice {
  const Fault* fault = nullptr;     // null: none
  const HostFault* host = nullptr;  // whose it is; null: the route's
};
// `on_shadow` hears of those in shadow mode that match before it.
template <typename OnShadow>
FaultChoice choose_fault(const Route& route, const Cluster* cluster, const RequestView& request,
                         const CallerView& caller, Instant now, const OnShadow& on_shadow) {
  FaultChoice choice;
  choice.fault = route.fault ? &*route.fault : nullptr;
  if (cluster == nullptr) return choice;
  for (const HostFault& candidate : cluster->faults) {
    if (candidate.ends <= now) continue;
    if (candidate.matcher != nullptr && !candidate.matcher->holds(request, caller)) continue;
    if (candidate.shadow) {
      on_shadow(candidate);
      continue;
    }
    choice.fault = &candidate.fault;
    choice.host = &candidate;
    return choice;
  }
  return choice;
}

// ---- answers of our own ----------------------------------------------------------------------

// Whether a CORS preflight is answered here, and as allowed; nothing: it is none, or goes on.
std::optional<bool> answers_preflight(const Route& route, const RequestView& request);

}  // namespace np::policy
