// SPDX-License-Identifier: Apache-2.0
// StartGate: threads wait at it until the owner says that they may begin. Turn: one at a time, for
// work that would slow everything down if it were done twice at once; who cannot have it within his
// patience goes away. Both: any thread; AdminServer owns one of each.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

#include "base/time.h"

namespace np::admin {

class StartGate {
 public:
  // Returns once the gate is open.
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
  }
  // False: fewer than `count` have arrived in that time.
  bool await_arrivals(size_t count, Duration patience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [this, count] { return arrived_ >= count; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  bool is_open() {
    const std::lock_guard lock(mutex_);
    return is_open_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t arrived_ = 0;
  bool is_open_ = false;
};

class Turn {
 public:
  // Who got true calls give().
  bool take(Duration patience) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [this] { return !is_taken_; })) return false;
    is_taken_ = true;
    return true;
  }
  void give() {
    const std::lock_guard lock(mutex_);
    is_taken_ = false;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_taken_ = false;
};

}  // namespace np::admin
