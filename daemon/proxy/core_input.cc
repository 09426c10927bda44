// SPDX-License-Identifier: Apache-2.0
// Core, inbound: transport events become stream events, and these reach their Exchange.
#include <algorithm>

#include "proxy/core.h"

namespace np::proxy {
using StreamKind = http::StreamEvent::Kind;

namespace {

// The longest method name that is taken for HTTP by sniff().
constexpr size_t kMethodBytesMax = 16;

enum class Guess : uint8_t { kHttp, kOther, kUndecided };

// "GET /" looks like HTTP; a TLS hello or a database greeting does not. HTTP/2 begins like a
// request of HTTP/1 and is none that a codec here reads: its bytes pass as they are.
Guess guess_protocol(std::string_view bytes) {
  constexpr std::string_view kHttp2Preface = "PRI * HTTP/2";
  if (bytes.empty()) return Guess::kUndecided;
  if (bytes.starts_with(kHttp2Preface)) return Guess::kOther;
  if (kHttp2Preface.starts_with(bytes)) return Guess::kUndecided;
  size_t i = 0;
  while (i < bytes.size() && i <= kMethodBytesMax) {
    const char c = bytes[i];
    if (c == ' ') return i > 0 ? Guess::kHttp : Guess::kOther;
    if (c < 'A' || c > 'Z') return Guess::kOther;
    ++i;
  }
  return i > kMethodBytesMax ? Guess::kOther : Guess::kUndecided;
}

bool is_end(TransportEvent::Kind kind) {
  return kind == TransportEvent::Kind::kPeerFinished || kind == TransportEvent::Kind::kFailed;
}

}  // namespace

void Core::on_transport(ConnectionId id, const TransportEvent& event, Instant now,
                        ActionList& actions) {
  begin_step(now, actions);
  const bool ends = is_end(event.kind);
  if (ends) {
    // What came before it is passed on before it may cut something off.
    end_step();
    begin_step(now, actions);
  }
  Connection* connection = find(id);
  // Else closed by us meanwhile, in this step or in an earlier one.
  if (connection != nullptr && !connection->is_closed()) act_on(*connection, event);
  // And what comes behind it finds no connection that is no longer one.
  if (!event.is_followed || ends) end_step();
}

void Core::act_on(Connection& connection, const TransportEvent& event) {
  switch (event.kind) {
    case TransportEvent::Kind::kOpened:
      on_opened(connection, event.lent);
      break;
    case TransportEvent::Kind::kNotLent:
      on_not_lent(connection);
      break;
    case TransportEvent::Kind::kReceived:
      receive(connection, event.data);
      break;
    case TransportEvent::Kind::kSent:
      sent(connection, event.sent_bytes);
      break;
    case TransportEvent::Kind::kPeerFinished:
      peer_finished(connection);
      break;
    case TransportEvent::Kind::kFailed:
      failed(connection, event.failure);
      break;
  }
}

void Core::receive(Connection& connection, const Slice& data) {
  const bool downstream = connection.side == Connection::Side::kDownstream;
  if (downstream) {
    counters_->downstream_cx_rx_bytes_total += data.bytes.size();
    FlowUpdate(*connection.record, now_)->bytes_up += data.bytes.size();
  } else {
    counters_->upstream_cx_rx_bytes_total += data.bytes.size();
    connection.pool->stats->upstream_cx_rx_bytes_total += data.bytes.size();
  }
  connection.received_bytes += data.bytes.size();
  touch(connection);
  if (connection.state() == ConnectionState::kDraining ||
      connection.state() == ConnectionState::kClosing) {
    connection.discarded_bytes += data.bytes.size();
    if (connection.discarded_bytes > limits_.linger_bytes) close(connection, true);
    return;
  }
  size_t used = 0;
  if (connection.input.empty() && connection.state() == ConnectionState::kOpen &&
      may_parse(connection) && !is_paced(connection)) {
    used = parse(connection, data, false);
    if (connection.state() != ConnectionState::kOpen) return;
  }
  if (used == data.bytes.size()) return;
  connection.input.append({data.owner, data.bytes.substr(used)}, blocks_);
  if (connection.mode == Connection::Mode::kSniffing) sniff(connection, false);
}

void Core::sent(Connection& connection, size_t bytes) {
  if (connection.sending == nullptr) return;
  free_send_vectors_.push_back(connection.sending);
  connection.sending = nullptr;
  connection.quiet_bytes = 0;
  connection.output.consume(bytes);
  if (connection.timer_purpose == ConnectionTimer::kFlush) disarm(connection);
  if (connection.side == Connection::Side::kDownstream) {
    counters_->downstream_cx_tx_bytes_total += bytes;
    FlowUpdate(*connection.record, now_)->bytes_down += bytes;
  } else {
    counters_->upstream_cx_tx_bytes_total += bytes;
    connection.pool->stats->upstream_cx_tx_bytes_total += bytes;
  }
  touch(connection);
  Exchange* exchange = find(connection.exchange);
  if (exchange == nullptr) return;
  exchange->on_event({.kind = ExchangeEvent::Kind::kRoom});
  // The source of these bytes may go on.
  const bool down = connection.side == Connection::Side::kDownstream;
  Connection* other = find(down ? exchange->upstream() : exchange->downstream());
  if (other != nullptr) touch(*other);
}

void Core::peer_finished(Connection& connection) {
  connection.peer_finished = true;
  touch(connection);
  if (connection.state() == ConnectionState::kClosing) {
    close(connection, false);
    return;
  }
  if (connection.mode == Connection::Mode::kSniffing) sniff(connection, true);
}

void Core::failed(Connection& connection, Failure failure) {
  if (connection.state() == ConnectionState::kOpening &&
      connection.side == Connection::Side::kUpstream) {
    if (failure == Failure::kExhausted && wait_for_place(connection)) return;
    on_connect_failed(
        connection,
        failure == Failure::kTimedOut ? EndReason::kConnectTimeout : EndReason::kConnectFailed,
        failure == Failure::kExhausted || failure == Failure::kAddressInUse);
    return;
  }
  connection.failed = true;
  if (connection.sending != nullptr) {
    free_send_vectors_.push_back(connection.sending);
    connection.sending = nullptr;
  }
  connection.output.clear();
  // What an endpoint sent before it failed may still be a whole answer.
  const bool answer_waits = connection.side == Connection::Side::kUpstream && connection.exchange &&
                            !connection.input.empty();
  if (answer_waits) {
    touch(connection);
  } else {
    lose(connection);
  }
}

void Core::lose(Connection& connection) {
  if (Exchange* exchange = find(connection.exchange)) {
    const bool down = connection.side == Connection::Side::kDownstream;
    exchange->on_event(
        {.kind = down ? ExchangeEvent::Kind::kDownstreamLost : ExchangeEvent::Kind::kUpstreamLost});
  }
  close(connection, true);
}

// Back-pressure: bytes are read only when what they become has a place.
bool Core::may_parse(const Connection& connection) {
  if (connection.state() != ConnectionState::kOpen ||
      connection.mode == Connection::Mode::kSniffing) {
    return false;
  }
  Exchange* exchange = find(connection.exchange);
  if (connection.side == Connection::Side::kUpstream) {
    if (exchange == nullptr) return true;
    const Connection* client = find(exchange->downstream());
    return client == nullptr || has_room(*client);
  }
  if (exchange != nullptr) return exchange->backlog_bytes() < limits_.buffer_bytes;
  return has_room(connection);
}

// Whether a fault may slow down the answer that comes here.
bool Core::is_paced(const Connection& connection) {
  if (connection.side != Connection::Side::kUpstream) return false;
  const Exchange* exchange = find(connection.exchange);
  return exchange != nullptr && exchange->is_paced();
}

size_t Core::parse(Connection& connection, const Slice& slice, bool is_queued) {
  events_.clear();
  size_t used = slice.bytes.size();
  if (connection.codec != nullptr) {
    used = connection.codec->on_bytes(slice, events_);
  } else {
    http::StreamEvent& event = events_.emplace_back();
    event.kind = StreamKind::kData;
    event.data = slice.bytes;
  }
  if (connection.side == Connection::Side::kDownstream && !connection.exchange) {
    note_head_bytes(connection, slice.bytes.substr(0, used));
  }
  // Before the events are acted on: an answer that ends here makes its connection idle, and bytes
  // still queued would mean that the endpoint sent more than an answer.
  if (is_queued) connection.input.consume(used);
  dispatch(connection, slice.owner);
  return used;
}

void Core::parse_input(Connection& connection) {
  while (!connection.input.empty() && may_parse(connection)) {
    Slice slice = connection.input.front();
    if (is_paced(connection)) {
      const size_t allowed = find(connection.exchange)->take_allowance(slice.bytes);
      if (allowed == 0) return;
      slice.bytes = slice.bytes.substr(0, allowed);
    }
    const size_t used = parse(connection, slice, true);
    if (connection.state() != ConnectionState::kOpen) return;
    if (used == 0) return;  // the codec waits for the end of the response
  }
}

// A head has begun when anything but an empty line was read.
void Core::note_head_bytes(Connection& connection, std::string_view used) {
  if (connection.codec == nullptr || connection.in_head) return;
  connection.in_head = used.find_first_not_of("\r\n") != std::string_view::npos;
}

void Core::deliver_finish(Connection& connection) {
  connection.finish_delivered = true;
  if (connection.side == Connection::Side::kUpstream && !connection.exchange) {
    close(connection, false);
    return;
  }
  events_.clear();
  if (connection.codec != nullptr) {
    connection.codec->on_peer_finished(events_);
  } else {
    events_.emplace_back().kind = StreamKind::kEnd;
  }
  dispatch(connection, {});
  Exchange* exchange = find(connection.exchange);
  const bool tells = connection.side == Connection::Side::kDownstream && exchange != nullptr;
  if (tells) exchange->on_event({.kind = ExchangeEvent::Kind::kDownstreamDone});
}

void Core::dispatch(Connection& connection, const BufferRef& owner) {
  for (const http::StreamEvent& event : events_) {
    if (connection.side == Connection::Side::kDownstream) {
      dispatch_downstream(connection, event, owner);
    } else {
      dispatch_upstream(connection, event, owner);
    }
    if (connection.state() != ConnectionState::kOpen) return;
  }
  // A connection to an endpoint that ended its message and cannot go on is of no use any more.
  if (connection.side == Connection::Side::kUpstream && !connection.exchange &&
      !connection.discarding && connection.codec != nullptr &&
      !connection.codec->can_open_stream()) {
    close(connection, false);
  }
}

void Core::dispatch_downstream(Connection& connection, const http::StreamEvent& event,
                               const BufferRef& owner) {
  connection.last_stream = std::max(connection.last_stream, event.stream);
  if (event.kind == StreamKind::kHead) {
    connection.in_head = false;
    disarm(connection);
    Exchange& exchange = exchanges_.take();
    connection.exchange = exchange.id();
    const http::StreamEvent& last = events_.back();
    const bool whole = last.kind == StreamKind::kEnd && last.stream == event.stream;
    exchange.begin_request(*this, connection, event.stream, *event.head, whole);
    return;
  }
  if (event.kind == StreamKind::kRefused) {
    ++counters_->downstream_cx_protocol_error;
    refuse_unparsed(connection, event.stream, event.answer_status,
                    event.detail != nullptr ? event.detail : "", EndReason::kBadRequest);
    return;
  }
  if (Exchange* exchange = find(connection.exchange)) {
    exchange->on_event(
        {.kind = ExchangeEvent::Kind::kDownstream, .stream = &event, .owner = &owner});
    return;
  }
  if (event.kind == StreamKind::kReset) {
    if (event.reset == http::ResetReason::kProtocolError) ++counters_->downstream_cx_protocol_error;
    close(connection, true);
  }
}

void Core::dispatch_upstream(Connection& connection, const http::StreamEvent& event,
                             const BufferRef& owner) {
  if (Exchange* exchange = find(connection.exchange)) {
    exchange->on_event({.kind = ExchangeEvent::Kind::kUpstream, .stream = &event, .owner = &owner});
    return;
  }
  if (!connection.discarding || event.kind == StreamKind::kReset) {
    // Bytes that nobody asked for: never hand them to the next request.
    ++counters_->upstream_cx_protocol_error;
    ++connection.pool->stats->upstream_cx_protocol_error;
    close(connection, true);
    return;
  }
  connection.discarded_bytes += event.data.size();
  if (connection.discarded_bytes > limits_.discard_bytes) {
    close(connection, true);
    return;
  }
  if (event.kind == StreamKind::kEnd) {
    connection.discarding = false;
    make_idle(connection);
  }
}

// A port of unknown protocol: HTTP only if the first bytes say so. A silent client gets its
// connection dialled, because the server may be the one to speak first (capture R32).
void Core::sniff(Connection& connection, bool time_is_up) {
  if (connection.mode != Connection::Mode::kSniffing) return;
  char seen[EngineLimits::kSniffBytes];
  const Guess guess = guess_protocol({seen, connection.input.peek(seen, sizeof(seen))});
  if (guess == Guess::kUndecided && !time_is_up) return;
  disarm(connection);
  if (guess == Guess::kHttp) {
    start_http(connection);
  } else {
    start_opaque(connection);
  }
  touch(connection);
}

}  // namespace np::proxy
