// SPDX-License-Identifier: Apache-2.0
// Prober: active health checks of the endpoints for which a policy asks (traffic-semantics 3.8).
// One shard of the node runs them; its Core owns the Prober and makes an Exchange for each check.
// What comes of them is the ServiceHealth's to keep, so that every shard obeys.
//
//   the first result counts at once; later a success must be repeated healthy_threshold times, a
//   failure of the network unhealthy_threshold times; a status that is not expected counts at once
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/random.h"
#include "policy/snapshot.h"
#include "proxy/timer_wheel.h"

namespace np::proxy {

class NodeState;

enum class ProbeResult : uint8_t { kGood, kWrongStatus, kNoAnswer };

// What one check is made of.
struct ProbeTarget {
  uint32_t slot = 0;  // names it to Prober::ended()
  uint32_t service_id = 0;
  SocketAddress address;
  policy::HealthCheck check;
};

class Prober {
 public:
  Prober(Rng& rng, TimerWheel& timers, NodeState& node, uint32_t shard)
      : rng_(rng), timers_(timers), node_(node), shard_(shard) {}

  // Checks exactly the endpoints of `snapshot` from now on.
  void use(const policy::Snapshot& snapshot, Instant now);
  // The timer of `slot` fired: the check to make, or null when it is still under way.
  const ProbeTarget* begin(uint32_t slot);
  void ended(uint32_t slot, ProbeResult result, Instant now);

 private:
  struct Probe {
    ProbeTarget target;
    Timer timer;
    bool listed = false;   // by the newest snapshot
    bool running = false;  // an Exchange is under way
    bool known = false;    // there was a result
    bool healthy = true;
    uint32_t good = 0, bad = 0;  // in a row
  };
  void arm(Probe& probe, Instant now, bool first);
  void judge(Probe& probe, ProbeResult result, Instant now);
  void forget(Probe& probe, Instant now);

  Rng& rng_;
  TimerWheel& timers_;
  NodeState& node_;
  const uint32_t shard_;
  std::vector<std::unique_ptr<Probe>> probes_;  // by slot; a slot is used again
  std::map<std::pair<uint32_t, SocketAddress>, uint32_t> slots_;
};

}  // namespace np::proxy
