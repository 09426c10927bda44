// SPDX-License-Identifier: Apache-2.0
#include "proxy/prober.h"

#include "proxy/node_state.h"

namespace np::proxy {

void Prober::use(const policy::Snapshot& snapshot, Instant now) {
  for (auto& probe : probes_) probe->listed = false;
  for (const auto& cluster : snapshot.clusters) {
    if (!cluster->health_check) continue;
    for (const policy::Endpoint& endpoint : cluster->endpoints) {
      if (endpoint.address.port == 0 || endpoint.address.ip.is_unspecified()) continue;
      const auto [found, is_new] = slots_.try_emplace({cluster->service_id, endpoint.address},
                                                      static_cast<uint32_t>(probes_.size()));
      if (is_new) probes_.push_back(std::make_unique<Probe>());
      Probe& probe = *probes_[found->second];
      probe.target = {found->second, cluster->service_id, endpoint.address, *cluster->health_check};
      probe.listed = true;
      if (!probe.timer.armed && !probe.running) arm(probe, now, true);
    }
  }
  for (auto& probe : probes_) {
    if (!probe->listed) forget(*probe, now);
  }
}

// The first checks of many endpoints are spread over the jitter, so that they do not come at once.
void Prober::arm(Probe& probe, Instant now, bool first) {
  const policy::HealthCheck& check = probe.target.check;
  const int64_t jitter = check.interval.count() / 100 * check.jitter_percent;
  const int64_t extra =
      jitter > 0 ? static_cast<int64_t>(rng_.next() % static_cast<uint64_t>(jitter + 1)) : 0;
  probe.timer.owner = Timer::Owner::kProbe;
  probe.timer.slot = probe.target.slot;
  timers_.arm(probe.timer, now + (first ? Duration(extra) : check.interval + Duration(extra)));
}

const ProbeTarget* Prober::begin(uint32_t slot) {
  Probe& probe = *probes_[slot];
  if (probe.running || !probe.listed) return nullptr;
  probe.running = true;
  return &probe.target;
}

void Prober::ended(uint32_t slot, ProbeResult result, Instant now) {
  Probe& probe = *probes_[slot];
  probe.running = false;
  if (!probe.listed) return;
  judge(probe, result, now);
  arm(probe, now, false);
}

void Prober::judge(Probe& probe, ProbeResult result, Instant now) {
  const policy::HealthCheck& check = probe.target.check;
  const bool good = result == ProbeResult::kGood;
  probe.good = good ? probe.good + 1 : 0;
  probe.bad = good ? 0 : probe.bad + 1;
  const bool at_once = !probe.known || result == ProbeResult::kWrongStatus;
  const bool changes = good ? !probe.healthy && probe.good >= check.healthy_threshold
                            : probe.healthy && (at_once || probe.bad >= check.unhealthy_threshold);
  const bool first = !probe.known;
  probe.known = true;
  if (changes) probe.healthy = good;
  // A first success also brings back who was ejected before anybody asked (3.8).
  if (changes || first) {
    node_.health(probe.target.service_id)
        .set_checked(probe.target.address, probe.healthy, now, shard_);
  }
}

// Nobody asks any more: what the checks said is forgotten.
void Prober::forget(Probe& probe, Instant now) {
  timers_.disarm(probe.timer);
  if (!probe.healthy) {
    node_.health(probe.target.service_id).set_checked(probe.target.address, true, now, shard_);
  }
  probe.known = false;
  probe.healthy = true;
  probe.good = probe.bad = 0;
}

}  // namespace np::proxy
