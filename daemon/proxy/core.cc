// SPDX-License-Identifier: Apache-2.0
#include "proxy/core.h"

#include <algorithm>

#include "proxy/own_answer.h"

namespace np::proxy {

namespace {

constexpr size_t kWarmExchanges = 256;

// What a closed connection leaves to the driver while its last send is under way.
struct SendRemains {
  http::OutputQueue output;
  std::unique_ptr<SendVector> entries;
};

std::shared_ptr<SendRemains> take_remains(Connection& connection,
                                          std::vector<std::unique_ptr<SendVector>>& vectors) {
  auto remains = std::make_shared<SendRemains>();
  remains->output = std::move(connection.output);
  const auto owned = std::find_if(vectors.begin(), vectors.end(),
                                  [&](auto& entry) { return entry.get() == connection.sending; });
  remains->entries = std::move(*owned);
  *owned = std::move(vectors.back());
  vectors.pop_back();
  connection.sending = nullptr;
  return remains;
}

// Whether it makes no difference for a while that the output was sent: no end of the connection
// waits for it. A part of the buffer, so that no source is paused for it.
bool awaits_nothing(const Connection& connection) {
  return connection.state() == ConnectionState::kOpen && connection.codec != nullptr &&
         !connection.codec->wants_close() && !connection.shutdown_wanted &&
         !connection.peer_finished;
}

}  // namespace

// ---- a step ----------------------------------------------------------------------------------

void Core::begin_step(Instant now, ActionList& actions) {
  now_ = now;
  actions_ = &actions;
}

void Core::end_step() {
  // Settling may touch more; indices, because the lists grow meanwhile.
  size_t next = 0;
  while (next < touched_.size() || !touched_pools_.empty() || node_->mailbox(shard_).has_mail()) {
    if (next < touched_.size()) {
      Connection& connection = *touched_[next++];
      connection.touched = false;
      settle(connection);
      continue;
    }
    if (touched_pools_.empty()) {
      read_mail();
      continue;
    }
    Pool& pool = *touched_pools_.back();
    touched_pools_.pop_back();
    pool.touched = false;
    serve(pool);
  }
  touched_.clear();
  for (Exchange* exchange : finished_) {
    exchanges_.give_back(*exchange);
    // As many as are wanted again soon keep their memory; what a burst left does not.
    if (Exchange* spare = exchanges_.free_below(kWarmExchanges)) spare->shrink();
  }
  finished_.clear();
  for (Connection* connection : closed_) {
    Pool* pool = connection->pool;
    connections_.give_back(*connection);
    if (pool != nullptr) {
      // Several connections of one pool may end in one step: only the last empties it.
      if (--pool->leaving == 0) pools_.drop_if_empty(*pool);
    }
  }
  closed_.clear();
  connect_waiting(std::exchange(freed_places_, 0));
  actions_ = nullptr;
}

void Core::touch(Connection& connection) {
  if (connection.touched || connection.is_closed()) return;
  connection.touched = true;
  touched_.push_back(&connection);
}

void Core::touch(Pool& pool) {
  if (pool.touched) return;
  pool.touched = true;
  touched_pools_.push_back(&pool);
}

Action& Core::act(Action::Kind kind, const Connection& connection) {
  Action& action = actions_->emplace_back();
  action.kind = kind;
  action.connection = connection.id();
  return action;
}

uint32_t Core::pod_served_by(const Connection& connection) {
  Exchange* exchange = find(connection.exchange);
  const Connection* client = exchange != nullptr ? find(exchange->downstream()) : nullptr;
  const bool known = client != nullptr && client->accepted.record != nullptr;
  return known ? client->accepted.record->pod_id : 0;
}

void Core::settle(Connection& connection) {
  if (connection.is_closed()) return;
  if (connection.state() == ConnectionState::kOpen) {
    parse_input(connection);
    if (!connection.is_closed() && connection.input.empty()) {
      if (connection.failed) {
        lose(connection);
      } else if (connection.peer_finished && !connection.finish_delivered &&
                 may_parse(connection)) {
        deliver_finish(connection);
      }
    }
  }
  if (connection.is_closed()) return;
  if (connection.codec != nullptr) connection.codec->end_step();
  flush(connection);
  settle_downstream_end(connection);
  settle_draining(connection);
  note_hurry(connection);
  if (connection.is_closed()) return;
  update_downstream_timer(connection);
  update_receive(connection);
}

bool Core::is_idle(const Connection& connection) const {
  // Who connected a moment ago has a request under way that must not be lost.
  const bool expected = !connection.has_asked() && limits_.drain_wait > Duration::zero();
  return connection.input.empty() && !connection.in_head && !expected;
}

// Whether a client's connection without an Exchange has served its time.
void Core::settle_downstream_end(Connection& connection) {
  if (connection.side != Connection::Side::kDownstream || connection.exchange ||
      connection.state() != ConnectionState::kOpen) {
    return;
  }
  const bool finished = connection.peer_finished && connection.input.empty();
  if (connection.codec == nullptr || connection.codec->wants_close() || finished ||
      (keeps_nothing_alive() && is_idle(connection))) {
    connection.advance_to(ConnectionState::kDraining);
    // Bytes behind the last request that we serve: closing on them would reset, and the answer
    // might be lost to that.
    if (!connection.input.empty()) connection.linger = true;
    connection.input.clear();
  }
}

void Core::settle_draining(Connection& connection) {
  if (connection.state() != ConnectionState::kDraining) return;
  if (connection.has_output()) {
    arm_flush(connection);
    return;
  }
  const bool lingers = connection.linger && limits_.linger_timeout > Duration::zero();
  if (!lingers || connection.peer_finished) {
    close(connection, false);
    return;
  }
  // Closing with unread bytes would reset the connection and could destroy the answer: FIN first,
  // then a short wait for the peer's.
  if (!connection.shutdown_sent) act(Action::Kind::kShutdownWrite, connection);
  connection.shutdown_sent = true;
  connection.advance_to(ConnectionState::kClosing);
  arm(connection, ConnectionTimer::kLinger, limits_.linger_timeout);
}

void Core::flush(Connection& connection) {
  if (connection.sending != nullptr || connection.failed ||
      connection.state() == ConnectionState::kOpening) {
    return;
  }
  if (!connection.output.empty()) {
    if (free_send_vectors_.empty()) {
      send_vectors_.push_back(std::make_unique<SendVector>());
      free_send_vectors_.push_back(send_vectors_.back().get());
    }
    connection.sending = free_send_vectors_.back();
    free_send_vectors_.pop_back();
    const size_t count =
        connection.output.fill_iovec(connection.sending->entries, SendVector::kEntries);
    Action& action = act(Action::Kind::kSend, connection);
    action.iov = connection.sending->entries;
    action.iov_count = static_cast<uint32_t>(count);
    if (connection.side == Connection::Side::kUpstream) action.pod_id = pod_served_by(connection);
    size_t offered = 0;
    for (size_t i = 0; i < count; ++i) offered += action.iov[i].iov_len;
    connection.offered_bytes += offered;
    action.may_be_told_late = !keeps_nothing_alive() && offered == connection.output.size_bytes() &&
                              offered < limits_.buffer_bytes / 4 && awaits_nothing(connection);
    connection.quiet_bytes = action.may_be_told_late ? static_cast<uint32_t>(offered) : 0;
    return;
  }
  if (connection.shutdown_wanted && !connection.shutdown_sent) {
    connection.shutdown_sent = true;
    act(Action::Kind::kShutdownWrite, connection);
  }
}

// Something waits by now for the end of a send that may be told late.
void Core::note_hurry(const Connection& connection) {
  if (connection.sending == nullptr || connection.quiet_bytes == 0) return;
  const bool is_followed = connection.output.size_bytes() > connection.quiet_bytes;
  if (is_followed || !awaits_nothing(connection)) hurries_ = true;
}

bool Core::has_room(const Connection& connection) {
  const bool has = connection.output.charged_bytes() < limits_.buffer_bytes;
  // Who asks waits for it now, also for a send that is about to be begun in this step.
  if (!has) hurries_ = true;
  return has;
}

// Pauses a source whose bytes have nowhere to go; goes on at half, so that it does not flutter.
void Core::update_receive(Connection& connection) {
  if (connection.peer_finished || connection.failed ||
      (connection.state() == ConnectionState::kOpening &&
       connection.side == Connection::Side::kUpstream)) {
    return;
  }
  size_t held = connection.input.charged_bytes();
  if (Exchange* exchange = find(connection.exchange)) {
    const bool down = connection.side == Connection::Side::kDownstream;
    if (down) held += exchange->backlog_bytes();
    const Connection* other = find(down ? exchange->upstream() : exchange->downstream());
    if (other != nullptr) held += other->output.charged_bytes();
  }
  const size_t limit = connection.receiving ? limits_.buffer_bytes : limits_.buffer_bytes / 2;
  const bool want = held < limit;
  if (!want) hurries_ = true;  // sends that are told late may be what it waits for
  if (want == connection.receiving) return;
  connection.receiving = want;
  act(want ? Action::Kind::kReceive : Action::Kind::kPauseReceive, connection);
}

void Core::update_downstream_timer(Connection& connection) {
  if (connection.side != Connection::Side::kDownstream ||
      connection.state() != ConnectionState::kOpen) {
    return;
  }
  if (connection.exchange) {
    disarm(connection);
  } else if (connection.in_head) {
    // Set once per head: slow bytes do not extend it.
    if (connection.timer_purpose != ConnectionTimer::kHead) {
      arm(connection, ConnectionTimer::kHead, limits_.header_timeout);
    }
  } else if (connection.has_output()) {
    arm_flush(connection);
  } else if (connection.timer_purpose != ConnectionTimer::kIdle) {
    arm(connection, ConnectionTimer::kIdle,
        keeps_nothing_alive() ? limits_.drain_wait : limits_.connection_idle_timeout);
  }
}

void Core::arm(Connection& connection, ConnectionTimer purpose, Duration after) {
  connection.timer_purpose = purpose;
  connection.timer.slot = connection.slab_slot_;
  connection.timer.owner = Timer::Owner::kConnection;
  if (after <= Duration::zero()) {  // switched off
    timers_.disarm(connection.timer);
    return;
  }
  timers_.arm(connection.timer, now_ + after);
}

// A peer that does not take what it is owed holds memory: not for ever. sent() begins it anew.
void Core::arm_flush(Connection& connection) {
  if (connection.timer_purpose == ConnectionTimer::kFlush) return;
  arm(connection, ConnectionTimer::kFlush, limits_.flush_timeout);
}

void Core::disarm(Connection& connection) {
  connection.timer_purpose = ConnectionTimer::kNone;
  timers_.disarm(connection.timer);
}

// ---- services --------------------------------------------------------------------------------

void Core::send(Connection& connection, http::StreamCommand&& command) {
  if (connection.is_closed() || connection.failed) return;
  if (connection.codec != nullptr) {
    connection.codec->on_command(std::move(command), connection.output);
  } else if (command.kind == http::StreamCommand::Kind::kData) {
    connection.output.append(std::move(command.data));
  }
  touch(connection);
}

void Core::close_after_flush(Connection& connection) {
  if (connection.is_closed()) return;
  if (connection.failed || connection.state() == ConnectionState::kOpening) {
    close(connection, true);
    return;
  }
  if (connection.state() == ConnectionState::kOpen) {
    connection.advance_to(ConnectionState::kDraining);
  }
  disarm(connection);
  touch(connection);
}

void Core::close(Connection& connection, bool abortive) {
  if (connection.is_closed()) return;
  connection.advance_to(ConnectionState::kClosed);
  disarm(connection);
  if (connection.waits()) {
    waiting_.remove(connection);
    --connection.pool->waiting;
  } else {
    Action& action = act(Action::Kind::kClose, connection);
    action.abortive = abortive;
    if (connection.sending != nullptr) action.keep_alive = take_remains(connection, send_vectors_);
    ++freed_places_;
  }
  if (connection.side == Connection::Side::kDownstream) {
    --open_downstream_;
    ++counters_->downstream_cx_destroy;
    FlowUpdate(*connection.record, now_)->state = kFlowClosed;
  } else {
    Pool& pool = *connection.pool;
    if (connection.asks) {
      --pool.asking;
    } else {
      ++counters_->upstream_cx_destroy;
      ++pool.stats->upstream_cx_destroy;
    }
    if (connection.pool_link.linked) {
      if (connection.connecting) {
        pool.connecting.remove(connection);
      } else {
        take_idle(pool, connection);
      }
    }
    if (connection.group != nullptr && !connection.asks) {
      connection.group->shared->connection_closed();
    }
    end_admission(connection);
    --pool.connections;
    ++pool.leaving;
    touch(pool);
  }
  closed_.push_back(&connection);
}

SnapshotPin* Core::pin_snapshot() {
  if (pins_.empty()) return nullptr;
  ++pins_.back()->references;
  return pins_.back().get();
}

SnapshotPin* Core::pin_again(SnapshotPin* pin) {
  ++pin->references;
  return pin;
}

bool Core::is_latest(const SnapshotPin* pin) const {
  return pin == nullptr || pin == pins_.back().get();
}

void Core::unpin(SnapshotPin* pin) {
  if (pin == nullptr || --pin->references > 0 || pin == pins_.back().get()) return;
  std::erase_if(pins_, [&](const auto& entry) { return entry.get() == pin; });
}

void Core::start_mirror(const Exchange& original, const policy::Cluster& cluster) {
  ++active_mirrors_;
  Exchange& mirror = exchanges_.take();
  mirror.begin_mirror(*this, original, cluster);
}

void Core::retire(Exchange& exchange) {
  finished_.push_back(&exchange);
}

bool Core::take_retry_share(ShardGroup* group, bool has_own_budget) {
  const size_t budget = std::max<size_t>(limits_.retry_budget_minimum,
                                         active_requests_ * limits_.retry_budget_percent / 100);
  if (!has_own_budget && active_retries_ >= budget) return false;
  if (group != nullptr && !group->shared->begin_retry()) return false;
  ++active_retries_;
  return true;
}

void Core::give_back(RetryShare& share) {
  if (!share.is_held) return;
  --active_retries_;
  if (share.group != nullptr) share.group->shared->end_retry();
  if (share.shadow != nullptr) share.shadow->end_retry();
  share = {};
}

namespace {

// A request of which nothing is known but who sent it.
class UnparsedSource final : public ReportSource {
 public:
  UnparsedSource(const Accepted& accepted, EndReason reason)
      : accepted_(accepted), reason_(reason) {}
  void describe(RequestTexts& texts) const override {
    texts.flags = flag_of(reason_);
    texts.details = details_of(reason_);
    texts.client = accepted_.peer;
    texts.dialled = accepted_.local;
  }

