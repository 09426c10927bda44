// SPDX-License-Identifier: Apache-2.0
// Engine: everything one shard knows of HTTP and policy. Sans-I/O: the driver (shard::Shard, or the
// simulator) tells it what happened and when; it answers with Actions. Owns the Connections, the
// Exchanges, the upstream pools and the timer wheel of its shard. One thread; never called
// re-entrantly.
//
// A step: the driver calls exactly one of the event functions below, then carries out `actions` in
// order and clears it. Events for a connection whose kClose action was given are ignored by id.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/buffer.h"
#include "base/flow_record.h"
#include "base/memory_stage.h"
#include "base/random.h"
#include "base/request_report.h"
#include "base/time.h"
#include "policy/snapshot.h"

namespace np::proxy {

struct ConnectionId {
  uint32_t slot = 0;
  uint32_t generation = 0;
  bool operator==(const ConnectionId&) const = default;
  uint64_t packed() const { return (static_cast<uint64_t>(generation) << 32U) | slot; }
  static ConnectionId unpack(uint64_t value) {
    return {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32U)};
  }
};

// ---- what the driver tells -------------------------------------------------------------------

struct Accepted {
  bool captured = false;
  SocketAddress peer;   // kernel's view of the client
  SocketAddress local;  // captured: the dialled address; gateway: the listener's bind address
  FlowRecord* record = nullptr;  // np_conn slot; null: nobody wants to know
  // Another engine let go of it with forget(): HTTP has been spoken on it, it is counted already,
  // and its record goes on.
  bool is_continued = false;
};

// Whether a client's connection could be let go of.
enum class ClientRest : uint8_t {
  kNever,  // no HTTP any more, or not yet; or it ends
  kNo,     // something of it is here that would be lost
  kSoon,   // its only request is wholly here, its answer is under way
  kNow     // between two requests, with nothing received and nothing to send
};

enum class Failure : uint8_t {
  kRefused,       // ECONNREFUSED
  kUnreachable,   // EHOSTUNREACH, ENETUNREACH
  kReset,         // ECONNRESET, EPIPE
  kTimedOut,      // ETIMEDOUT from the kernel
  kAddressInUse,  // EADDRNOTAVAIL: the driver has used up its port tries (R26)
  kExhausted,     // no descriptor, no memory
  kOther,
};

// What goes with an idle connection to an endpoint from one shard to another. A connection with TLS
// or HTTP/2 has more to say; until there are any, this is all.
struct Lent {
  uint32_t requests = 0;  // begun on it so far
  uint32_t cluster_id = 0;
  Instant opened;
};

struct TransportEvent {
  enum class Kind : uint8_t {
    kOpened,        // an upstream connect succeeded, or another shard lent a connection: `lent`
    kNotLent,       // no other shard lends one: a connect of its own begins now
    kReceived,      // `data`; owner set, except in tests that copy
    kSent,          // the send given last has finished, `sent_bytes` of it were taken
    kPeerFinished,  // FIN
    kFailed,        // connect, receive or send failed; the connection is dead. The engine answers
                    // kClose (at once, or after it has read what came before)
  };
  Kind kind = Kind::kOpened;
  Slice data;
  size_t sent_bytes = 0;
  Failure failure = Failure::kOther;
  const Lent* lent = nullptr;  // null: a new connection
  // More is at hand, of this connection or of others, and told next: what all of it becomes is
  // settled and sent in one step. Whatever follows, the driver calls the engine once more before it
  // waits.
  bool is_followed = false;
};

// ---- what the engine answers -----------------------------------------------------------------

// Where an upstream socket's source address comes from (design.md 8.5).
struct ConnectTarget {
  SocketAddress remote;
  bool source_pod = false;  // bind `source_ip` in the proxy netns; false: host netns, node address
  IpAddress source_ip;
  bool keepalive = false;
  uint32_t keepalive_probes = 0, keepalive_time_s = 0, keepalive_interval_s = 0;
  bool abort_on_crash = false;  // opaque upstream: linger{1,0} (design.md 8.14)
  // What the connection is for, beside `remote` and the source: such connections are alike.
  uint32_t cluster_id = 0;
  uint32_t caller = 0;  // workload whose limits hold; 0: everybody's
  // Another shard that seems to keep an idle connection like it: it is asked first.
  static constexpr uint32_t kNobody = UINT32_MAX;
  uint32_t lender = kNobody;
};

