// SPDX-License-Identifier: Apache-2.0
// Transport: client connections that go to another shard, and those that come from one.
//
// A move begins while the answer to the only request is under way, or after it: nothing is received
// any more. What the client sends from then on stays in the socket and is received by the other
// shard, in its order. Bytes that were received before the receive had ended are served here, and
// the move is off. Between two requests the socket is given a descriptor, which travels.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "shard/transport.h"

namespace np::shard {
namespace {

// Clients of one window that are candidates; with more of them, these are enough.
constexpr size_t kActiveMax = 1024;
// How often a client that was not at rest in the end is tried again in its window.
constexpr uint32_t kTriesPerMove = 8;

}  // namespace

bool Transport::can_move_clients() const {
  return options_.balance.is_on && env_.ring.features().can_hand_on();
}

void Transport::note_work(uint32_t slot, uint32_t units) {
  Socket& socket = sockets_.at(slot);
  if (!socket.downstream || env_.peers.status.size() == 1) return;
  client_units_ += units;
  if (socket.window != window_) {
    const auto ahead = static_cast<uint16_t>(socket.window - window_);
    if (ahead <= options_.balance.stays_windows) return;
    socket.window = window_;
    socket.units = 0;
    if (active_.size() < kActiveMax) active_.push_back({slot, sockets_.generation(slot)});
  }
  socket.units += units;
}

bool Transport::end_window(uint32_t busy, const std::optional<Balance::Plan>& plan) {
  const bool begins = plan.has_value() && moves_.empty() && begin_moves(busy, *plan);
  active_.clear();
  client_units_ = 0;
  ++window_;
  return begins;
}

bool Transport::begin_moves(uint32_t busy, const Balance::Plan& plan) {
  shares_.assign(active_.size(), 0);
  for (size_t i = 0; i < active_.size(); ++i) {
    const Socket* socket = sockets_.find(active_[i].slot, active_[i].generation);
    if (socket == nullptr || socket->stage != Stage::kAttached) continue;
    if (env_.engine.rest_of(socket->connection) == proxy::ClientRest::kNever) continue;
    shares_[i] = static_cast<uint32_t>(uint64_t{busy} * socket->units / client_units_);
  }
  uint32_t gap = plan.gap, promised = 0;
  while (moves_.size() < options_.balance.moves_per_window &&
         gap >= options_.balance.gap_min_permille) {
    const std::optional<size_t> next = Balance::next(gap, shares_);
    if (!next) break;
    const uint32_t share = std::exchange(shares_[*next], 0);
    moves_.push_back({active_[*next], plan.target, kTriesPerMove, now_ + options_.balance.window});
    promised += share;
    if (2 * share >= gap) break;
    gap -= 2 * share;
  }
  env_.peers.status[plan.target].promised.fetch_add(promised, std::memory_order_relaxed);
  return !moves_.empty();
}

void Transport::follow_moves() {
  is_leaving_ = false;
  for (size_t i = 0; i < moves_.size();) {
    if (follow(moves_[i])) {
      ++i;
    } else {
      moves_.erase(moves_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

// False: it has ended, one way or the other.
bool Transport::follow(ClientMove& move) {
  const uint32_t slot = move.life.slot;
  Socket* socket = sockets_.find(slot, move.life.generation);
  if (socket == nullptr || socket->stage != Stage::kAttached) return false;
  if (socket->exporting) return true;
  const proxy::ClientRest rest = env_.engine.rest_of(socket->connection);
  const bool is_late = now_ >= move.give_up || rest == proxy::ClientRest::kNever;
  if (!socket->leaving) {
    if (is_late || move.tries == 0) return false;
    const bool can_begin = rest >= proxy::ClientRest::kSoon && socket->waiting_pieces == 0 &&
                           socket->receive == Receive::kArmed && !socket->read_ended;
    if (!can_begin) return true;
    --move.tries;
    hold(slot);
    return true;
  }
  if (is_late || rest == proxy::ClientRest::kNo) {
    count(env_.counters.moves_off);
    stay(slot);
    return !is_late;
  }
  // The receive, its cancellation and the last send have ended, nothing waits in line.
  if (rest != proxy::ClientRest::kNow || socket->in_flight > 0) {
    is_leaving_ = is_leaving_ || socket->send_quiet;
    return true;
  }
  if (socket->file.fixed) {
    export_file(slot);
    return true;
  }
  depart(slot, Fd(std::exchange(socket->file, {}).number), move.target);
  return false;
}

// From now on the client's bytes stay in its socket.
void Transport::hold(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.leaving = true;
  cancel_receive(slot);
  if (!socket.watched) return;
  env_.ring.cancel(tag(slot, Op::kWatch), tag(slot, Op::kCancel));
  ++socket.in_flight;
}

void Transport::stay(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  socket.leaving = false;
  if (socket.receive_wanted) start_receive(slot);  // or when its cancellation has ended
}

void Transport::export_file(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  env_.ring.export_file(slot, tag(slot, Op::kExport));
  ++socket.in_flight;
  socket.exporting = true;
}

void Transport::on_exported(uint32_t slot, int32_t result) {
  Fd fd(result >= 0 ? result : -1);
  Socket& socket = sockets_.at(slot);
  socket.exporting = false;
  if (socket.stage != Stage::kAttached) return;  // closed meanwhile
  const SlotLife life{slot, sockets_.generation(slot)};
  const auto lending = std::find_if(lendings_.begin(), lendings_.end(),
                                    [&](const Lending& one) { return one.life == life; });
  if (lending != lendings_.end()) {
    const Lending found = *lending;
    lendings_.erase(lending);
    return hand_over(found, std::move(fd));
  }
  const auto move = std::find_if(moves_.begin(), moves_.end(),
                                 [&](const ClientMove& one) { return one.life == life; });
  if (move == moves_.end()) return;
  const ClientMove found = *move;
  moves_.erase(move);
  if (fd.is_open() && env_.engine.rest_of(socket.connection) == proxy::ClientRest::kNow) {
    return depart(slot, std::move(fd), found.target);
  }
  count(env_.counters.moves_off);
  stay(slot);
}

// The client is at rest, and nothing of it is under way in this ring.
void Transport::depart(uint32_t slot, Fd fd, uint32_t target) {
  Socket& socket = sockets_.at(slot);
  AdoptConnection message;
  message.fd = std::move(fd);
  message.is_continued = true;
  message.record = std::exchange(socket.record, nullptr);
  proxy::Accepted accepted;
  NP_CHECK(env_.engine.forget(socket.connection, &accepted, now_, actions_));
  message.captured = accepted.captured;
  message.peer = accepted.peer;
  message.local = accepted.local;
  let_go(slot);
  perform();
  env_.peers.status[target].load.fetch_add(1, std::memory_order_relaxed);
  ShardMessage letter(std::move(message));
  if (env_.peers.inboxes[target]->try_push(std::move(letter))) {
    count(env_.counters.moved_away);
    env_.peers.status[options_.shard].load.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  env_.peers.status[target].load.fetch_sub(1, std::memory_order_relaxed);
  // NOLINTNEXTLINE(bugprone-use-after-move): it is moved from only when the push succeeds
  adopt(std::get<AdoptConnection>(std::move(letter)));
}

// The engine knows the connection no longer, and its descriptor is in other hands.
void Transport::let_go(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  by_connection_[socket.connection.slot] = kNoSlot;
  ++detached_;
  ++closing_;
  socket.stage = Stage::kClosing;
  if (socket.file.fixed) {
    env_.ring.close_file(slot, tag(slot, Op::kCloseFile));
    ++socket.in_flight;
  }
  socket.file = {};
  release_if_done(slot);
}

void Transport::give_back_record(FlowRecord* record) {
  const uint32_t owner = env_.peers.owner_of(record);
  if (owner == options_.shard) return env_.records.release(record, now_);
  FlowSlots::close(*record, now_);
  if (!try_return(record)) returning_.push_back(record);
}

bool Transport::try_return(FlowRecord* record) {
  ShardMessage letter;
  letter.emplace<ReturnRecord>().record = record;
  return env_.peers.inboxes[env_.peers.owner_of(record)]->try_push(std::move(letter));
}

void Transport::place_arrivals() {
  for (AdoptConnection& arrival : std::exchange(arrivals_, {})) {
    (void)make_place();
    adopt(std::move(arrival));
  }
  std::erase_if(returning_, [this](FlowRecord* record) { return try_return(record); });
}

}  // namespace np::shard
