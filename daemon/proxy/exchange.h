// SPDX-License-Identifier: Apache-2.0
// Exchange: one request and its response, or one opaque connection, or one mirrored request without
// a client. Owns its phase, the request's texts, the body on its way, deadlines, the pinned policy
// and the choice made under it; at most one try runs at a time. Lives in the Core's slab on one
// shard's thread; only the Core calls it, with one event at a time, and it answers by the Core's
// services, none of which calls back. docs/exchange.md shows the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "http/codec.h"
#include "policy/snapshot.h"
#include "proxy/connection.h"
#include "proxy/end_reason.h"
#include "proxy/intrusive_list.h"
#include "proxy/pick.h"
#include "proxy/pipe.h"
#include "proxy/slab.h"
#include "proxy/timer_wheel.h"

namespace np::proxy {

class Core;
struct Refusal;
struct SnapshotPin;

enum class Phase : uint8_t { kDecide, kDelay, kAcquire, kExchange, kFinish };

// Legal changes, row = from. docs/exchange.md holds the same table for people.
inline constexpr bool kPhaseTransitions[5][5] = {
    /*              decide delay  acquire exchange finish */
    /* decide   */ {false, true, true, false, true},
    /* delay    */ {false, false, true, false, true},
    /* acquire  */ {false, false, true, true, true},
    /* exchange */ {false, false, true, false, true},
    /* finish   */ {false, false, false, false, false},
};

enum class ExchangeTimer : uint8_t { kPhase, kRoute, kTry, kIdle };
inline constexpr size_t kExchangeTimerCount = 4;

struct ExchangeEvent {
  enum class Kind : uint8_t {
    kDownstream,      // `stream` from the client's connection
    kDownstreamLost,  // the client's connection failed
    kUpstream,        // `stream` from the endpoint's connection
    kUpstreamLost,    // the endpoint's connection failed
    kAcquired,        // `connection` is ours
    kAcquireFailed,   // no connection: `reason`
    kDeadline,        // `timer` was reached
    kRoom,            // a connection took bytes: there may be room to go on
  };
  Kind kind = Kind::kRoom;
  const http::StreamEvent* stream = nullptr;
  const BufferRef* owner = nullptr;  // of stream->data
  Connection* connection = nullptr;
  EndReason reason = EndReason::kConnectFailed;
  ExchangeTimer timer = ExchangeTimer::kPhase;
};

class Exchange : public SlabObject {
 public:
  enum class Kind : uint8_t { kRequest, kMirror, kOpaque };

  ExchangeId id() const { return {slab_slot_, slab_generation_}; }
  void recycle();

  // Each begins the Exchange's life in Decide.
  // `whole`: what follows the head, to its end, arrives within this step.
  void begin_request(Core& core, Connection& downstream, http::StreamId stream,
                     const http::Head& head, bool whole);
  void begin_opaque(Core& core, Connection& downstream);
  void begin_mirror(Core& core, const Exchange& original, const policy::Cluster& cluster);

  void on_event(const ExchangeEvent& event);

  Phase phase() const { return phase_; }
  ConnectionId downstream() const { return downstream_; }
  ConnectionId upstream() const { return try_.connection; }
  // Request bytes that wait here; the client's connection is paused above a limit.
  size_t backlog_bytes() const { return body_.charged_bytes(); }

  Link<Exchange> pending_link;  // while it waits in a pool

 private:
  // One try: from the choice of an endpoint to its answer or failure.
  struct Try {
    ConnectionId connection;  // generation 0: none yet
    http::StreamId stream = 0;
    const policy::Endpoint* endpoint = nullptr;  // null with original destination
    EndpointState* live = nullptr;
    Pool* waiting_in = nullptr;
    bool reused = false;          // a kept connection
    bool end_sent = false;        // whole request handed to the codec
    uint64_t offered_before = 0;  // bytes given to the driver before this try
  };
  static constexpr size_t kTriedMax = 16;

  // exchange.cc: life
  void advance_to(Phase next);
  void enter_finish(EndReason reason);
  void in_delay(const ExchangeEvent& event);
  void in_acquire(const ExchangeEvent& event);
  void in_exchange(const ExchangeEvent& event);
  void on_request_event(const ExchangeEvent& event);
  void on_request_end();
  void on_deadline(ExchangeTimer timer);
  void on_idle_deadline();
  void settle_downstream(EndReason reason);
  void count_end(EndReason reason);

