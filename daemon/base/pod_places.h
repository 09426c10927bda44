// SPDX-License-Identifier: Apache-2.0
// PodPlaces: which place a pod has in the arrays that are kept per pod and shard (what it used,
// what it asked). Ids of pods are hashes, so a place is given, not computed: two pods never share
// one, apart from place 0, where those are counted that have none. Places are given by the control
// thread only, ahead of the policy that names the pod; read by every thread. Who leaves keeps its
// place until another needs it, and goes on counting there when it comes back. The memory is the
// caller's and outlives a worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <unordered_set>

#include "base/check.h"

namespace np {

class PodPlaces {
 public:
  static constexpr uint32_t kPlaces = 4096;
  // How far from where its id points a pod may lie. With half of the places given, the chance that
  // so many in a row are is below one in a thousand.
  static constexpr uint32_t kProbes = 64;

  // `owners`: kPlaces of them, zeroed or a predecessor's.
  explicit PodPlaces(std::span<uint32_t> owners) : owners_(owners) {
    NP_CHECK(owners.size() == kPlaces);
  }

  // 0: that pod has none.
  uint32_t place_of(uint32_t pod_id) const {
    if (pod_id == kFree) return 0;
    for (uint32_t i = 0; i < kProbes; ++i) {
      const uint32_t place = place_at(pod_id, i);
      const uint32_t owner = owner_of(place);
      if (owner == pod_id) return place;
      if (owner == kFree) return 0;
    }
    return 0;
  }

  // Each of these pods has a place from here on, as far as there are any; no other pod's is safe.
  // `wipe(place)` is called before a pod gets one that may have been another's.
  template <typename Wipe>
  void keep(const std::unordered_set<uint32_t>& pods, Wipe&& wipe) {
    for (const uint32_t pod : pods) {
      if (pod == kFree || place_of(pod) != 0) continue;
      const uint32_t place = find_room(pod, pods);
      if (place == 0) continue;
      wipe(place);
      set_owner(place, pod);
    }
  }

 private:
  static constexpr uint32_t kFree = 0;

  // 1 to kPlaces - 1, from where the id points onwards.
  static uint32_t place_at(uint32_t pod_id, uint32_t step) {
    const uint32_t begin = (pod_id * 0x9e3779b1U) >> 16U;
    return 1 + (begin + step) % (kPlaces - 1);
  }
  uint32_t owner_of(uint32_t place) const {
    return std::atomic_ref(owners_[place]).load(std::memory_order_acquire);
  }
  void set_owner(uint32_t place, uint32_t owner) {
    std::atomic_ref(owners_[place]).store(owner, std::memory_order_release);
  }

  // One that nobody had, else one of a pod that left; 0: there is neither.
  uint32_t find_room(uint32_t pod, const std::unordered_set<uint32_t>& pods) const {
    uint32_t left = 0;
    for (uint32_t i = 0; i < kProbes; ++i) {
      const uint32_t place = place_at(pod, i);
      const uint32_t owner = owner_of(place);
      if (owner == kFree) return place;
      if (left == 0 && !pods.contains(owner)) left = place;
    }
    return left;
  }

  std::span<uint32_t> owners_;
};

}  // namespace np