struct Action {
  enum class Kind : uint8_t {
    kConnect,        // open a socket to `target`, or ask its lender for one; report kOpened or
                     // kFailed, and kNotLent when the lender had none
    kReceive,        // keep receiving until told otherwise (idempotent)
    kPauseReceive,   // stop receiving; data already under way may still be reported
    kSend,           // send `iov[0..iov_count)`; at most one send per connection is under way;
                     // the iovecs and their bytes stay valid until kSent, kFailed or kClose
    kShutdownWrite,  // FIN after everything sent
    kClose,          // close; `abortive`: RST (linger 0), else orderly. The id is dead at once; the
                     // driver must keep bytes of a send under way alive through `keep_alive`
  };
  Kind kind = Kind::kReceive;
  ConnectionId connection;
  ConnectTarget target;
  const iovec* iov = nullptr;
  uint32_t iov_count = 0;
  bool abortive = false;
  // kSend: nothing waits for its kSent, which may come with the next event, or some milliseconds
  // later, unless Engine::take_hurry() says otherwise.
  bool may_be_told_late = false;
  // kSend to an endpoint: the captured pod whose request it carries, and whose answer comes back;
  // 0: nobody's of this node.
  uint32_t pod_id = 0;
  std::shared_ptr<void> keep_alive;
};
using ActionList = std::vector<Action>;

// ---- the engine ------------------------------------------------------------------------------

class NodeState;        // proxy/node_state.h: limits and ejections over all shards
struct EngineLimits;    // proxy/limits.h: every buffer, queue and timeout with unit and default
struct EngineCounters;  // proxy/counters.h: fixed layout of u64, lives in memory of the driver's
                        // choice

class QuotaWindows;  // proxy/quota_windows.h: what was spent of rate limits, of the whole node

struct EngineConfig {
  uint64_t seed = 0;        // of the shard's Rng
  uint64_t loop_token = 0;  // the same for all shards of a daemon: names it in the loop guard
                            // header; 0: taken from the seed
  const EngineLimits* limits = nullptr;  // null: defaults
  EngineCounters* counters = nullptr;    // never null
  // What the shards of a worker share, and which of them this one is; null: a lone engine.
  NodeState* node = nullptr;
  uint32_t shard = 0;
  bool can_borrow = false;                // the driver can carry out ConnectTarget::lender
  QuotaWindows* quota_windows = nullptr;  // shared by all shards; null: the engine counts alone
  RequestObserver* observer = nullptr;    // of this shard; outlives the engine; null: nobody
  TraceOptions tracing;
};

class Engine {
 public:
  explicit Engine(const EngineConfig& config);
  ~Engine();

  // New requests use `snapshot` from now on, also on connections that are already open.
  void set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot, Instant now,
                    ActionList& actions);

  // A client connection. The engine answers at least kReceive or kClose.
  ConnectionId accept(const Accepted& accepted, Instant now, ActionList& actions);
  void on_transport(ConnectionId connection, const TransportEvent& event, Instant now,
                    ActionList& actions);

  // How near a client's connection is to forget(); kNever for one that the engine does not know.
  ClientRest rest_of(ConnectionId connection);
  // The engine knows the connection no longer and has not closed it: another one is given
  // `accepted` to go on. Only when rest_of() is kNow; false, and nothing has changed, otherwise.
  bool forget(ConnectionId connection, Accepted* accepted, Instant now, ActionList& actions);

  // An idle connection as another shard wants it, one that this shard seems not to need. It serves
  // nobody from now on; the driver sees to it that nothing is received any more, and then calls
  // give_up(). Nothing: there is none to spare.
  std::optional<ConnectionId> lend(const ConnectTarget& wanted, Instant now, ActionList& actions);
  // As forget(), of one that was lent. False: something came meanwhile, it is closed or will be.
  bool give_up(ConnectionId connection, Lent* lent, Instant now, ActionList& actions);
  // What some engine gave up has found no taker: the driver has closed it.
  void closed_on_the_way(const Lent& lent);

  // Whether something has come to wait for sends that may be told late; asked before each wait.
  bool take_hurry();
  // Call on_time when `now` has reached next_deadline(); kNever when nothing is due.
  Instant next_deadline() const;
  void on_time(Instant now, ActionList& actions);
  // After the WakeSink was told to wake this shard, and where nothing came behind an event that was
  // said to be followed.
  void on_wake(Instant now, ActionList& actions);

  // Sockets are nearly used up and a client comes: an upstream connection that idles is closed.
  void make_room(Instant now, ActionList& actions);

  // No new requests on kept connections: answers carry Connection: close, idle ones are closed.
  // Those that have not asked anything yet are given a moment for their first request.
  void drain(Instant now, ActionList& actions);
  // Memory is nearly used up, or no longer: `stage` holds from now on, and something is given back,
  // a bounded part of it per call; at kReset as much as `excess_bytes`, this engine's part of what
  // is in use too much. Called when the stage changes, and again at each look that found one above
  // kNormal.
  void relieve(MemoryStage stage, size_t excess_bytes, Instant now, ActionList& actions);
  // Connections that are not closed yet, downstream and upstream idle ones apart.
  size_t open_downstream() const;
  size_t open_upstream() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace np::proxy
