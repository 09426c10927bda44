// SPDX-License-Identifier: Apache-2.0
// AcceptGate: decides when a shard stops accepting and when the kernel should send nothing new
// (R43). Two thresholds below the limit of connections: at the first, new connections are shed (the
// fail mode applies), while those that were let in before are still accepted; at the second,
// accepting pauses. A failed accept does both at once. No clock and no system call. Owned by an
// Acceptor, on its shard's thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace np::shard {

// After a failed accept: when to look whether it would work again.
inline constexpr Duration kAcceptPause = std::chrono::milliseconds(100);
// Parts of the limit: the last 1/16 is for connections that wait in the accept queues when shedding
// begins; accepting begins again when more than 1/10 is free.
inline constexpr uint32_t kQueueRoomPart = 16;
inline constexpr uint32_t kResumeRoomPart = 10;

class AcceptGate {
 public:
  enum class Failure : uint8_t {
    kNone,
    kDescriptors,  // EMFILE, ENFILE
    kMemory,       // ENOMEM, ENOBUFS
  };

  // `connections_max`: of one shard.
  explicit AcceptGate(uint32_t connections_max) : max_(connections_max) {}

  // `load`: connections of the least loaded shard, which gets the next one.
  void on_load(uint32_t load) {
    if (load >= max_) is_full_ = true;
    if (load >= shed_from()) is_near_full_ = true;
    // Begins again well below, so that it does not flap.
    if (load < resume_below()) is_full_ = is_near_full_ = false;
  }
  // Memory is so short that nothing new may come.
  void on_memory(bool is_scarce) { is_scarce_ = is_scarce; }
  void on_failure(Failure failure, Instant now) {
    failure_ = failure;
    retry_at_ = now + kAcceptPause;
  }
  // Whether it is time to try whether the failure is over; then tell on_retry().
  bool wants_retry(Instant now) const { return failure_ != Failure::kNone && now >= retry_at_; }
  void on_retry(bool works, Instant now) {
    if (works) {
      failure_ = Failure::kNone;
    } else {
      retry_at_ = now + kAcceptPause;
    }
  }

  bool accepts() const { return !is_full_ && !is_scarce_ && failure_ == Failure::kNone; }
  bool sheds() const { return is_near_full_ || !accepts(); }
  bool lacks_descriptors() const { return failure_ == Failure::kDescriptors; }

 private:
  uint32_t shed_from() const { return max_ - max_ / kQueueRoomPart; }
  uint32_t resume_below() const { return std::max(1U, max_ - max_ / kResumeRoomPart - 1); }

  uint32_t max_;
  bool is_full_ = false;
  bool is_near_full_ = false;
  bool is_scarce_ = false;
  Failure failure_ = Failure::kNone;
  Instant retry_at_{};
};

}  // namespace np::shard
