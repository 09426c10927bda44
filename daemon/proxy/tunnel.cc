// SPDX-License-Identifier: Apache-2.0
// Exchange as a byte tunnel: after 101, and opaque TCP from the start. Each direction ends with its
// own FIN (capture R30); the Exchange ends when both have.
#include "policy/decide.h"
#include "proxy/core.h"
#include "proxy/exchange.h"
#include "proxy/exchange_teller.h"

namespace np::proxy {

using StreamKind = http::StreamEvent::Kind;
using CommandKind = http::StreamCommand::Kind;

void Exchange::begin_opaque(Core& core, Connection& downstream) {
  core_ = &core;
  kind_ = Kind::kOpaque;
  downstream_ = downstream.id();
  pin_ = core.pin_snapshot();
  started_at_ = last_activity_ = core.now();
  original_ = downstream.accepted.local;
  peer_ = downstream.accepted.peer;
  dialled_port_ = original_.port;
  ++core.counters().tcp_cx_started;
  prepare_timers();
  arm_idle_timer();
  caller_ = policy::captured_caller(*pin_->snapshot, peer_.ip);
  const policy::Way way = policy::find_opaque_way(*pin_->snapshot, original_);
  if (!way.is_covered) ++core.counters().passthrough;
  match_ = policy::find_route(way, request_view(), caller_);
  if (match_.route == nullptr) {
    ++core.counters().no_route;
    enter_finish(EndReason::kTcpFailed);
    return;
  }
  choose_cluster();
  if (core.refuses_requests()) {
    ++core.counters().overload_rq_refused;
    enter_finish(EndReason::kTcpOverloaded);
    return;
  }
  if (cluster_ == nullptr) {
    enter_finish(EndReason::kTcpFailed);
    return;
  }
  FlowUpdate(*downstream.record, core.now())->route_id = match_.route->id;
  enter_acquire();
}

void Exchange::forward_tunnel_head(const http::Head& head) {
  answer_started_ = true;
  status_ = 101;
  http::Head out = head;
  out.fields = answer_fields(head);
  out.body = http::BodyKind::kTunnel;
  http::StreamCommand command;
  command.kind = CommandKind::kHead;
  command.stream = stream_;
  command.head = &out;
  core_->send(*core_->find(downstream_), std::move(command));
  out_fields_.clear();
}

// The endpoint switched protocols. Bytes that either side sent behind its head are in the input
// queues still, and flow as soon as the codecs are tunnels.
void Exchange::start_tunnel(const http::Head& head) {
  const bool asked = match_.route->websocket &&
                     equals_ignoring_case(request_.upgrade, "websocket") && request_complete_;
  if (!asked) {
    http::StreamEvent cut;
    cut.kind = StreamKind::kReset;
    cut.reset = http::ResetReason::kProtocolError;
    on_answer_cut(cut);
    return;
  }
  Connection* client = core_->find(downstream_);
  Connection* upstream = core_->find(try_.connection);
  forward_tunnel_head(head);
  ++core_->counters().tunnels;
  core_->timers().disarm(timers_[static_cast<size_t>(ExchangeTimer::kRoute)]);
  tunnel_ = true;
  release_policy();
  request_complete_ = client->finish_delivered;  // a FIN right behind the head ends that direction
  body_.clear();
  client->codec->start_tunnel();
  upstream->codec->start_tunnel();
  core_->touch(*client);
  core_->touch(*upstream);
  pump_tunnel();
}

// A tunnel may live for days, and nothing is decided in it any more: the policy that it began under
// must not live as long.
void Exchange::release_policy() {
  ExchangeTeller(*this, EndReason::kTcpClosed).keep_texts();
  core_->give_back(retry_share_);
  match_ = {};
  fault_ = nullptr;
  choice_ = nullptr;
  cluster_ = nullptr;
  caller_ = {};
  story_.endpoint = nullptr;
  try_.endpoint = nullptr;
  core_->unpin(pin_);
  pin_ = nullptr;
}

// Client to endpoint.
void Exchange::pump_tunnel() {
  Connection* upstream = core_->find(try_.connection);
  if (upstream == nullptr || upstream->is_closed()) return;
  while (body_.has_unsent() && core_->has_room(*upstream)) {
    http::StreamCommand command;
    command.kind = CommandKind::kData;
    command.stream = try_.stream;
    command.data = body_.take();
    core_->send(*upstream, std::move(command));
  }
  if (request_complete_ && !body_.has_unsent() && !upstream->shutdown_wanted) {
    upstream->shutdown_wanted = true;
    core_->touch(*upstream);
  }
  finish_tunnel_if_done();
}

// Endpoint to client.
void Exchange::on_tunnel_upstream(const ExchangeEvent& event) {
  Connection* client = core_->find(downstream_);
  switch (event.stream->kind) {
    case StreamKind::kData: {
      story_.response_bytes += event.stream->data.size();
      http::StreamCommand command;
      command.kind = CommandKind::kData;
      command.stream = stream_;
      command.data = {*event.owner, event.stream->data};
      core_->send(*client, std::move(command));
      return;
    }
    case StreamKind::kEnd:
      answer_ended_ = true;
      client->shutdown_wanted = true;
      core_->touch(*client);
      finish_tunnel_if_done();
      return;
    case StreamKind::kReset:
      on_answer_cut(*event.stream);
      return;
    default:
      return;
  }
}

void Exchange::finish_tunnel_if_done() {
  if (!request_complete_ || !answer_ended_ || body_.has_unsent()) return;
  enter_finish(kind_ == Kind::kOpaque ? EndReason::kTcpClosed : EndReason::kCompleted);
}

}  // namespace np::proxy
