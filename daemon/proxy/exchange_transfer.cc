// SPDX-License-Identifier: Apache-2.0
// Exchange, phase Exchange: the request flows out, the answer flows back.
#include "proxy/core.h"
#include "proxy/exchange.h"
#include "proxy/retry.h"

namespace np::proxy {

using StreamKind = http::StreamEvent::Kind;
using CommandKind = http::StreamCommand::Kind;

// ---- request ---------------------------------------------------------------------------------

void Exchange::send_request_head(Connection& upstream) {
  try_.stream = upstream.codec->open_stream();
  build_request_fields();
  http::Head head = request_;
  head.authority = out_authority_;
  head.target = out_target_;
  head.fields = out_fields_;
  head.version = http::Version::kHttp11;
  const bool websocket = match_.route->websocket && equals_ignoring_case(head.upgrade, "websocket");
  if (!websocket) head.upgrade = {};
  http::StreamCommand command;
  command.kind = CommandKind::kHead;
  command.stream = try_.stream;
  command.head = &head;
  command.end_of_message = request_complete_ && !body_.has_unsent() && request_trailers_.empty();
  try_.end_sent = command.end_of_message;
  core_->send(upstream, std::move(command));
  out_fields_.clear();
}

// Moves waiting body bytes on while the endpoint's connection has room.
void Exchange::pump_request() {
  if (tunnel_) {
    pump_tunnel();
    return;
  }
  Connection* upstream = core_->find(try_.connection);
  if (upstream == nullptr || upstream->is_closed() || try_.end_sent) return;
  while (body_.has_unsent() && core_->has_room(*upstream)) {
    http::StreamCommand command;
    command.kind = CommandKind::kData;
    command.stream = try_.stream;
    command.data = body_.take();
    core_->send(*upstream, std::move(command));
  }
  if (body_.has_unsent() || !request_complete_) return;
  if (!request_trailers_.empty()) {
    http::Head head;
    head.fields = request_trailers_;
    http::StreamCommand trailers;
    trailers.kind = CommandKind::kTrailers;
    trailers.stream = try_.stream;
    trailers.head = &head;
    core_->send(*upstream, std::move(trailers));
  }
  http::StreamCommand end;
  end.kind = CommandKind::kEnd;
  end.stream = try_.stream;
  core_->send(*upstream, std::move(end));
  try_.end_sent = true;
}

// Second Exchanges without a client, once the whole request is here to be copied.
void Exchange::start_mirrors() {
  if (kind_ != Kind::kRequest || match_.route == nullptr || cluster_ == nullptr) return;
  if (mirrored_ || (phase_ != Phase::kAcquire && phase_ != Phase::kExchange)) return;
  mirrored_ = true;
  for (const policy::Route::MirrorTarget& mirror : match_.route->mirrors) {
    if (mirror.cluster == nullptr || !draw(mirror.per_million)) continue;
    // A target that does not answer must not take the descriptors of real requests.
    if (!body_.can_replay() || core_->active_mirrors() >= core_->limits().mirrors_max ||
        core_->refuses_requests()) {
      ++core_->counters().retry_or_shadow_abandoned;
      continue;
    }
    core_->start_mirror(*this, *mirror.cluster);
  }
}

// ---- answer ----------------------------------------------------------------------------------

void Exchange::on_answer(const ExchangeEvent& event) {
  const http::StreamEvent& stream = *event.stream;
  switch (stream.kind) {
    case StreamKind::kHead:
      on_answer_head(*stream.head);
      return;
    case StreamKind::kInterim:
      on_interim(*stream.head);
      return;
    case StreamKind::kData:
    case StreamKind::kTrailers: {
      Connection* client = core_->find(downstream_);
      if (client == nullptr) return;  // a mirror's answer
      story_.response_bytes += stream.data.size();
      http::StreamCommand command;
      command.kind = stream.kind == StreamKind::kData ? CommandKind::kData : CommandKind::kTrailers;
      command.stream = stream_;
      command.head = stream.head;
      command.data = {*event.owner, stream.data};
      core_->send(*client, std::move(command));
      return;
    }
    case StreamKind::kEnd:
      on_answer_end();
      return;
    case StreamKind::kReset:
    case StreamKind::kRefused:
      on_answer_cut(stream);
      return;
  }
}

void Exchange::on_interim(const http::Head& head) {
  Connection* client = core_->find(downstream_);
  // HTTP/1.0 knows no interim answers; a 100 that nobody asked for is not passed on.
  if (client == nullptr || request_.version == http::Version::kHttp10) return;
  if (head.status == 100) {
    if (!request_.expect_continue || request_complete_) return;
    continue_passed_ = true;
    body_.drop_kept();
  }
  ++core_->counters().downstream_rq_1xx;
  http::StreamCommand command;
  command.kind = CommandKind::kInterim;
  command.stream = stream_;
  command.head = &head;
  core_->send(*client, std::move(command));
}

// A client that has left and one that only has nothing more to ask both sent FIN, and nothing that
// the kernel knows tells them apart, until it is sent something: who has left answers with a reset,
// and its request ends. Who reads on finds a 100, which any client of HTTP/1.1 takes (RFC 9110
// 15.2). A FIN right behind the request is how the latter kind asks: that one is not disturbed.
void Exchange::ask_for_client() {
  Connection* client = core_->find(downstream_);
  const bool is_right_behind = core_->now() < started_at_ + core_->limits().half_close_grace;
  if (client == nullptr || kind_ != Kind::kRequest || tunnel_ || answer_started_ ||
      !request_complete_ || is_right_behind || request_.version == http::Version::kHttp10) {
    return;
  }
  static const http::Head kContinue = [] {
    http::Head head;
    head.status = 100;
    return head;
  }();
  ++core_->counters().downstream_rq_asked_for_client;
  http::StreamCommand command;
  command.kind = CommandKind::kInterim;
  command.stream = stream_;
  command.head = &kContinue;
  core_->send(*client, std::move(command));
}

void Exchange::on_answer_head(const http::Head& head) {
  EngineCounters& counters = core_->counters();
  core_->timers().disarm(timers_[static_cast<size_t>(ExchangeTimer::kTry)]);
  ++counters.upstream_rq_completed;
  count_upstream_status(counters, head.status);
  ++stats().upstream_rq_completed;
  count_upstream_status(stats(), head.status);
  story_.answered = core_->now();
  report({TryResult::Kind::kAnswered, head.status, core_->now() - try_.sent_at});
  if (kind_ == Kind::kMirror) {
    answer_started_ = true;
    status_ = head.status;
    return;
  }
  if (head.status == 101) {
    start_tunnel(head);
    return;
  }
  const uint32_t conditions = answer_conditions(match_.route->retry, head.status, head.fields);
  discard_answer_ = true;
  const bool repeated = conditions != 0 && repeat(conditions, false);
  discard_answer_ = false;
  if (repeated) return;
  if (repeats_ > 0 && conditions == 0) {
    ++counters.upstream_rq_retry_success;
    ++stats().upstream_rq_retry_success;
  }
  forward_answer_head(head);
}

void Exchange::forward_answer_head(const http::Head& head) {
  Connection* client = core_->find(downstream_);
  answer_started_ = true;
  begin_slow_answer();
  status_ = head.status;
  body_.drop_kept();
  http::Head out = head;
  out.fields = answer_fields(head);
  out.upgrade = {};
  // The end is ours to signal: an endpoint's close must not be needed to see it.
  if (out.body == http::BodyKind::kUntilClose) out.body = http::BodyKind::kStreaming;
  http::StreamCommand command;
  command.kind = CommandKind::kHead;
  command.stream = stream_;
  command.head = &out;
  command.close_after =
      core_->keeps_nothing_alive() || !request_complete_ || client->finish_delivered;
  core_->send(*client, std::move(command));
  out_fields_.clear();
}

void Exchange::on_answer_end() {
  if (kind_ == Kind::kMirror) {
    enter_finish(EndReason::kMirrorDone);
    return;
  }
  http::StreamCommand command;
  command.kind = CommandKind::kEnd;
  command.stream = stream_;
  core_->send(*core_->find(downstream_), std::move(command));
  enter_finish(EndReason::kCompleted);
}

// The endpoint's stream will never be complete.
void Exchange::on_answer_cut(const http::StreamEvent& event) {
  const bool protocol = event.reset == http::ResetReason::kProtocolError;
  ++core_->counters().upstream_rq_rx_reset;
  ++stats().upstream_rq_rx_reset;
  if (protocol) ++core_->counters().upstream_cx_protocol_error;
  if (protocol) ++stats().upstream_cx_protocol_error;
  if (tunnel_) {
    enter_finish(kind_ == Kind::kOpaque ? EndReason::kTcpReset : EndReason::kUpstreamTruncated);
    return;
  }
  if (kind_ == Kind::kMirror) {
    enter_finish(EndReason::kMirrorFailed);
    return;
  }
  if (answer_started_) {
    enter_finish(EndReason::kUpstreamTruncated);
    return;
  }
  uint32_t conditions = policy::kRetry5xx | policy::kRetryGatewayError | policy::kRetryReset;
  if (nothing_reached_upstream()) conditions |= policy::kRetryResetBeforeRequest;
  fail_try(protocol ? EndReason::kUpstreamProtocol : EndReason::kUpstreamClosed, conditions);
}

}  // namespace np::proxy
