// SPDX-License-Identifier: Apache-2.0
// Transport: idle connections to endpoints that go to a shard which needs one, and those that come.
//
// Who asks has a slot for the socket already, without a file; it dials when it is told that there
// is none, and when nobody answers in time. Who is asked takes one from its engine, ends the
// receive, and gives its descriptor away. What the endpoint sends meanwhile, or its FIN, is either
// received here, and then the connection is not lent, or it stays in the socket for the other one.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "shard/transport.h"

namespace np::shard {
namespace {

// An answer takes some tens of microseconds. A shard that is held up for longer must not make a
// request wait that a connect would have served.
constexpr Duration kLoanPatience = std::chrono::milliseconds(5);

// What came on the way was said to nobody's request: it must not become the answer to the next one.
bool has_come(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

}  // namespace

// ---- who asks --------------------------------------------------------------------------------

void Transport::ask_lender(uint32_t slot, const proxy::ConnectTarget& target) {
  Socket& socket = sockets_.at(slot);
  const SlotLife life{slot, sockets_.generation(slot)};
  rare(socket).target = std::make_unique<proxy::ConnectTarget>(target);
  ++socket.in_flight;
  ShardMessage letter;
  letter.emplace<AskForIdle>() = {options_.shard, life, now_ + kLoanPatience, target};
  const bool is_late = env_.peers.status[target.lender].late.load(std::memory_order_relaxed);
  const bool is_sent = !is_late && env_.peers.inboxes[target.lender]->try_push(std::move(letter));
  const Instant give_up = is_sent ? now_ + kLoanPatience : now_;
  // The engine is in the middle of a step, so it hears of a refusal later in any case.
  if (is_sent) {
    asked_.push_back({life, give_up});
  } else {
    asked_.push_front({life, give_up});
  }
}

void Transport::take_loan(LentSocket loan) {
  const auto asked = std::find_if(asked_.begin(), asked_.end(),
                                  [&](const AskedLoan& one) { return one.life == loan.life; });
  const bool is_wanted =
      asked != asked_.end() && sockets_.at(asked->life.slot).stage == Stage::kAttached;
  if (loan.fd.is_open() && (!is_wanted || has_come(loan.fd.get()))) {
    env_.engine.closed_on_the_way(loan.lent);
    loan.fd.reset();
  }
  if (asked == asked_.end()) return;  // too late; the descriptor closes
  asked_.erase(asked);
  const uint32_t slot = loan.life.slot;
  Socket& socket = sockets_.at(slot);
  if (!loan.fd.is_open()) return dial_instead(slot);
  --socket.in_flight;
  install(slot, loan.fd.release());
  socket.opened = true;
  socket.rare.reset();
  count(env_.counters.borrowed);
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kOpened;
  event.lent = &loan.lent;
  deliver(slot, event);
  if (is_attached(slot, loan.life.generation) && socket.receive_wanted) start_receive(slot);
}

void Transport::dial_instead(uint32_t slot) {
  Socket& socket = sockets_.at(slot);
  --socket.in_flight;
  if (socket.stage != Stage::kAttached) return release_if_done(slot);
  count(env_.counters.not_lent);
  const std::unique_ptr<proxy::ConnectTarget> target = std::move(rare(socket).target);
  const uint32_t generation = sockets_.generation(slot);
  proxy::TransportEvent event;
  event.kind = proxy::TransportEvent::Kind::kNotLent;
  deliver(slot, event);
  if (is_attached(slot, generation)) dial(slot, *target);
}

void Transport::follow_loans() {
  while (!asked_.empty() && now_ >= asked_.front().give_up) {
    const SlotLife life = asked_.front().life;
    asked_.pop_front();
    dial_instead(life.slot);
  }
  for (size_t i = 0; i < lendings_.size();) {
    if (follow(lendings_[i])) {
      ++i;
    } else {
      lendings_.erase(lendings_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

// ---- who is asked ----------------------------------------------------------------------------

void Transport::lend(const AskForIdle& ask) {
  if (now_ >= ask.give_up) return;  // this shard was held up
  const Lending lending{{}, ask.shard, ask.life};
  const auto connection = env_.engine.lend(ask.target, now_, actions_);
  perform();
  const uint32_t slot = connection ? slot_of(*connection) : kNoSlot;
  if (slot == kNoSlot) return (void)answer(lending, Fd(), {});
  lendings_.push_back({{slot, sockets_.generation(slot)}, ask.shard, ask.life});
  Socket& socket = sockets_.at(slot);
  socket.leaving = true;
  if (socket.receive == Receive::kArmed) cancel_receive(slot);
}

// False: it has ended, one way or the other.
bool Transport::follow(Lending& lending) {
  Socket* socket = sockets_.find(lending.life.slot, lending.life.generation);
  if (socket == nullptr || socket->stage != Stage::kAttached) {
    (void)answer(lending, Fd(), {});
    return false;
  }
  if (socket->exporting || socket->in_flight > 0 || socket->waiting_pieces > 0) return true;
  if (socket->file.fixed) {
    export_file(lending.life.slot);
    return true;
  }
  hand_over(lending, Fd(std::exchange(socket->file, {}).number));
  return false;
}

void Transport::hand_over(const Lending& lending, Fd fd) {
  const uint32_t slot = lending.life.slot;
  proxy::Lent lent;
  const proxy::ConnectionId connection = sockets_.at(slot).connection;
  if (!fd.is_open() || !env_.engine.give_up(connection, &lent, now_, actions_)) {
    (void)answer(lending, Fd(), {});
    return fail(slot, ECONNABORTED);  // nobody has it any more
  }
  let_go(slot);
  perform();
  if (answer(lending, std::move(fd), lent)) return count(env_.counters.lent);
  env_.engine.closed_on_the_way(lent);
}

// A letter that finds no room is not sent again: who waits for it dials in a moment.
bool Transport::answer(const Lending& lending, Fd fd, const proxy::Lent& lent) {
  ShardMessage letter;
  LentSocket& loan = letter.emplace<LentSocket>();
  loan.life = lending.theirs;
  loan.fd = std::move(fd);
  loan.lent = lent;
  return env_.peers.inboxes[lending.target]->try_push(std::move(letter));
}

}  // namespace np::shard
