// SPDX-License-Identifier: Apache-2.0
// Connection: one transport connection, towards a client or an endpoint. Owns its codec, the bytes
// received but not read yet, and the output queue; belongs to the Core's slab, which alone gives
// Actions for it. An Exchange and its Connections know each other by id. One thread.
//
// The seam for TLS: transport bytes enter in Core::receive() and leave in Core::flush(); a TLS
// engine stands between those two and `input` and `output`, which stay plain text.
#pragma once

#include <cstdint>
#include <memory>

#include "http/codec.h"
#include "http/output_queue.h"
#include "proxy/engine.h"
#include "proxy/intrusive_list.h"
#include "proxy/pipe.h"
#include "proxy/slab.h"
#include "proxy/timer_wheel.h"

namespace np::proxy {

class Pool;
class AdmissionGroup;
struct ShardGroup;

enum class ConnectionState : uint8_t {
  kOpening,   // upstream: connecting; downstream: protocol not known yet
  kOpen,      // carries Exchanges
  kDraining,  // nothing new; closes when the output is flushed
  kClosing,   // FIN sent; waits for the peer's, discarding what comes
  kClosed,    // kClose given; the slot is freed at the end of the step
};
inline constexpr size_t kConnectionStateCount = 5;

// Legal changes, row = from. Every state may end at once (reset, timeout).
inline constexpr bool kConnectionTransitions[kConnectionStateCount][kConnectionStateCount] = {
    /* opening  */ {false, true, true, false, true},
    /* open     */ {false, false, true, false, true},
    /* draining */ {false, false, false, true, true},
    /* closing  */ {false, false, false, false, true},
    /* closed   */ {false, false, false, false, false},
};

struct ExchangeId {
  uint32_t slot = 0;
  uint32_t generation = 0;  // 0: none
  explicit operator bool() const { return generation != 0; }
  bool operator==(const ExchangeId&) const = default;
};

enum class ConnectionTimer : uint8_t {
  kNone,
  kConnect,
  kSniff,
  kHead,
  kIdle,
  kFlush,
  kDiscard,
  kLinger
};

// The iovecs of a send under way; idle connections have none.
struct SendVector {
  static constexpr uint32_t kEntries = 16;
  iovec entries[kEntries];
};

struct Connection : SlabObject {
  enum class Side : uint8_t { kDownstream, kUpstream };
  enum class Mode : uint8_t { kHttp, kSniffing, kOpaque };

  ConnectionId id() const { return {slab_slot_, slab_generation_}; }
  bool has_output() const { return !output.empty() || sending != nullptr; }
  // A client's: it has sent a request, here or where it was before.
  bool has_asked() const { return last_stream != 0 || accepted.is_continued; }
  // Upstream: for a descriptor to connect with; the driver does not know of it yet.
  bool waits() const { return connecting && age_link.linked; }
  bool is_closed() const { return state_ == ConnectionState::kClosed; }
  ConnectionState state() const { return state_; }
  void advance_to(ConnectionState next);
  void recycle();

  Side side = Side::kDownstream;
  Mode mode = Mode::kHttp;
  ConnectionTimer timer_purpose = ConnectionTimer::kNone;
  bool receiving = false;         // what the driver was told last
  bool touched = false;           // waits in the Core's work list
  bool peer_finished = false;     // FIN received
  bool finish_delivered = false;  // and given to the codec
  bool failed = false;            // transport dead, input may still be read
  bool shutdown_wanted = false;   // FIN once the output is flushed
  bool shutdown_sent = false;
  bool linger = false;      // unread request bytes may come: close in two steps
  bool in_head = false;     // bytes of a request head have been read, the head is incomplete
  bool discarding = false;  // upstream: rest of an unwanted answer

  std::unique_ptr<http::Codec> codec;
  http::OutputQueue output;
  ByteQueue input;
  SendVector* sending = nullptr;
  Timer timer;
  ExchangeId exchange;
  http::StreamId last_stream = 0;
  uint32_t quiet_bytes = 0;     // of the send under way, if its end may be told late
  uint64_t offered_bytes = 0;   // handed to the driver for sending, ever
  uint64_t received_bytes = 0;  // ever, read by the codec or not
  uint64_t discarded_bytes = 0;

  // downstream
  Accepted accepted;
  FlowRecord* record = nullptr;

  // upstream
  Pool* pool = nullptr;
  Link<Connection> pool_link;           // idle or connecting list of the pool
  bool connecting = false;              // which of the two
  bool asks = false;                    // another shard, and is not counted as begun yet
  bool lent = false;                    // no list has it: on its way to another shard
  ShardGroup* group = nullptr;          // whose limit it counts for; null: none
  Link<Connection> group_link;          // idle, in a group
  Link<Connection> age_link;            // among all of the shard: idle, or waits()
  AdmissionGroup* admission = nullptr;  // keeps its request's place until it is idle or closed
  uint32_t requests = 0;                // begun on this connection
  Instant opened, idle_since;

 private:
  ConnectionState state_ = ConnectionState::kOpening;
};

}  // namespace np::proxy
