// SPDX-License-Identifier: Apache-2.0
// Acceptor: accepts from every listener on behalf of one shard and gives each connection to the
// least loaded shard before anything is received (design.md 8.6). Near a limit and without memory
// it sheds load and stops accepting (R43), so that the fail mode applies instead of connections
// that nobody serves; while the loops of all shards run late it resets what it accepts. Owns no
// descriptor of a listener. Called by its Shard, on the shard's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/memory_stage.h"
#include "base/time.h"
#include "shard/accept_gate.h"
#include "shard/message.h"
#include "shard/peers.h"
#include "shard/shard_counters.h"
#include "shard/transport.h"
#include "uring/ring.h"

namespace np::shard {

struct AcceptorOptions {
  uint32_t shard = 0;
  uint32_t connections_max = 0;  // client connections of one shard
};

class Acceptor {
 public:
  Acceptor(const AcceptorOptions& options, uring::Ring& ring, Transport& transport, Peers& peers,
           ShardCounters& counters);

  void add(const AddListener& listener);
  // Acknowledges when the kernel has let go of the listener.
  void remove(const RemoveListener& removal);
  void on_completion(const uring::Completion& completion, Instant now);
  // Once per tick. Accepts again after a pause, when there is room.
  void check_gate(MemoryStage stage, Instant now);
  // For good: the daemon drains.
  void stop();

 private:
  struct Listener {
    AddListener description;
    bool armed = false;
    std::shared_ptr<Ack> removal;
  };

  void arm(Listener& listener);
  void cancel(Listener& listener);
  void place(Fd fd, const AddListener& listener);
  // Carries out what the gate decided.
  void follow_gate();
  uint32_t least_load() const;

  const AcceptorOptions options_;
  uring::Ring& ring_;
  Transport& transport_;
  Peers& peers_;
  ShardCounters& counters_;
  std::unordered_map<uint32_t, Listener> listeners_;
  AcceptGate gate_;
  bool is_late_ = false;  // as all shards are: what is accepted is shed
  bool paused_ = false;
  bool stopped_ = false;
};

}  // namespace np::shard
