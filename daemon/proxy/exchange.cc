// SPDX-License-Identifier: Apache-2.0
// Exchange: its life. Phases in order: Decide (exchange_decide.cc), Delay, Acquire
// (exchange_acquire.cc), Exchange (exchange_transfer.cc, tunnel.cc), Finish.
#include "proxy/exchange.h"

#include "base/check.h"
#include "proxy/core.h"
#include "proxy/exchange_teller.h"
#include "proxy/own_answer.h"

namespace np::proxy {

using EventKind = ExchangeEvent::Kind;
using StreamKind = http::StreamEvent::Kind;

void Exchange::advance_to(Phase next) {
  const auto from = static_cast<size_t>(phase_);
  const auto to = static_cast<size_t>(next);
  NP_CHECK(kPhaseTransitions[from][to]);
  ++core_->counters().phase_transitions[from][to];
  phase_ = next;
}

void Exchange::recycle() {
  if (core_ != nullptr) {
    for (Timer& timer : timers_) core_->timers().disarm(timer);
  }
  core_ = nullptr;
  kind_ = Kind::kRequest;
  phase_ = Phase::kDecide;
  request_complete_ = end_in_sight_ = answer_started_ = answer_ended_ = continue_passed_ = false;
  tunnel_ = head_request_ = gateway_ = mirrored_ = discard_answer_ = false;
  request_id_ = loop_header_ = {};
  status_ = 0;
  downstream_ = {};
  stream_ = 0;
  pin_ = nullptr;
  request_ = {};
  request_fields_.clear();
  request_trailers_.clear();
  authority_ = path_ = query_ = new_cookie_ = {};
  has_query_ = has_hash_ = want_fresh_ = false;
  dialled_port_ = 0;
  service_id_ = 0;
  caller_ = {};
  match_ = {};
  choice_ = nullptr;
  cluster_ = nullptr;
  terms_ = {};
  fault_ = nullptr;
  throttle_ = {};
  probe_ = nullptr;
  story_ = {};
  try_ = {};
  retry_share_ = {};
  repeats_ = stale_repeats_ = tried_count_ = 0;
  body_.clear();
  out_fields_.clear();
  arena_.reset();
}

bool Exchange::is_only_answering() const {
  return kind_ == Kind::kRequest && phase_ == Phase::kExchange && request_complete_ && !tunnel_;
}

void Exchange::shrink() {
  arena_ = Arena();
  request_fields_ = {};
  request_trailers_ = {};
  out_fields_ = {};
  out_target_ = {};
  out_authority_ = {};
  body_ = Pipe();
}

void Exchange::on_event(const ExchangeEvent& event) {
  if (event.kind == EventKind::kDownstreamLost && phase_ != Phase::kFinish) {
    enter_finish(kind_ == Kind::kOpaque ? EndReason::kTcpReset : EndReason::kClientGone);
    return;
  }
  if (event.kind == EventKind::kOverload && phase_ != Phase::kFinish) {
    end_for_memory();
    return;
  }
  if (event.kind == EventKind::kDownstreamDone) ask_for_client();
  switch (phase_) {
    case Phase::kDecide:
      return;  // passes within one step, without events
    case Phase::kDelay:
      in_delay(event);
      return;
    case Phase::kAcquire:
      in_acquire(event);
      return;
    case Phase::kExchange:
      in_exchange(event);
      return;
    case Phase::kFinish:
      return;  // over; freed at the end of the step
  }
}

// To make room: without regard for what is under way.
void Exchange::end_for_memory() {
  ++core_->counters().overload_rq_ended;
  if (kind_ == Kind::kOpaque) return enter_finish(EndReason::kTcpOverloaded);
  if (kind_ == Kind::kMirror) return enter_finish(EndReason::kMirrorFailed);
  enter_finish(answer_started_ ? EndReason::kOverloadReset : EndReason::kOverloaded);
}

// ---- Delay -----------------------------------------------------------------------------------

void Exchange::in_delay(const ExchangeEvent& event) {
  switch (event.kind) {
    case EventKind::kDownstream:
      on_request_event(event);
      return;
    case EventKind::kDeadline:
      if (event.timer == ExchangeTimer::kPhase) {
        after_delay();
      } else {
        on_deadline(event.timer);
      }
      return;
    default:
      return;
  }
}

// ---- Acquire ---------------------------------------------------------------------------------

void Exchange::in_acquire(const ExchangeEvent& event) {
  switch (event.kind) {
    case EventKind::kDownstream:
      on_request_event(event);
      return;
    case EventKind::kMail:
      on_mail();
      return;
    case EventKind::kDownstreamDone:
      offer_place_if_done();
      return;
    case EventKind::kAcquired:
      try_.waiting_in = nullptr;
      enter_exchange(*event.connection);
      return;
    case EventKind::kAcquireFailed:
      try_.waiting_in = nullptr;
      if (event.is_ours) forget_try();
      fail_try(event.reason, policy::kRetry5xx | policy::kRetryGatewayError | policy::kRetryReset |
                                 policy::kRetryResetBeforeRequest | policy::kRetryConnectFailure);
      return;
    case EventKind::kDeadline:
      if (event.timer == ExchangeTimer::kPhase) {
        begin_try();  // the back-off is over
      } else {
        on_deadline(event.timer);
      }
      return;
    default:
      return;
  }
}

// ---- Exchange --------------------------------------------------------------------------------

void Exchange::in_exchange(const ExchangeEvent& event) {
  switch (event.kind) {
    case EventKind::kDownstream:
      on_request_event(event);
      if (phase_ == Phase::kExchange) pump_request();
      return;
    case EventKind::kUpstream:
      last_activity_ = core_->now();
      if (tunnel_) {
        on_tunnel_upstream(event);
      } else {
        on_answer(event);
      }
      return;
    case EventKind::kUpstreamLost: {
      http::StreamEvent cut;
      cut.kind = StreamKind::kReset;
      cut.reset = http::ResetReason::kPeerClosed;
      on_answer_cut(cut);
      return;
    }
    case EventKind::kRoom:
      last_activity_ = core_->now();
      pump_request();
      return;
    case EventKind::kDeadline:
      on_deadline(event.timer);
      return;
    default:
      return;
  }
}

// ---- the client's side, in every phase -------------------------------------------------------

void Exchange::on_request_event(const ExchangeEvent& event) {
  const http::StreamEvent& stream = *event.stream;
  last_activity_ = core_->now();
  switch (stream.kind) {
    case StreamKind::kData: {
      // While nobody takes the bytes, and while they may be needed again, no receive buffer is
      // held.
      const bool copy = phase_ != Phase::kExchange || body_.keeps();
      const bool kept = body_.keeps();
      story_.request_bytes += stream.data.size();
      body_.append({*event.owner, stream.data}, copy, core_->blocks());
      if (kept && !body_.keeps()) ++core_->counters().retry_or_shadow_abandoned;
      return;
    }
    case StreamKind::kTrailers:
      for (const Field& field : stream.head->fields) {
        request_trailers_.push_back({arena_.copy(field.name), arena_.copy(field.value)});
      }
      return;
    case StreamKind::kEnd:
      on_request_end();
      return;
    case StreamKind::kReset:
    case StreamKind::kRefused: {
      const bool protocol = stream.reset == http::ResetReason::kProtocolError;
      if (!protocol) {
        enter_finish(kind_ == Kind::kOpaque ? EndReason::kTcpReset : EndReason::kClientGone);
        return;
      }
      ++core_->counters().downstream_cx_protocol_error;
      if (!answer_started_) status_ = stream.answer_status;
      enter_finish(answer_started_ ? EndReason::kClientProtocol : EndReason::kBadRequest);
      return;
    }
    case StreamKind::kHead:
    case StreamKind::kInterim:
      return;
  }
}

void Exchange::on_request_end() {
  request_complete_ = true;
  if (tunnel_ || kind_ == Kind::kOpaque) return;  // a FIN; pump_tunnel() passes it on
  const bool counts = phase_ != Phase::kDelay || (fault_ != nullptr && fault_->within_limits);
  if (terms_.timeout > Duration::zero() && counts && phase_ != Phase::kDecide) {
    core_->timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kRoute)],
                        core_->now() + terms_.timeout);
  }
  if (phase_ == Phase::kAcquire || phase_ == Phase::kExchange) arm_try_timer();
  start_mirrors();
}

