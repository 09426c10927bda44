// SPDX-License-Identifier: Apache-2.0
// Socket: what the Transport knows of one socket. One per connection, idle ones too: kept small.
// Owned by the Transport's table; shard's thread.
//
// A socket in three stages:
//   attached   the engine knows it: events go to the engine
//   flushing   kClose came while a send was under way: what was sent is still delivered, then
//   closing    operations are cancelled, the file is closed; freed at in_flight == 0
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/flow_record.h"
#include "base/time.h"
#include "proxy/engine.h"
#include "uring/ring.h"

namespace np::shard {

struct Socket {
  enum class Stage : uint8_t { kAttached, kFlushing, kClosing };
  enum class Receive : uint8_t { kIdle, kArmed, kCancelling, kStarved, kHeld };

  // What few sockets have, and none while it is idle.
  struct Rare {
    std::shared_ptr<void> keep_alive;
    std::vector<iovec> parts;  // flushing: what is still to be sent; keep_alive holds the bytes
    Instant flush_deadline = kNever;
    std::unique_ptr<proxy::ConnectTarget> target;  // until its connect has ended, where that asks
  };

  proxy::ConnectionId connection;
  uring::File file;
  FlowRecord* record = nullptr;
  std::unique_ptr<Rare> rare;
  const iovec* parts = nullptr;  // of the send under way
  uint32_t send_total = 0;
  uint32_t units = 0;   // a client's: work for it in the window (Balance)
  uint16_t window = 0;  // which one; one to come: it has moved, and stays until then
  uint16_t line = 0;    // of the FairQueue; an endpoint's: that of the request it carries
  uint16_t part_count = 0;
  uint16_t in_flight = 0;
  uint16_t waiting_pieces = 0;  // received, in line
  int16_t failure_errno = 0;    // not 0: told when the send under way has ended
  Stage stage = Stage::kAttached;
  Receive receive = Receive::kIdle;
  bool downstream : 1 = false;
  bool opened : 1 = false;  // connected
  bool receive_wanted : 1 = false;
  bool read_ended : 1 = false;  // FIN or failure seen
  bool failed : 1 = false;      // kFailed was reported, or waits for the send to end
  bool send_busy : 1 = false;
  bool send_quiet : 1 = false;  // all of it was taken, unless a completion comes
  bool watched : 1 = false;     // Op::kWatch is under way
  bool shutdown_wanted : 1 = false;
  bool resets_on_close : 1 = false;  // SO_LINGER{1,0} is set
  bool abort : 1 = false;            // close with RST
  bool leaving : 1 = false;          // nothing is received any more: another shard gets it
  bool exporting : 1 = false;        // Op::kExport is under way
};
static_assert(sizeof(Socket) <= 64);

}  // namespace np::shard
