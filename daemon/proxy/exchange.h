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
#include "policy/call_terms.h"
#include "proxy/exchange_event.h"
#include "proxy/fault.h"
#include "proxy/pipe.h"
#include "proxy/prober.h"
#include "proxy/slab.h"
#include "proxy/story.h"
#include "proxy/timer_wheel.h"
#include "proxy/try.h"
#include "proxy/wait_node.h"

namespace np::proxy {

class Core;
struct Refusal;
struct ShardGroup;
struct SnapshotPin;

class Exchange : public SlabObject {
 public:
  enum class Kind : uint8_t { kRequest, kMirror, kOpaque };

  ExchangeId id() const { return {slab_slot_, slab_generation_}; }
  void recycle();
  void shrink();  // after recycle(): gives the memory of its buffers back as well

  // Each begins the Exchange's life in Decide.
  // `whole`: what follows the head, to its end, arrives within this step.
  void begin_request(Core& core, Connection& downstream, http::StreamId stream,
                     const http::Head& head, bool whole);
  void begin_opaque(Core& core, Connection& downstream);
  // A health check; `target` outlives it.
  void begin_probe(Core& core, const ProbeTarget& target);
  void begin_mirror(Core& core, const Exchange& original, const policy::Cluster& cluster);

  void on_event(const ExchangeEvent& event);

  Phase phase() const { return phase_; }
  ConnectionId downstream() const { return downstream_; }
  ConnectionId upstream() const { return try_.connection; }
  // A fault may slow the answer down: how much of it may be read now; the Exchange sees to it that
  // its connection is looked at again.
  bool is_paced() const { return fault_ != nullptr && fault_->bandwidth.has_value(); }
  size_t take_allowance(std::string_view bytes);
  // Request bytes that wait here; the client's connection is paused above a limit.
  size_t backlog_bytes() const { return body_.charged_bytes(); }
  // Nothing more of the client belongs to it: what comes next is another request.
  bool is_only_answering() const;
  size_t held_bytes() const { return body_.held_bytes(); }
  // Another kept connection might be as closed as the one that was just found so.
  bool wants_new_connection() const { return want_fresh_; }

  Link<Exchange> pending_link;  // while it waits in a pool
  WaitNode wait_node;           // while it waits with other shards' Exchanges

 private:
  static constexpr size_t kTriedMax = 16;

  // exchange.cc: life
  void advance_to(Phase next);
  void enter_finish(EndReason reason);
  void end_for_memory();
  void in_delay(const ExchangeEvent& event);
  void in_acquire(const ExchangeEvent& event);
  void in_exchange(const ExchangeEvent& event);
  void on_request_event(const ExchangeEvent& event);
  void on_request_end();
  void on_deadline(ExchangeTimer timer);
  Duration idle_limit() const;
  void arm_idle_timer();
  void on_idle_deadline();
  void settle_downstream(EndReason reason);
  void count_end(EndReason reason);

  // exchange_decide.cc: request head to decision
  void enter_decide();
  bool find_route();
  policy::RequestView request_view() const;
  void choose_cluster();
  bool answer_preflight();
  void answer_route();
  bool draw(uint32_t per_million);

  // exchange_fault.cc: what is injected
  void choose_fault();
  bool inject_delay();
  void after_delay();
  bool inject_abort();
  void begin_slow_answer();
  void start_route_clock();
  bool refused_by_checks();  // exchange_checks.cc: rate limits and denials
  void refuse(const Refusal& refusal);

  // exchange_acquire.cc: endpoint and connection; repeats
  void enter_acquire();
  void begin_try();
  void try_again_in_place();
  bool admit();
  void rehearse_limits(bool goes_on);
  void go_on_admitted();
  void choose_endpoint();
  void connect(const SocketAddress& remote);
  void on_mail();
  void leave_queues();
  void offer_place_if_done();
  void ask_for_client();
  void report(const TryResult& result);
  void report_failure(EndReason reason);
  void forget_try();
  bool take_retry_share();
  std::string_view shadow_authority(std::string_view authority);
  IpAddress source_for(const IpAddress& endpoint) const;
  Pick pick_endpoint();
  void arm_try_timer();
  void end_try(bool reusable);
  void prepare_timers();
  void make_affinity_cookie();
  bool is_replayable() const;
  bool nothing_reached_upstream();
  Connection* stale_connection(EndReason reason);
  bool repeat(uint32_t conditions, bool nothing_sent);
  bool connect_elsewhere(EndReason reason);
  void enter_exchange(Connection& upstream);
  void fail_try(EndReason reason, uint32_t conditions);

  // exchange_transfer.cc: both directions
  void send_request_head(Connection&upstream), pump_request();
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
  void release_policy();

  // forward_head.cc: what heads become on their way
  void copy_request(const http::Head& head);
  void build_request_fields();
  Duration time_left() const;
  void add_call_fields();
  void replace_field(std::string_view name, uint64_t value);
  void build_forwarding_fields();
  void apply_ops(const policy::HeaderOps& ops, bool to_request);
  FieldSpan answer_fields(const http::Head& head);
  void add_cors_fields();
  Field make_request_id();
  Field make_loop_header();
  uint64_t loop_mark() const;
  bool is_loop() const;
  std::optional<uint32_t> forwards_left() const;
  void count_down_forwards();

  // exchange_report.cc: traces, and what is told at the end
  friend class ExchangeTeller;
  void begin_trace();
  void add_trace_fields();
  ClusterCounters& stats();

  void finish_connect_probe(Connection& upstream);  // exchange_probe.cc: health checks
  void report_probe(EndReason reason);
  void answer(uint16_t status, const Slice& body, std::string_view content_type);  // of our own

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
  bool gateway_ = false;
  bool mirrored_ = false;        // mirrors have been started
  bool discard_answer_ = false;  // the answer of the try that ends is read on, for its connection
  uint16_t status_ = 0;          // given to the client

  ConnectionId downstream_;
  http::StreamId stream_ = 0;
  SnapshotPin* pin_ = nullptr;
  Instant started_at_, last_activity_;

  // The request, in the arena.
  Arena arena_;
  http::Head request_;
  std::vector<Field> request_fields_;
  std::vector<Field> request_trailers_;
  std::string_view authority_;     // canonical
  std::string_view path_, query_;  // normalised
  bool has_query_ = false;
  uint16_t dialled_port_ = 0;
  uint32_t service_id_ = 0;
  SocketAddress original_;  // where the client dialled
  SocketAddress peer_;
  policy::CallerView caller_;

  const ProbeTarget* probe_ = nullptr;    // it is a health check
  const policy::Fault* fault_ = nullptr;  // that the request may meet
  Throttle throttle_;

  // The decision.
  policy::RouteMatch match_;
  const policy::WeightedCluster* choice_ = nullptr;
  const policy::Cluster* cluster_ = nullptr;
  policy::CallTerms terms_;
  bool has_hash_ = false;
  uint64_t hash_ = 0;
  Field request_id_, loop_header_;  // made once, the same for each try
  std::string_view new_cookie_;     // Set-Cookie value for cookie affinity

  Story story_;
  // Repeats.
  Try try_;
  RetryShare retry_share_;
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