// ---- deadlines -------------------------------------------------------------------------------

void Exchange::on_deadline(ExchangeTimer timer) {
  switch (timer) {
    case ExchangeTimer::kRoute:
      ++core_->counters().upstream_rq_timeout;
      ++stats().upstream_rq_timeout;
      if (!answer_started_) report_failure(EndReason::kRouteTimeout);
      if (kind_ == Kind::kMirror) {
        enter_finish(EndReason::kMirrorFailed);
      } else {
        enter_finish(answer_started_ ? EndReason::kAnswerTimeout : EndReason::kRouteTimeout);
      }
      return;
    case ExchangeTimer::kTry:
      ++core_->counters().upstream_rq_per_try_timeout;
      ++stats().upstream_rq_per_try_timeout;
      fail_try(EndReason::kPerTryTimeout,
               policy::kRetry5xx | policy::kRetryGatewayError | policy::kRetryReset);
      return;
    case ExchangeTimer::kIdle:
      on_idle_deadline();
      return;
    case ExchangeTimer::kPhase:
      // A slowed down answer: more of it may be read now.
      if (Connection* upstream = core_->find(try_.connection)) core_->touch(*upstream);
      return;
  }
}

// How long nothing may happen from now on; zero: for ever.
Duration Exchange::idle_limit() const {
  const EngineLimits& limits = core_->limits();
  if (kind_ == Kind::kOpaque) return limits.tcp_idle_timeout;
  const Connection* client = core_->find(downstream_);
  // A client that we do not read from is not the one who stalls.
  const bool is_stalling = !request_complete_ && !tunnel_ && phase_ != Phase::kDelay &&
                           client != nullptr && client->receiving && !answer_started_;
  if (!is_stalling || limits.body_stall_timeout <= Duration::zero()) {
    return limits.stream_idle_timeout;
  }
  if (limits.stream_idle_timeout <= Duration::zero()) return limits.body_stall_timeout;
  return std::min(limits.stream_idle_timeout, limits.body_stall_timeout);
}

