// SPDX-License-Identifier: Apache-2.0
#include "proxy/admission.h"

#include <algorithm>

#include "base/check.h"
#include "policy/limit_verdict.h"
#include "proxy/node_state.h"

namespace np::proxy {

namespace {

Admission admission_of(policy::LimitVerdict verdict) {
  switch (verdict) {
    case policy::LimitVerdict::kGranted:
      return Admission::kGranted;
    case policy::LimitVerdict::kWaits:
      return Admission::kWaiting;
    case policy::LimitVerdict::kTooManyPending:
      break;
    case policy::LimitVerdict::kTooManyRequests:
      return Admission::kTooManyRequests;
  }
  return Admission::kTooManyPending;
}

}  // namespace

AdmissionGroup::AdmissionGroup(NodeState& node, uint32_t shards, LimitSlot* slot)
    : node_(node), slot_(slot), parts_(shards) {}

void AdmissionGroup::configure(const policy::ConnectionPool& limits, uint32_t shard) {
  const SpinGuard guard(lock_);
  if (max_connections_ == limits.max_connections && max_pending_ == limits.max_pending_requests &&
      max_requests_ == limits.max_requests && max_retries_ == limits.max_retries &&
      retry_budget_ == limits.retry_budget) {
    return;
  }
  max_connections_ = limits.max_connections;
  max_pending_ = limits.max_pending_requests;
  max_requests_ = limits.max_requests;
  max_retries_ = limits.max_retries;
  retry_budget_ = limits.retry_budget;
  open_max_.store(max_connections_, std::memory_order_relaxed);
  serve(shard);
  show();
}

Admission AdmissionGroup::admit(WaitNode& waiting, bool may_wait) {
  const SpinGuard guard(lock_);
  const policy::LimitLoad load{running_, static_cast<uint32_t>(waiting_.size())};
  Admission verdict = admission_of(
      policy::limit_verdict(max_connections_, max_pending_, max_requests_, load, may_wait));
  if (verdict == Admission::kTooManyPending && may_wait && take_offered_place(waiting.shard)) {
    verdict = Admission::kWaiting;
  }
  switch (verdict) {
    case Admission::kGranted:
      ++running_;
      break;
    case Admission::kWaiting:
      waiting.place = WaitNode::Place::kQueue;
      waiting.gives_way = false;
      waiting_.push_back(waiting);
      break;
    case Admission::kTooManyPending:
    case Admission::kTooManyRequests:
      ++rejected_;
      break;
  }
  show();
  return verdict;
}

void AdmissionGroup::end(uint32_t shard) {
  const SpinGuard guard(lock_);
  NP_DCHECK(running_ > 0);
  --running_;
  serve(shard);
  show();
}

// Lets waiting requests in, first come first, as far as there is room.
void AdmissionGroup::serve(uint32_t shard) {
  const auto has_room = [this] { return running_ < max_connections_ && running_ < max_requests_; };
  while (!waiting_.empty() && has_room()) {
    WaitNode& next = *waiting_.front();
    take_out(next);
    ++running_;
    next.place = WaitNode::Place::kMailbox;
    node_.deliver(next, shard);
  }
}

void AdmissionGroup::take_out(WaitNode& waiting) {
  waiting_.remove(waiting);
  if (waiting.gives_way) --offered_;
}

// True: there is a place now, for somebody who had offered it is refused.
bool AdmissionGroup::take_offered_place(uint32_t shard) {
  if (offered_ == 0) return false;
  WaitNode* waiting = waiting_.front();
  while (!waiting->gives_way) waiting = waiting->link.next;
  take_out(*waiting);
  ++rejected_;
  waiting->place = WaitNode::Place::kRefused;
  node_.deliver(*waiting, shard);
  return true;
}

void AdmissionGroup::offer_place(WaitNode& waiting) {
  const SpinGuard guard(lock_);
  if (waiting.place != WaitNode::Place::kQueue || waiting.gives_way) return;
  waiting.gives_way = true;
  ++offered_;
}

void AdmissionGroup::leave(WaitNode& waiting) {
  const SpinGuard guard(lock_);
  switch (waiting.place) {
    case WaitNode::Place::kNowhere:
      break;
    case WaitNode::Place::kQueue:
      take_out(waiting);
      break;
    case WaitNode::Place::kMailbox:
      node_.mailbox(waiting.shard).remove(waiting);
      --running_;
      serve(waiting.shard);
      break;
    case WaitNode::Place::kRefused:
      node_.mailbox(waiting.shard).remove(waiting);
      break;
  }
  waiting.place = WaitNode::Place::kNowhere;
  show();
}

bool AdmissionGroup::arrived(WaitNode& waiting) {
  const SpinGuard guard(lock_);
  const bool is_granted = waiting.place == WaitNode::Place::kMailbox;
  waiting.place = WaitNode::Place::kNowhere;
  return is_granted;
}

uint32_t AdmissionGroup::retries_allowed() const {
  if (!retry_budget_) return max_retries_;
  constexpr double kPerCent = 100;
  const double requests = static_cast<double>(running_) + static_cast<double>(waiting_.size());
  const auto share = static_cast<uint32_t>(requests * retry_budget_->percent / kPerCent);
  return std::max(share, retry_budget_->minimum);
}

bool AdmissionGroup::begin_retry() {
  const SpinGuard guard(lock_);
  if (retries_ >= retries_allowed()) return false;
  ++retries_;
  return true;
}

void AdmissionGroup::end_retry() {
  const SpinGuard guard(lock_);
  NP_DCHECK(retries_ > 0);
  --retries_;
}

bool AdmissionGroup::connection_opened() {
  const uint32_t open = open_.fetch_add(1, std::memory_order_relaxed) + 1;
  return open > open_max_.load(std::memory_order_relaxed);
}

bool AdmissionGroup::is_above_limit() const {
  return open_.load(std::memory_order_relaxed) > open_max_.load(std::memory_order_relaxed);
}

void AdmissionGroup::change_idle(uint32_t shard, int by) {
  std::atomic<uint32_t>& idle = parts_[shard].idle;
  idle.store(idle.load(std::memory_order_relaxed) + static_cast<uint32_t>(by),
             std::memory_order_relaxed);
}

bool AdmissionGroup::ask_to_trim(uint32_t asking) {
  for (uint32_t shard = 0; shard < parts_.size(); ++shard) {
    if (shard == asking) continue;
    ShardPart& part = parts_[shard];
    const uint32_t asked = part.trims.load(std::memory_order_relaxed);
    if (part.idle.load(std::memory_order_relaxed) <= asked) continue;
    part.trims.fetch_add(1, std::memory_order_release);
    node_.ring(shard, asking);
    return true;
  }
  return false;
}

uint32_t AdmissionGroup::take_trims(uint32_t shard) {
  ShardPart& part = parts_[shard];
  if (part.trims.load(std::memory_order_relaxed) == 0) return 0;
  return part.trims.exchange(0, std::memory_order_acquire);
}

AdmissionGroup::Counts AdmissionGroup::counts() {
  const SpinGuard guard(lock_);
  Counts counts;
  counts.running = running_;
  counts.waiting = static_cast<uint32_t>(waiting_.size());
  counts.retries = retries_;
  counts.open = open_.load(std::memory_order_relaxed);
  counts.max_connections = max_connections_;
  counts.max_pending = max_pending_;
  counts.max_requests = max_requests_;
  counts.max_retries = max_retries_;
  counts.rejected = rejected_;
  return counts;
}

void AdmissionGroup::show() {
  if (slot_ == nullptr) return;
  const uint32_t most = std::min(max_connections_, max_requests_);
  store_shared(slot_->active, running_);
  store_shared(slot_->max, most == policy::kUnlimited ? 0 : most);
  store_shared(slot_->rejected, rejected_);
  store_shared(slot_->pending, waiting_.size());
}

}  // namespace np::proxy