 private:
  const Accepted& accepted_;
  EndReason reason_;
};

}  // namespace

void Core::report_unparsed(const Connection& connection, uint16_t status, size_t body_bytes,
                           EndReason reason) {
  if (observer_ == nullptr) return;
  RequestReport report;
  report.started = report.ended = now_;
  report.status = status;
  report.reason = static_cast<uint8_t>(reason);
  report.outcome = RequestReport::Outcome::kRefused;
  report.gateway = !connection.accepted.captured;
  report.response_bytes = body_bytes;
  observer_->on_ended(report, UnparsedSource(connection.accepted, reason));
}

void Core::refuse_unparsed(Connection& connection, http::StreamId stream, uint16_t status,
                           std::string_view body, EndReason reason) {
  EngineCounters& c = *counters_;
  ++c.downstream_rq_started;
  ++c.downstream_rq_refused;
  ++ended_counter(c, reason);
  {
    FlowUpdate flow(*connection.record, now_);
    ++flow->started;
    ++flow->refused;
    count_status(c, *connection.record, status);
  }
  report_unparsed(connection, status, body.size(), reason);
  const Field fields[] = {{"content-type", "text/plain"}, {"server", "nodeproxy"}};
  http::Head head;
  head.status = status;
  head.body = http::BodyKind::kLength;
  head.content_length = body.size();
  head.has_content_length = true;
  head.fields = fields;
  http::StreamCommand command;
  command.kind = http::StreamCommand::Kind::kHead;
  command.stream = stream;
  command.head = &head;
  command.close_after = true;
  command.end_of_message = body.empty();
  send(connection, std::move(command));
  if (!body.empty()) {
    http::StreamCommand data;
    data.kind = http::StreamCommand::Kind::kData;
    data.stream = stream;
    data.data.bytes = body;
    data.end_of_message = true;
    send(connection, std::move(data));
  }
  connection.linger = true;
  connection.in_head = false;
  connection.input.clear();
  close_after_flush(connection);
}

}  // namespace np::proxy