// One lazy timer for two rules: no byte of an unfinished request for a while, and no byte at all.
void Exchange::arm_idle_timer() {
  const Duration limit = idle_limit();
  const Duration stall = core_->limits().body_stall_timeout;
  Instant next = limit > Duration::zero() ? last_activity_ + limit : kNever;
  // Whether the client stalls is looked at again, for it may begin to at any time.
  const bool may_stall = kind_ == Kind::kRequest && !request_complete_ && !tunnel_;
  if (may_stall && stall > Duration::zero()) next = std::min(next, core_->now() + stall);
  if (next != kNever) core_->timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kIdle)], next);
}

void Exchange::on_idle_deadline() {
  if (phase_ == Phase::kDelay) last_activity_ = core_->now();
  const Duration limit = idle_limit();
  if (limit <= Duration::zero() || core_->now() - last_activity_ < limit) {
    arm_idle_timer();
  } else if (kind_ == Kind::kOpaque) {
    enter_finish(EndReason::kTcpReset);
  } else if (kind_ == Kind::kMirror) {
    enter_finish(EndReason::kMirrorFailed);
  } else if (answer_started_) {
    enter_finish(EndReason::kIdleInAnswer);
  } else {
    enter_finish(request_complete_ ? EndReason::kIdleBeforeAnswer : EndReason::kRequestStalled);
  }
}

// ---- Finish ----------------------------------------------------------------------------------

void Exchange::enter_finish(EndReason reason) {
  advance_to(Phase::kFinish);
  for (Timer& timer : timers_) core_->timers().disarm(timer);
  const bool whole_answer = reason == EndReason::kCompleted || reason == EndReason::kMirrorDone;
  end_try(whole_answer && request_complete_ && try_.end_sent && !tunnel_);
  core_->give_back(retry_share_);
  if (kind_ == Kind::kRequest) core_->change_active_requests(-1);
  settle_downstream(reason);
  count_end(reason);
  ExchangeTeller(*this, reason).ended();
  core_->unpin(pin_);
  pin_ = nullptr;
  core_->retire(*this);
}

