// SPDX-License-Identifier: Apache-2.0
#include "shard/shard.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "base/life_page.h"
#include "base/log.h"

namespace np::shard {
namespace {

constexpr size_t kInboxCapacity = 4096;
constexpr size_t kReapBatch = 256;
// What the kernel turns into completions per entry while more is ready (IO_LOCAL_TW_DEFAULT_MAX
// since Linux 6.13, before that all of it), and how often one iteration asks for more.
constexpr size_t kKernelBatch = 16;
constexpr int kGatherRounds = 64;
// New connections that one iteration takes in: few while others have work, who must not wait for a
// pod that opens thousands.
constexpr size_t kAcceptsWhenBusy = 4;
constexpr size_t kAcceptsWhenIdle = 64;
// Bounds the age of the heartbeat (100 ms at most) and of everything checked by tick(). A wait
// without an end is known to have been too long by the tick that it missed: where a small lag is to
// be noticed, ticks are a quarter of it.
constexpr Duration kTick = std::chrono::milliseconds(40), kTickMin = std::chrono::milliseconds(5);
constexpr int kTicksPerLag = 4;
// How late the engine is told of a send that nothing waits for, if nothing else happens: by a shard
// that works all the time with its next tick, since a short wait costs more than what it tells.
constexpr Duration kQuietMax = std::chrono::milliseconds(1);
constexpr Duration kSlowIteration = std::chrono::milliseconds(100);
// While memory is short: how often the pages of idle receive buffers are given back. What waits in
// them is copied when its turn comes: from kRefuse on their pages must make room for that.
constexpr Duration kGiveBackEvery = std::chrono::seconds(1);
constexpr Duration kGiveBackEveryAtRefuse = std::chrono::milliseconds(50);
constexpr Duration kWarningInterval = std::chrono::seconds(10);

Duration tick_for(Duration lag) {
  if (lag <= Duration::zero()) return kTick;
  return std::clamp(lag / kTicksPerLag, kTickMin, kTick);
}

proxy::EngineConfig engine_config(const ShardOptions& options, bool can_borrow) {
  proxy::EngineConfig config;
  config.seed = options.seed;
  config.loop_token = options.loop_token;
  config.limits = options.engine_limits;
  config.counters = options.engine_counters;
  config.node = options.node;
  config.shard = options.index;
  config.can_borrow = can_borrow;
  config.quota_windows = options.quota_windows;
  config.observer = options.observer;
  config.tracing = options.tracing;
  return config;
}

}  // namespace

Result<std::unique_ptr<Shard>> Shard::create(ShardOptions options, Peers& peers) {
  NP_TRY_ASSIGN(std::unique_ptr<uring::Ring> ring, uring::Ring::create(options.ring));
  NP_TRY_ASSIGN(std::unique_ptr<uring::BufferRing> buffers,
                uring::BufferRing::create(*ring, options.buffers));
  NP_TRY(ring->seal());
  if (!ring->features().fixed_files) options.sockets_max = options.sockets_max_as_descriptors;
  NP_TRY_ASSIGN(uring::Waker waker, uring::Waker::create());
  return std::unique_ptr<Shard>(
      new Shard(options, peers, std::move(buffers), std::move(ring), std::move(waker)));
}

Shard::Shard(const ShardOptions& options, Peers& peers, std::unique_ptr<uring::BufferRing> buffers,
             std::unique_ptr<uring::Ring> ring, uring::Waker waker)
    : options_(options),
      tick_(tick_for(options.overload_lag)),
      peers_(peers),
      inbox_(std::move(waker), kInboxCapacity),
      records_(options.records),
      buffers_(std::move(buffers)),
      engine_(engine_config(options, peers.status.size() > 1 && ring->features().can_hand_on())),
      ring_(std::move(ring)),
      transport_({options.index, options.sockets_max, options.close_flush_max, options.balance},
                 {*ring_, *buffers_, small_buffers_, engine_, records_, peers, options.pod_sockets,
                  *options.counters, peers.pod_use[options.index]}),
      acceptor_({options.index, options.sockets_max / 2}, *ring_, transport_, peers,
                *options.counters),
      balance_(options.balance),
      standings_(peers.status.size()),
      lag_gate_(options.overload_lag) {
  count(options_.counters->lost_requests, records_.lost_requests());
}

// First the ring: the kernel then holds no address of anything that goes after it.
Shard::~Shard() {
  ring_.reset();
}

void Shard::run(std::promise<Result<void>> enabled) {
  (void)::pthread_setname_np(::pthread_self(),
                             ("np-shard-" + std::to_string(options_.index)).c_str());
  Result<void> result = ring_->enable();
  const bool usable = result.has_value();
  if (usable) {
    arm_wake();
    arm_ticks();
    now_ = monotonic_now();
    transport_.set_now(now_);
    show_life();
    busy_meter_.begin(now_);
    const bool can_balance = transport_.can_move_clients() && standings_.size() > 1;
    if (can_balance) next_window_ = now_ + options_.balance.window;
  }
  enabled.set_value(std::move(result));
  while (usable && !stopping_) iterate();
  if (options_.progress_ns != nullptr) write_word(*options_.progress_ns, 0);  // not hung: ended
}

void Shard::iterate() {
  if (buffers_->maintain()) count(options_.counters->buffer_grown);
  transport_.rearm_starved();
  transport_.resume_held();
  peers_.status[options_.index].open.store(
      static_cast<uint32_t>(engine_.open_downstream()) + transport_.detached(),
      std::memory_order_relaxed);

  wait_for_work();
  gather();
  transport_.settle_quiet();
  serve_accepts(transport_.has_work() ? kAcceptsWhenBusy : kAcceptsWhenIdle);
  transport_.serve();
  if (woken_) read_inbox();
  if (now_ >= engine_.next_deadline()) transport_.on_time();
  follow_memory();
  transport_.report_deferred();
  transport_.follow_moves();
  transport_.follow_loans();
  if (now_ >= next_window_) balance();
  if (is_tick_due_ || (!ring_ticks_ && now_ >= next_tick_)) tick();
}

void Shard::wait_for_work() {
  const Instant end = monotonic_now();
  watch(end);
  const Duration wait = time_to_wait(end);
  const int errno_value = ring_->submit_and_wait(wait);
  if (ring_->queued() == 0) transport_.on_submitted();
  now_ = monotonic_now();
  is_calm_ = now_ - end >= kQuietMax;
  // A wait without an end should have ended with the tick, whether that has been reaped or not.
  const Instant until = wait == uring::Ring::kForever ? std::max(next_tick_, end) : end + wait;
  woken_late_ = std::max(now_ - until, Duration::zero());
  transport_.set_now(now_);
  show_life();
  if (errno_value != 0 && now_ >= next_warning_) {
    next_warning_ = now_ + kWarningInterval;
    log_error(system_error(errno_value, "wait on the ring").to_string());
  }
}

// The engine's clock is read once per iteration, after the wait. This second reading, before it,
// is the driver's own: it tells work from waiting, and makes the wait end when it should.
void Shard::watch(Instant end) {
  ShardCounters& counters = *options_.counters;
  count(counters.iterations);
  const Duration took = end - now_;
  watch_lag(took, end);
  if (took <= kSlowIteration) return;
  count(counters.slow_iterations);
  const auto took_ns = static_cast<uint64_t>(took.count());
  if (took_ns > read_counter(counters.slowest_iteration_ns)) {
    count(counters.slowest_iteration_ns, took_ns - counters.slowest_iteration_ns);
  }
  if (end < next_warning_) return;
  next_warning_ = end + kWarningInterval;
  constexpr int64_t kNsPerMs = 1'000'000;
  log_warn("shard " + std::to_string(options_.index) + ": one loop iteration took " +
           std::to_string(took.count() / kNsPerMs) + " ms");
}

void Shard::watch_lag(Duration took, Instant end) {
  if (!lag_gate_.on_iteration(took, woken_late_, end)) return;
  const bool is_late = lag_gate_.is_late();
  peers_.status[options_.index].late.store(is_late, std::memory_order_relaxed);
  constexpr int64_t kNsPerMs = 1'000'000;
  const std::string text = "shard " + std::to_string(options_.index) + ": loop lag " +
                           std::to_string(lag_gate_.lag().count() / kNsPerMs) +
                           " ms, --overload-lag is " +
                           std::to_string(options_.overload_lag.count() / kNsPerMs) + " ms: ";
  if (!is_late) return log_info(text + "it takes new connections again");
  count(options_.counters->late_begun);
  log_warn(text + "it gets no new connections; when all shards are late they are refused");
}

Duration Shard::time_to_wait(Instant now) {
  const bool hurries = engine_.take_hurry() || transport_.is_leaving();
  if (hurries && transport_.has_quiet()) return Duration::zero();
  if (transport_.has_deferred() || transport_.has_work() || !accepts_.empty() || woken_)
    return Duration::zero();
  Instant until = std::min(engine_.next_deadline(), transport_.next_loan_deadline());
  if (transport_.has_quiet() && is_calm_) until = std::min(until, now + kQuietMax);
  // The ring's own timer ends the wait before that.
  if (ring_ticks_ && until >= now + tick_) return uring::Ring::kForever;
  if (!ring_ticks_) until = std::min(until, next_tick_);
  return until > now ? until - now : Duration::zero();
}

void Shard::show_life() {
  peers_.status[options_.index].progress_ns.store(to_ns(now_), std::memory_order_relaxed);
  if (options_.progress_ns != nullptr) write_word(*options_.progress_ns, to_ns(now_));
  if (options_.heartbeat_ns == nullptr) return;
  // The oldest sign of life of all shards, so that one hung shard makes the heartbeat stale.
  const uint64_t oldest = peers_.oldest_progress_ns();
  if (oldest == 0) return;
  std::atomic_ref<uint64_t>(*options_.heartbeat_ns).store(oldest, std::memory_order_relaxed);
}

// Everything that is ready has to be known before turns are given: the kernel's own line is first
// come, first served, and a pod with thousands of connections would fill it.
void Shard::gather() {
  size_t taken = reap();
  for (int round = 0; taken >= kKernelBatch && round < kGatherRounds; ++round) {
    if (buffers_->maintain()) count(options_.counters->buffer_grown);
    (void)ring_->submit_and_wait(Duration::zero());
    if (ring_->queued() == 0) transport_.on_submitted();
    taken = reap();
  }
}

void Shard::serve_accepts(size_t most) {
  const size_t end = std::min(accepts_.size(), accepts_begin_ + most);
  while (accepts_begin_ < end && transport_.make_place()) {
    acceptor_.on_completion(accepts_[accepts_begin_++], now_);
  }
  if (accepts_begin_ < accepts_.size()) return;
  accepts_.clear();
  accepts_begin_ = 0;
}

size_t Shard::reap() {
  std::array<uring::Completion, kReapBatch> batch;
  size_t taken = 0, total = 0;
  do {
    taken = ring_->reap(batch);
    total += taken;
    for (size_t i = 0; i < taken; ++i) dispatch(batch[i]);
  } while (taken == batch.size());
  return total;
}

void Shard::dispatch(const uring::Completion& completion) {
  switch (static_cast<Op>(uring::UserData::unpack(completion.user_data).kind)) {
    case Op::kAccept:
    case Op::kAcceptCancel:
      accepts_.push_back(completion);
      break;
    case Op::kWake:
      woken_ = true;
      break;
    case Op::kTick:
      on_tick(completion);
      break;
    default:
      transport_.on_completion(completion);
      break;
  }
}

void Shard::arm_wake() {
  ring_->read(inbox_.waker().fd(), &wake_value_, sizeof wake_value_,
              uring::UserData{0, 1, static_cast<uint8_t>(Op::kWake)}.pack());
}

void Shard::arm_ticks() {
  ring_->repeat_timer(tick_, uring::UserData{0, 1, static_cast<uint8_t>(Op::kTick)}.pack());
}

// A timer that is set once serves all waits: one of each wait's own, the next of its CPU, is
// written to the hardware when the wait begins and again when it ends.
void Shard::on_tick(const uring::Completion& completion) {
  is_tick_due_ = true;
  ring_ticks_ = completion.has_more();
  constexpr int32_t kExpired = -ETIME;  // it ended because its completion found no room
  if (!ring_ticks_ && completion.result == kExpired) arm_ticks();
}

void Shard::read_inbox() {
  woken_ = false;
  // Before looking: what is pushed after this wakes again.
  inbox_.waker().acknowledge();
  while (auto message = inbox_.try_pop()) handle(*message);
  transport_.on_wake();  // another shard may have woken us for its own reasons
  arm_wake();
}

void Shard::handle(ShardMessage& message) {
  if (auto* adopt = std::get_if<AdoptConnection>(&message)) {
    (void)transport_.make_place();  // cannot wait here: the message is at hand
    transport_.adopt(std::move(*adopt));
  } else if (auto* returned = std::get_if<ReturnRecord>(&message)) {
    records_.take_back(returned->record);
  } else if (auto* add = std::get_if<AddListener>(&message)) {
    acceptor_.add(*add);
  } else if (auto* remove = std::get_if<RemoveListener>(&message)) {
    acceptor_.remove(*remove);
  } else if (auto* set = std::get_if<SetSnapshot>(&message)) {
    transport_.set_snapshot(std::move(set->snapshot));
    if (set->ack != nullptr) set->ack->done();
  } else if (auto* ready = std::get_if<PodSocketReady>(&message)) {
    transport_.on_pod_socket(std::move(*ready));
  } else if (auto* ask = std::get_if<AskForIdle>(&message)) {
    transport_.lend(*ask);
  } else if (auto* loan = std::get_if<LentSocket>(&message)) {
    transport_.take_loan(std::move(*loan));
  } else if (std::holds_alternative<StartDrain>(message)) {
    serve_accepts(accepts_.size());  // they came before it
    acceptor_.stop();
    peers_.status[options_.index].drains.store(true, std::memory_order_relaxed);
    next_window_ = kNever;
    transport_.drain();
    std::get<StartDrain>(message).ack->done();
  } else if (std::holds_alternative<Stop>(message)) {
    stopping_ = true;
  }
}

void Shard::follow_memory() {
  if (options_.memory == nullptr) return;
  const MemoryPressure found = options_.memory->read();
  const bool has_changed = found.stage != memory_.stage;
  const bool asks = found.stage > MemoryStage::kNormal && found.look != memory_.look;
  memory_ = found;
  if (!has_changed && !asks) return;
  transport_.relieve(found);
  acceptor_.check_gate(found.stage, now_);
  if (found.stage == MemoryStage::kNormal || (!has_changed && now_ < next_give_back_)) return;
  next_give_back_ =
      now_ + (found.stage >= MemoryStage::kRefuse ? kGiveBackEveryAtRefuse : kGiveBackEvery);
  // The kernel fills buffers only inside of a wait then, and all that it has filled is reaped.
  if (!ring_->features().defer_taskrun || ring_->has_overflow()) return;
  (void)reap();
  count(options_.counters->buffer_bytes_given_back, buffers_->give_back_idle());
}

void Shard::balance() {
  next_window_ = now_ + options_.balance.window;
  const uint32_t own = options_.index;
  ShardStatus& status = peers_.status[own];
  const uint32_t busy = busy_meter_.measure(now_);
  // What came during the window is only partly in it: a shard must not look empty to a second one.
  const uint32_t promised = status.promised.exchange(0, std::memory_order_relaxed);
  status.busy.store(busy + promised, std::memory_order_relaxed);
  // Clients get at most half of the sockets; the last quarter of that is for who connects.
  const uint32_t load_max = options_.sockets_max / 2 - options_.sockets_max / 8;
  for (uint32_t i = 0; i < standings_.size(); ++i) {
    const ShardStatus& other = peers_.status[i];
    standings_[i].busy =
        other.busy.load(std::memory_order_relaxed) + other.promised.load(std::memory_order_relaxed);
    standings_[i].takes = peers_.takes_clients(i, load_max, to_ns(now_));
  }
  standings_[own].busy = busy;
  if (transport_.end_window(busy, balance_.on_window(own, standings_))) balance_.on_moves();
}

void Shard::tick() {
  is_tick_due_ = false;
  next_tick_ = now_ + tick_;
  transport_.check_deadlines();
  transport_.place_arrivals();
  transport_.show_held(thread_cpu_ns());
  acceptor_.check_gate(memory_.stage, now_);
  if (options_.index == 0) peers_.settle_overload();
}

}  // namespace np::shard
