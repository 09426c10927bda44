// SPDX-License-Identifier: Apache-2.0
// What other threads tell a shard, and how they wait until it was done.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>

#include "base/address.h"
#include "base/fd.h"
#include "base/flow_record.h"
#include "base/time.h"
#include "policy/snapshot.h"
#include "proxy/engine.h"
#include "shard/steps.h"
#include "uring/inbox.h"

namespace np::shard {

// Counts down as shards report; the asking thread waits. Shared between them.
class Ack {
 public:
  explicit Ack(uint32_t expected) : missing_(expected) {}

  void done() {
    const std::lock_guard lock(mutex_);
    if (missing_ > 0 && --missing_ == 0) all_done_.notify_all();
  }
  // False when `timeout` is over first.
  bool wait_for(Duration timeout) {
    std::unique_lock lock(mutex_);
    return all_done_.wait_for(lock, timeout, [this] { return missing_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_done_;
  uint32_t missing_;
};

// A connection accepted by another shard, and nothing was received from it yet; or one that was
// served there until now and is between two requests.
struct AdoptConnection {
  Fd fd;
  bool captured = false;
  bool is_continued = false;
  SocketAddress peer, local;
  FlowRecord* record = nullptr;  // continued: its own, of whichever shard; the receiver writes it
};
// A client has ended whose np_conn slot belongs to the receiver. It is marked as closed.
struct ReturnRecord {
  FlowRecord* record = nullptr;
};
struct AddListener {
  uint32_t id = 0;
  int fd = -1;  // borrowed from the pool, which closes it after the removal was acknowledged
  bool captured = false;
  SocketAddress bind;
};
struct RemoveListener {
  uint32_t id = 0;
  std::shared_ptr<Ack> ack;
};
struct SetSnapshot {
  std::shared_ptr<const policy::Snapshot> snapshot;
  std::shared_ptr<Ack> ack;  // may be null
};
// The answer of the PodSocketThread: a socket whose connect is under way, or why there is none.
struct PodSocketReady {
  uint32_t slot = 0, generation = 0;
  Fd fd;
  int errno_value = 0;
};
// A shard needs a connection to an endpoint; the receiver seems to keep one. `life`: the socket of
// the asking shard that waits for it.
struct AskForIdle {
  uint32_t shard = 0;
  SlotLife life;
  Instant give_up;  // it dials then: an answer would find nobody
  proxy::ConnectTarget target;
};
// The answer; without a descriptor there was none to spare.
struct LentSocket {
  SlotLife life;
  Fd fd;
  proxy::Lent lent;
};
struct StartDrain {
  std::shared_ptr<Ack> ack;
};
struct Stop {};

using ShardMessage =
    std::variant<std::monostate, AdoptConnection, ReturnRecord, AddListener, RemoveListener,
                 SetSnapshot, PodSocketReady, AskForIdle, LentSocket, StartDrain, Stop>;
using ShardInbox = uring::Inbox<ShardMessage>;

}  // namespace np::shard
