// SPDX-License-Identifier: Apache-2.0
// KeptShare: of which unsampled requests spans are made. Those that failed or were slow, a few of
// each pod: one whose every request fails would else push all other traces out of the book, and
// cost as much as if all were sampled. Owned by Telemetry, telemetry thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/pod_places.h"
#include "base/time.h"

namespace np::metrics {

class KeptShare {
 public:
  static constexpr uint32_t kAtOnce = 100;  // requests of one pod, after a quiet time
  static constexpr Duration kPause = std::chrono::milliseconds(100);  // for one more

  // A request of the pod at that place (PodPlaces; 0: of gateways) ended then. False: its pod had
  // its share. Requests of several shards may come out of order.
  bool take(uint32_t place, Instant ended) {
    Instant& due = due_[place];
    if (due > ended + (kAtOnce - 1) * kPause) return false;
    due = std::max(due, ended) + kPause;
    return true;
  }

 private:
  // When the pod's share is whole again.
  std::vector<Instant> due_ = std::vector<Instant>(PodPlaces::kPlaces);
};

}  // namespace np::metrics
