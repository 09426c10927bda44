// SPDX-License-Identifier: Apache-2.0
// Transport: the sockets of one shard. Carries out the engine's Actions as ring operations and
// turns completions into TransportEvents. Owns the table of sockets: a socket lives from accept or
// kConnect until it is closed AND every operation on it has completed, because the kernel owns the
// operation's memory until then. Called by its Shard, on the shard's thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/time.h"
#include "proxy/engine.h"
#include "shard/balance.h"
#include "shard/fair_queue.h"
#include "shard/flow_slots.h"
#include "shard/message.h"
#include "shard/op.h"
#include "shard/peers.h"
#include "shard/pod_sockets.h"
#include "shard/pod_use.h"
#include "shard/scratch.h"
#include "shard/shard_counters.h"
#include "shard/small_buffers.h"
#include "shard/socket.h"
#include "shard/steps.h"
#include "shard/work_meter.h"
#include "uring/buffer_ring.h"
#include "uring/ring.h"
#include "uring/slot_table.h"
#include "uring/user_data.h"

namespace np::shard {

struct TransportOptions {
  uint32_t shard = 0;
  uint32_t sockets_max = 0;
  Duration close_flush_max{};
  BalanceLimits balance;
};

class Transport {
 public:
  struct Environment {  // borrowed; all outlive the transport
    uring::Ring& ring;
    uring::BufferRing& buffers;
    SmallBuffers& small_buffers;
    proxy::Engine& engine;
    FlowSlots& records;
    Peers& peers;
    PodSocketThread* pod_sockets;  // null: no `source: pod`
    ShardCounters& counters;
    std::span<PodUse> pod_use;  // one for each line of the FairQueue
  };
  Transport(const TransportOptions& options, const Environment& environment);
  ~Transport();

  // The time of the present step; set once per loop iteration.
  void set_now(Instant now) { now_ = now; }

  // Before a client is taken in: sees to it that there is a place. False: one is being made, the
  // client should wait for it.
  bool make_place();
  // Takes over an accepted connection; its load was already booked on this shard.
  void adopt(AdoptConnection connection);
  // Receives and sends wait in line until serve().
  void on_completion(const uring::Completion& completion);
  // Acts on some of what waits, by turns; the rest stays for the next iteration.
  void serve();
  bool has_work() const { return !work_.is_empty(); }
  void on_pod_socket(PodSocketReady ready);

  // The engine's other entrances, with their actions carried out.
  void set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot);
  void on_time();
  void on_wake();
  void drain();
  void relieve(const MemoryPressure& pressure);

  void on_submitted();  // everything that was prepared so far
  // After that, when everything that had completed by then was reaped: sends that said nothing.
  void settle_quiet();
  bool has_quiet() const { return !quiet_.empty(); }
  // At the end of an iteration: tells the engine of failures found while carrying out actions.
  void report_deferred();
  bool has_deferred() const { return !deferred_.empty(); }
  // After buffers.maintain(): receives that found no buffer.
  void rearm_starved();
  // Receives that were held back, of pods that hold less now.
  void resume_held();
  // Once per tick: what is held of each pod, for readers. `cpu_ns`: the thread's CPU time so far.
  void show_held(uint64_t cpu_ns);
  // Gives up on peers that do not take the rest of what was sent before an orderly close.
  void check_deadlines();

  // ---- clients that another shard takes (transport_move.cc) ----
  bool can_move_clients() const;
  // A window of the balance has ended, in which this shard was `busy` permille of the time. True:
  // some of the clients that had work in it are going to move, as planned.
  bool end_window(uint32_t busy, const std::optional<Balance::Plan>& plan);
  // Once per iteration: takes each of them one step further, when it is at rest.
  void follow_moves();
  // ---- idle connections to endpoints, lent and borrowed (transport_lend.cc) ----
  void lend(const AskForIdle& ask);
  void take_loan(LentSocket loan);
  // Once per iteration.
  void follow_loans();
  // When that is to be called at the latest.
  Instant next_loan_deadline() const { return asked_.empty() ? kNever : asked_.front().give_up; }
  // A client from which nothing is received any more waits for its last send.
  bool is_leaving() const { return is_leaving_; }
  // Once per tick: clients that came and found no place, records that found no room in an inbox.
  void place_arrivals();

  uint32_t sockets() const { return sockets_.used(); }
  uint32_t detached() const { return detached_; }  // let go of by the engine, not closed yet
 private:
  using Stage = Socket::Stage;
  using Receive = Socket::Receive;
  using Rare = Socket::Rare;
  static constexpr uint32_t kNoSlot = uring::SlotTable<int>::kNoSlot;

  uint64_t tag(uint32_t slot, Op op) {
    return uring::UserData{slot, sockets_.generation(slot), static_cast<uint8_t>(op)}.pack();
  }
  // The socket slot of a connection, or kNoSlot when the engine has let go of it.
  uint32_t slot_of(proxy::ConnectionId connection);
  bool is_attached(uint32_t slot, uint32_t generation);

  uint32_t upstream_max() const;
  uint16_t line_of(uint32_t pod_id) const {
    static_assert(FairQueue::kLines <= UINT16_MAX);
    return static_cast<uint16_t>(env_.peers.places.place_of(pod_id));
  }

