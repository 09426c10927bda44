// SPDX-License-Identifier: Apache-2.0
// WaitNode and Mailbox: how an Exchange waits for something that several shards share, and how it
// hears that its turn has come.
//
// A WaitNode is part of its Exchange. It is in one list at a time: a queue (guarded by the queue's
// lock), or the mailbox of its own shard (guarded by the mailbox's). Who serves a queue moves nodes
// to mailboxes while holding the queue's lock; so once the Exchange's shard holds that lock, the
// node is either still queued or wholly in the mailbox. Lock order: queue, then mailbox.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/spin_lock.h"
#include "proxy/connection.h"
#include "proxy/intrusive_list.h"

namespace np::proxy {

struct WaitNode {
  // kRefused: in the mailbox, because somebody else was given its place.
  enum class Place : uint8_t { kNowhere, kQueue, kMailbox, kRefused };
  Link<WaitNode> link;
  Place place = Place::kNowhere;  // guarded by the lock of the queue that it waits in
  bool gives_way = false;         // likewise; in the queue: as long as nobody needs its place
  uint32_t shard = 0;
  ExchangeId exchange;
};
using WaitList = IntrusiveList<WaitNode, &WaitNode::link>;

// Called by any shard, from within a step; must not block and not call back.
class WakeSink {
 public:
  virtual ~WakeSink() = default;
  // Makes the driver of `shard` call Engine::on_wake() soon.
  virtual void wake(uint32_t shard) = 0;
  // Somebody who is no shard should look at the events (NodeState::take_events).
  virtual void wake_watcher() {}
};

// One per shard. put() by any shard, the rest by its own.
class Mailbox {
 public:
  // True when the owner has to be woken.
  bool put(WaitNode& node) {
    const SpinGuard guard(lock_);
    list_.push_back(node);
    return !has_mail_.exchange(true, std::memory_order_relaxed);
  }
  bool has_mail() const { return has_mail_.load(std::memory_order_relaxed); }
  // The owner, before it takes everything: what comes after this wakes it again.
  void begin_taking() { has_mail_.exchange(false, std::memory_order_acq_rel); }
  // The node that came first, or null.
  WaitNode* take() {
    const SpinGuard guard(lock_);
    WaitNode* node = list_.front();
    if (node == nullptr) return nullptr;
    list_.remove(*node);
    return node;
  }
  void remove(WaitNode& node) {
    const SpinGuard guard(lock_);
    if (node.link.linked) list_.remove(node);
  }
  // Mail without a node: the owner is to look at its groups. True: it has to be woken.
  bool ring() {
    rung_.store(true, std::memory_order_relaxed);
    // No lock orders the two: who sees the mail must see the ring.
    return !has_mail_.exchange(true, std::memory_order_acq_rel);
  }
  bool take_ring() { return rung_.exchange(false, std::memory_order_acquire); }

 private:
  SpinLock lock_;
  WaitList list_;
  std::atomic<bool> has_mail_{false};
  std::atomic<bool> rung_{false};
};

}  // namespace np::proxy