// Gives the client what it is still owed, and its connection back.
void Exchange::settle_downstream(EndReason reason) {
  Connection* client = core_->find(downstream_);
  if (client == nullptr || client->is_closed()) return;
  const Outcome outcome = outcome_of(reason);
  if (outcome == Outcome::kRefused && !answer_started_) {
    const OwnAnswer own = own_answer(reason);
    if (reason == EndReason::kOverflow) out_fields_.push_back({"x-envoy-overloaded", "true"});
    if (reason == EndReason::kOverloaded) {
      out_fields_.push_back({"x-envoy-local-overloaded", "true"});
    }
    answer(status_ != 0 ? status_ : own.status, {{}, own.body}, "text/plain");
  }
  client->exchange = {};
  if (reason == EndReason::kBadRequest) client->linger = true;
  if (outcome == Outcome::kAborted || reason == EndReason::kTcpFailed ||
      reason == EndReason::kTcpReset || reason == EndReason::kTcpOverflow ||
      reason == EndReason::kTcpOverloaded) {
    // Never a clean end for something that is not whole.
    if (!client->failed) core_->close(*client, true);
    return;
  }
  if (tunnel_ || kind_ == Kind::kOpaque) {
    core_->close_after_flush(*client);
    return;
  }
  if (!request_complete_ && !end_in_sight_) {
    client->linger = true;
    client->input.clear();
    core_->close_after_flush(*client);
    return;
  }
  core_->touch(*client);
}

void Exchange::count_end(EndReason reason) {
  EngineCounters& counters = core_->counters();
  if (probe_ != nullptr) {
    report_probe(reason);
    return;
  }
  ++ended_counter(counters, reason);
  if (kind_ == Kind::kMirror) {
    ++counters.mirror_ended;
    core_->mirror_ended();
    return;
  }
  if (kind_ == Kind::kOpaque) {
    ++counters.tcp_cx_ended;
    return;
  }
  Connection* client = core_->find(downstream_);
  FlowUpdate flow(*client->record, core_->now());
  switch (outcome_of(reason)) {
    case Outcome::kCompleted:
      ++counters.downstream_rq_completed;
      ++flow->completed;
      break;
    case Outcome::kRefused:
      ++counters.downstream_rq_refused;
      ++flow->refused;
      break;
    case Outcome::kAborted:
    case Outcome::kUncounted:
      ++counters.downstream_rq_aborted;
      ++flow->aborted;
      return;
  }
  count_status(counters, *client->record, status_);
}

void Exchange::answer(uint16_t status, const Slice& body, std::string_view content_type) {
  Connection* client = core_->find(downstream_);
  status_ = status;
  answer_started_ = true;
  if (!head_request_) story_.response_bytes = body.bytes.size();
  const bool bodiless = status == 204 || status == 304 || status < 200;
  if (!body.bytes.empty() && !bodiless) out_fields_.push_back({"content-type", content_type});
  out_fields_.push_back({"server", "nodeproxy"});
  http::Head head;
  head.status = status;
  head.body = bodiless || head_request_ ? http::BodyKind::kNone : http::BodyKind::kLength;
  head.content_length = body.bytes.size();
  head.has_content_length = !bodiless;
  head.fields = out_fields_;
  const bool with_body = head.body == http::BodyKind::kLength && !body.bytes.empty();
  http::StreamCommand command;
  command.kind = http::StreamCommand::Kind::kHead;
  command.stream = stream_;
  command.head = &head;
  command.end_of_message = !with_body;
  command.close_after = !(request_complete_ || end_in_sight_) || core_->keeps_nothing_alive();
  core_->send(*client, std::move(command));
  if (!with_body) return;
  http::StreamCommand data;
  data.kind = http::StreamCommand::Kind::kData;
  data.stream = stream_;
  data.data = body;
  data.end_of_message = true;
  core_->send(*client, std::move(data));
}

}  // namespace np::proxy