  // Actions.
  void perform();
  void perform(proxy::Action& action);
  void connect(const proxy::Action& action);
  void connect(proxy::ConnectionId connection, const proxy::ConnectTarget& target);
  void connect_waiting();
  void forget_waiting(proxy::ConnectionId connection);
  void dial(uint32_t slot, const proxy::ConnectTarget& target);
  void connect_from_node(uint32_t slot, const proxy::ConnectTarget& target);
  void submit_connect(uint32_t slot, const SocketAddress& remote);
  bool ask_for_pod_socket(uint32_t slot, const proxy::ConnectTarget& target);
  void start_receive(uint32_t slot);
  void receive_on(uint32_t slot);
  void pause_receive(uint32_t slot);
  void watch(uint32_t slot), watch_for_reset(uint32_t slot);
  void start_send(uint32_t slot, const iovec* parts, uint32_t count, bool is_quiet);
  void start_shutdown(uint32_t slot);
  void start_close(uint32_t slot, proxy::Action& action);

  // Shares of pods (transport_share.cc).
  void enqueue(uint32_t slot, const uring::Completion& completion);
  BufferRef take_received(uint32_t line, const uring::Completion& completion);
  bool holds_too_much(const Socket& socket) const;
  void hold_back(uint32_t line);
  void cancel_receive(uint32_t slot);
  void show_use(uint32_t line);
  void charge(uint32_t line, uint32_t units);

  // Moves.
  void note_work(uint32_t slot, uint32_t units);
  bool begin_moves(uint32_t busy, const Balance::Plan& plan);
  bool follow(ClientMove& move);
  void hold(uint32_t slot);
  void stay(uint32_t slot);
  void on_exported(uint32_t slot, int32_t result);
  void depart(uint32_t slot, Fd fd, uint32_t target);
  void let_go(uint32_t slot), export_file(uint32_t slot);
  void give_back_record(FlowRecord* record);
  bool try_return(FlowRecord* record);

  // Loans.
  void ask_lender(uint32_t slot, const proxy::ConnectTarget& target);
  void dial_instead(uint32_t slot);
  bool follow(Lending& lending);
  void hand_over(const Lending& lending, Fd fd);
  bool answer(const Lending& lending, Fd fd, const proxy::Lent& lent);

  // Completions.
  void act_on(const uring::Completion& completion, BufferRef buffer);
  void on_receive(uint32_t slot, const uring::Completion& completion, BufferRef buffer);
  void on_receive_error(uint32_t slot, int32_t result);
  void on_send(uint32_t slot, int32_t result);
  void on_nothing_taken(uint32_t slot);
  void on_flush_progress(uint32_t slot, int32_t result);
  void on_connect(uint32_t slot, int32_t result);
  void on_pod_writable(uint32_t slot, int32_t result);
  void on_watch(uint32_t slot, int32_t result);

  static Rare& rare(Socket& socket);
  void attach(proxy::ConnectionId connection, uint32_t slot);
  void install(uint32_t slot, int fd);
  void deliver(uint32_t slot, proxy::TransportEvent& event);
  void fail(uint32_t slot, int errno_value);
  void report_failure(uint32_t slot, int errno_value);
  void fail_later(proxy::ConnectionId connection, int errno_value);
  void detach(uint32_t slot);
  void close_now(uint32_t slot), cancel_all(uint32_t slot);
  void set_linger(uint32_t slot, bool reset_on_close);
  void release_if_done(uint32_t slot);

  const TransportOptions options_;
  Environment env_;
  Instant now_{};
  uring::SlotTable<Socket> sockets_;
  Scratch scratch_;
  std::vector<uint32_t> by_connection_;  // engine slot -> socket slot
  proxy::ActionList actions_;
  std::vector<Deferred> deferred_;
  std::deque<WaitingConnect> waiting_;
  std::vector<SlotLife> starved_;
  std::vector<SlotLife> ended_receives_;  // during serve(): to be started again, if still wanted
  FairQueue work_;
  WorkMeter meter_;
  uint32_t iteration_ = 0, latest_line_ = 0;  // the line that was served last
  // More is about to be served; whether the engine was told so and has not been called since.
  bool is_followed_ = false, is_unsettled_ = false;
  Instant shared_until_{};
  std::vector<SlotLife> held_;  // from held_begin_ on: first in, first out
  size_t held_begin_ = 0;
  std::vector<bool> is_over_;     // by line: its receives were held back, and not let go since
  uint16_t window_ = 0;           // of the balance
  uint64_t client_units_ = 0;     // work for clients in it
  std::vector<SlotLife> active_;  // some of those who had it
  std::vector<uint32_t> shares_;  // of these, while a plan is made
  std::vector<ClientMove> moves_;
  bool is_leaving_ = false;
  std::deque<AskedLoan> asked_;  // front: longest ago
  std::vector<Lending> lendings_;
  std::vector<AdoptConnection> arrivals_;
  std::vector<FlowRecord*> returning_;
  std::vector<SlotLife> flushing_;
  std::vector<SlotLife> quiet_;  // quiet sends; the kernel has had the first quiet_submitted_
  size_t quiet_submitted_ = 0;
  uint32_t detached_ = 0;
  uint32_t closing_ = 0;  // of these, the ones that only wait for operations to end
};

}  // namespace np::shard
