// SPDX-License-Identifier: Apache-2.0
// Transport: what keeps one pod from taking the shard's time or its receive buffers for itself.
#include <algorithm>
#include <utility>

#include "shard/transport.h"

namespace np::shard {
namespace {

// Work of one iteration, in the FairQueue's units. While several pods have work, little: whoever
// comes meanwhile waits for the rest of it. For one pod alone more, because each iteration enters
// the kernel, which is dearer the less it is given.
constexpr uint32_t kUnitsWhenShared = 4;
constexpr uint32_t kUnitsAlone = 64;
// A shard counts as shared for this long after two pods had work at the same time or in turn.
constexpr Duration kSharedFor = std::chrono::milliseconds(100);
// Buffers that each pod may hold, whatever the others do.
constexpr uint32_t kOwnBuffers = 16;
// Completions in a pod's line from which on short pieces are copied out of receive buffers.
constexpr uint32_t kLongLine = 32;
// Pieces of one connection that wait in line before its receive is stopped.
constexpr uint16_t kWaitingPieces = 4;
// Held receives that are looked at in one iteration.
constexpr size_t kResumesPerIteration = 64;

static_assert(FairQueue::kLines == uring::BufferRing::kHolders);

}  // namespace

void Transport::enqueue(uint32_t slot, const uring::Completion& completion) {
  Socket& socket = sockets_.at(slot);
  const uint32_t line = socket.line;
  FairQueue::Work work{completion, {}, iteration_, line};
  if (completion.has_buffer()) work.buffer = take_received(line, completion);
  const bool received = static_cast<bool>(work.buffer);
  work_.push(line, std::move(work));
  if (!received) return;
  // Nobody has looked at these yet, so nobody has had the chance to pause the sender.
  ++socket.waiting_pieces;
  if (socket.waiting_pieces >= kWaitingPieces && socket.receive == Receive::kArmed) {
    cancel_receive(slot);  // armed again when its turn has come
  }
  if (!is_over_[line] && holds_too_much(socket)) hold_back(line);
}

// Behind a long line a short piece is copied: it may wait for long, and a receive buffer is large.
BufferRef Transport::take_received(uint32_t line, const uring::Completion& completion) {
  BufferRef buffer = env_.buffers.take(completion, line);
  const auto size = static_cast<uint32_t>(std::max(completion.result, 0));
  if (work_.size_of(line) < kLongLine || size > SmallBuffers::kBytes) return buffer;
  BufferRef copy = env_.small_buffers.copy({buffer.get()->data, size}, line);
  return copy ? copy : buffer;
}

void Transport::serve() {
  uint32_t units = 0;
  FairQueue::Work work;
  is_followed_ = true;  // one step of the engine for the whole turn: on_wake() ends it
  while (units < (now_ < shared_until_ ? kUnitsWhenShared : kUnitsAlone) && work_.pop(&work)) {
    const uint32_t cost = FairQueue::cost_of(work.completion);
    units += cost;
    if (work.line != latest_line_) shared_until_ = now_ + kSharedFor;
    latest_line_ = work.line;
    act_on(work.completion, std::move(work.buffer));
    charge(work.line, cost);
    if (work.iteration != iteration_) count(env_.pod_use[work.line].turns_waited);
    show_use(work.line);
  }
  is_followed_ = false;
  if (is_unsettled_) on_wake();
  for (const SlotLife& life : ended_receives_) {
    if (is_attached(life.slot, life.generation) && sockets_.at(life.slot).receive_wanted) {
      start_receive(life.slot);
    }
  }
  ended_receives_.clear();
  ++iteration_;
  if (!work_.is_empty()) count(env_.counters.work_put_off);
}

void Transport::charge(uint32_t line, uint32_t units) {
  PodUse& use = env_.pod_use[line];
  count(use.units, units);
  count(use.cpu_ns, meter_.charge(units));
}

// Dynamic thresholds: a pod may hold as much as is left for everybody. However many connections
// it has, alone it gets half of the buffers, and as many busy pods share, so much smaller are the
// parts; something is always left for the next one. Answers may take more than requests do, so
// that requests which have taken their part are not what their own answers wait for.
bool Transport::holds_too_much(const Socket& socket) const {
  const uint32_t available = env_.buffers.available();
  const uint32_t allowed = socket.downstream ? available : 2 * available;
  return env_.buffers.held(socket.line) > std::max(allowed, kOwnBuffers);
}

// Of a pod with many connections, each has a receive in the kernel that could fill buffers.
void Transport::hold_back(uint32_t line) {
  is_over_[line] = true;
  sockets_.for_each([&](uint32_t slot, Socket& socket) {
    if (socket.line == line && socket.receive == Receive::kArmed && holds_too_much(socket)) {
      cancel_receive(slot);  // held when it has ended: start_receive()
    }
  });
}

void Transport::resume_held() {
  const size_t end = std::min(held_.size(), held_begin_ + kResumesPerIteration);
  for (; held_begin_ < end; ++held_begin_) {
    const SlotLife life = held_[held_begin_];
    Socket* socket = sockets_.find(life.slot, life.generation);
    if (socket == nullptr || socket->receive != Receive::kHeld) continue;
    // At half, so that it does not flutter.
    if (2 * env_.buffers.held(socket->line) > std::max(env_.buffers.available(), kOwnBuffers)) {
      held_.push_back(life);
      continue;
    }
    is_over_[socket->line] = false;
    socket->receive = Receive::kIdle;
    if (socket->stage == Stage::kAttached && socket->receive_wanted) start_receive(life.slot);
  }
  if (held_begin_ == held_.size() || held_begin_ > options_.sockets_max) {
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(held_begin_));
    held_begin_ = 0;
  }
}

// What timers let go of belongs to lines that nothing was served for.
void Transport::show_held(uint64_t cpu_ns) {
  meter_.measure(cpu_ns);
  for (uint32_t line = 0; line < FairQueue::kLines; ++line) {
    if (env_.pod_use[line].held_bytes != 0) show_use(line);
  }
}

void Transport::show_use(uint32_t line) {
  const uint64_t held = uint64_t{env_.buffers.held(line)} * env_.buffers.buffer_bytes() +
                        uint64_t{env_.small_buffers.held(line)} * SmallBuffers::kBytes;
  PodUse& use = env_.pod_use[line];
  count(use.held_bytes, held - read_counter(use.held_bytes));
}

}  // namespace np::shard