  // exchange_decide.cc: request head to decision
  void enter_decide();
  void enter_delay(Duration delay);
  void copy_request(const http::Head& head);
  bool find_route();
  void use_passthrough();
  policy::RequestView request_view() const;
  void choose_cluster();
  void after_delay();
  bool answer_preflight();
  void answer_route();
  bool draw(uint32_t per_million);

  // exchange_checks.cc: rate limits and denials
  bool refused_by_checks();
  void refuse(const Refusal& refusal);

  // exchange_acquire.cc: endpoint and connection; repeats
  void enter_acquire();
  void begin_try();
  std::string_view shadow_authority(std::string_view authority);
  IpAddress source_for(const IpAddress& endpoint) const;
  Pick pick_endpoint();
  void arm_try_timer();
  void end_try(bool reusable);
  void prepare_timers();
  void make_affinity_cookie();
  bool is_replayable() const;
  bool nothing_reached_upstream();
  bool repeat(uint32_t conditions, bool nothing_sent);
  void enter_exchange(Connection& upstream);
  void fail_try(EndReason reason, uint32_t conditions);

  // exchange_transfer.cc: both directions
  void send_request_head(Connection& upstream);
  void pump_request();
  void on_answer(const ExchangeEvent& event);
  void on_answer_head(const http::Head& head);
  void on_interim(const http::Head& head);
  void forward_answer_head(const http::Head& head);
  void on_answer_end();
  void on_answer_cut(const http::StreamEvent& event);
  void start_mirrors();

  // tunnel.cc: bytes both ways
  void start_tunnel(const http::Head& head);
  void forward_tunnel_head(const http::Head& head);
  void pump_tunnel();
  void on_tunnel_upstream(const ExchangeEvent& event);
  void finish_tunnel_if_done();

  // forward_head.cc: what heads become on their way
  void build_request_fields();
  void build_forwarding_fields();
  void apply_ops(const policy::HeaderOps& ops, bool to_request);
  FieldSpan answer_fields(const http::Head& head);
  void add_cors_fields();
  std::string_view make_request_id();
  std::string_view make_loop_header();
  uint64_t loop_mark() const;
  bool is_loop() const;
  std::optional<uint32_t> forwards_left() const;
  void count_down_forwards();

  // own answers
  void answer(uint16_t status, std::string_view body, std::string_view content_type);

  Core* core_ = nullptr;
  Kind kind_ = Kind::kRequest;
  Phase phase_ = Phase::kDecide;
  bool request_complete_ = false;  // the client's direction has ended
  bool end_in_sight_ = false;      // the rest of the request arrives within this step
  bool answer_started_ = false;    // a final head went to the client
  bool answer_ended_ = false;      // tunnels: the endpoint's direction has ended
  bool continue_passed_ = false;   // a 100 went to the client: no repeat
  bool tunnel_ = false;            // bytes both ways
  bool head_request_ = false;      // method HEAD
  bool repeated_ = false;          // holds a share of the retry budget
  bool gateway_ = false;
  bool mirrored_ = false;  // mirrors have been started
  bool discard_answer_ =
      false;             // the try that ends gave a whole head: read on, keep its connection
  uint16_t status_ = 0;  // given to the client

  ConnectionId downstream_;
  http::StreamId stream_ = 0;
  SnapshotPin* pin_ = nullptr;
  Instant started_at_;
  Instant last_activity_;

  // The request, in the arena.
  Arena arena_;
  http::Head request_;
  std::vector<Field> request_fields_;
  std::vector<Field> request_trailers_;
  std::string_view authority_;  // canonical
  std::string_view path_;       // normalised
  std::string_view query_;
  bool has_query_ = false;
  uint16_t dialled_port_ = 0;
  uint32_t service_id_ = 0;
  SocketAddress original_;  // where the client dialled
  IpAddress peer_;
  policy::CallerView caller_;

  // The decision.
  policy::RouteMatch match_;
  const policy::WeightedCluster* choice_ = nullptr;
  const policy::Cluster* cluster_ = nullptr;
  bool has_hash_ = false;
  uint64_t hash_ = 0;
  std::string_view forwarded_for_, request_id_, loop_header_;  // made once, the same for each try
  std::string_view new_cookie_;  // Set-Cookie value for cookie affinity

  // Repeats.
  Try try_;
  uint32_t repeats_ = 0;
  uint32_t stale_repeats_ = 0;
  bool want_fresh_ = false;
  uint32_t tried_[kTriedMax] = {};
  uint32_t tried_count_ = 0;

  Pipe body_;
  std::vector<Field> out_fields_;  // of the head being built
  std::string out_target_;
  std::string out_authority_;
  Timer timers_[kExchangeTimerCount];
};

}  // namespace np::proxy
