// SPDX-License-Identifier: Apache-2.0
// Peers: what the shards know of each other: inboxes, loads and signs of life. Built by the pool,
// never changed in shape while threads run; every field is an atomic with one meaning.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bpf/abi/np_abi.h"
#include "shard/fair_queue.h"
#include "shard/message.h"
#include "shard/pod_use.h"

namespace np::shard {

struct alignas(64) ShardStatus {
  // Client connections assigned to the shard. Raised by whoever assigns one, lowered by its shard.
  std::atomic<uint32_t> load{0};
  // Engine connections and sockets that are still being closed; written by its shard.
  std::atomic<uint32_t> open{0};
  // CLOCK_MONOTONIC at the top of the latest loop iteration; 0 before the first.
  std::atomic<uint64_t> progress_ns{0};
  // A limit is near (R43): nothing new should be sent here.
  std::atomic<bool> sheds{false};
  // Its loop runs late: it gets no new connection while another shard's does not.
  std::atomic<bool> late{false};
  // An accept failed for want of a descriptor, and none is free yet.
  std::atomic<bool> out_of_descriptors{false};
  // It drains: no client of another shard is to come.
  std::atomic<bool> drains{false};
  // The part of its time that it did not sleep in the latest window, in permille; written by its
  // shard. What others have decided to give it since is raised by them and taken into it.
  std::atomic<uint32_t> busy{0};
  std::atomic<uint32_t> promised{0};
};

// The overload bit of np_live.flags: while it is set, captured connections follow their fail mode
// in the kernel. Any shard raises it; the first one settles it at each tick, so that a bit that was
// cleared while another shard raised it comes back.
class OverloadFlag {
 public:
  explicit OverloadFlag(uint32_t* live_flags) : live_flags_(live_flags) {}
  void raise() const {
    if (live_flags_ != nullptr) std::atomic_ref(*live_flags_).fetch_or(kBit);
  }
  void lower() const {
    if (live_flags_ != nullptr) std::atomic_ref(*live_flags_).fetch_and(~kBit);
  }

 private:
  static constexpr uint32_t kBit = NP_LIVE_OVERLOAD;
  uint32_t* live_flags_;  // null: nobody captures
};

struct Peers {
  // `given`: the memory of pod_use, by shard, and of the pods' places; empty: its own.
  Peers(uint32_t count, uint32_t* live_flags, std::vector<std::span<PodUse>> given,
        std::span<uint32_t> owners = {})
      : overload(live_flags),
        status(count),
        own_owners_(owners.empty() ? PodPlaces::kPlaces : 0),
        places(owners.empty() ? std::span(own_owners_) : owners),
        pod_use(std::move(given)) {
    if (!pod_use.empty()) return;
    own_pod_use_.resize(size_t{count} * FairQueue::kLines);
    for (uint32_t i = 0; i < count; ++i) {
      pod_use.push_back(std::span(own_pod_use_).subspan(i * FairQueue::kLines, FairQueue::kLines));
    }
  }

  // Among those whose loop is in time, if there are any.
  uint32_t least_loaded(uint32_t own) const {
    uint32_t best = own;
    uint32_t best_load = status[own].load.load(std::memory_order_relaxed);
    bool is_best_late = status[own].late.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < status.size(); ++i) {
      const uint32_t load = status[i].load.load(std::memory_order_relaxed);
      const bool is_late = status[i].late.load(std::memory_order_relaxed);
      if (is_late == is_best_late ? load < best_load : is_best_late) {
        best = i;
        best_load = load;
        is_best_late = is_late;
      }
    }
    return best;
  }
  // Whether a client's connection may be moved there.
  bool takes_clients(uint32_t shard, uint32_t load_max, uint64_t now_ns) const {
    const ShardStatus& one = status[shard];
    const auto is_set = [](const std::atomic<bool>& flag) {
      return flag.load(std::memory_order_relaxed);
    };
    return !is_set(one.late) && !is_set(one.sheds) && !is_set(one.out_of_descriptors) &&
           !is_set(one.drains) && one.load.load(std::memory_order_relaxed) < load_max &&
           one.progress_ns.load(std::memory_order_relaxed) + kFreshNs >= now_ns;
  }
  // The shard that hands out this slot of np_conn.
  uint32_t owner_of(const FlowRecord* record) const {
    return static_cast<uint32_t>(static_cast<size_t>(record - records) / records_of_shard);
  }
  bool are_all_late() const {
    return std::all_of(status.begin(), status.end(), [](const ShardStatus& one) {
      return one.late.load(std::memory_order_relaxed);
    });
  }

  // When the shard that is furthest behind was last alive; 0 until all have begun.
  uint64_t oldest_progress_ns() const {
    uint64_t oldest = UINT64_MAX;
    for (const ShardStatus& one : status) {
      const uint64_t progress = one.progress_ns.load(std::memory_order_relaxed);
      if (progress < oldest) oldest = progress;
    }
    return oldest;
  }

  bool is_any_shedding() const {
    return std::any_of(status.begin(), status.end(), [](const ShardStatus& one) {
      return one.sheds.load(std::memory_order_relaxed);
    });
  }
  // By the first shard.
  void settle_overload() const {
    if (is_any_shedding()) {
      overload.raise();
    } else {
      overload.lower();
    }
  }

  // A shard that was not seen for so long may hang: it shows itself each 40 ms at least.
  static constexpr uint64_t kFreshNs = 200'000'000;

  const OverloadFlag overload;
  std::vector<ShardStatus> status;
  const FlowRecord* records = nullptr;  // np_conn, so many for each shard, in order
  size_t records_of_shard = 1;

 private:
  std::vector<uint32_t> own_owners_;

 public:
  const PodPlaces places;
  std::vector<std::span<PodUse>> pod_use;  // by shard index, each by place
  std::vector<ShardInbox*> inboxes;        // by shard index; filled before the first thread starts

 private:
  std::vector<PodUse> own_pod_use_;
};

}  // namespace np::shard
