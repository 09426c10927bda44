// SPDX-License-Identifier: Apache-2.0
#include "shard/fair_queue.h"

#include <utility>

namespace np::shard {

uint32_t FairQueue::cost_of(const uring::Completion& completion) {
  if (completion.result <= 0) return 1;
  return 1 + static_cast<uint32_t>(completion.result) / kUnitBytes;
}

uint32_t FairQueue::take_node() {
  if (free_node_ == kNone) {
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  return std::exchange(free_node_, nodes_[free_node_].next);
}

void FairQueue::append(Round& round, uint32_t line) {
  lines_[line].next = kNone;
  if (round.tail == kNone) {
    round.head = line;
  } else {
    lines_[round.tail].next = line;
  }
  round.tail = line;
}

void FairQueue::drop_head(Round& round) {
  round.head = lines_[round.head].next;
  if (round.head == kNone) round.tail = kNone;
}

void FairQueue::push(uint32_t line, Work work) {
  const uint32_t node = take_node();
  nodes_[node].work = std::move(work);
  nodes_[node].work.line = line;
  nodes_[node].next = kNone;
  Line& own = lines_[line];
  if (own.tail == kNone) {
    own.head = node;
  } else {
    nodes_[own.tail].next = node;
  }
  own.tail = node;
  ++own.size;
  ++waiting_count_;
  if (own.is_listed) return;
  own.is_listed = true;
  // Debts of a large transfer are kept, an unspent rest is not: nobody saves up for a burst.
  if (own.deficit >= 0) own.deficit = kTurnUnits;
  append(first_, line);
}

bool FairQueue::pop(Work* work) {
  while (first_.head != kNone || round_.head != kNone) {
    const bool is_first = first_.head != kNone;
    Round& from = is_first ? first_ : round_;
    const uint32_t line = from.head;
    Line& own = lines_[line];
    if (own.head == kNone) {
      drop_head(from);
      if (is_first && round_.head != kNone) {
        append(round_, line);
      } else {
        own.is_listed = false;
      }
      continue;
    }
    if (own.deficit <= 0) {
      own.deficit += kTurnUnits;
      drop_head(from);
      append(round_, line);
      continue;
    }
    const uint32_t node = own.head;
    own.head = nodes_[node].next;
    if (own.head == kNone) own.tail = kNone;
    --own.size;
    --waiting_count_;
    *work = std::move(nodes_[node].work);
    own.deficit -= static_cast<int32_t>(cost_of(work->completion));
    nodes_[node].next = std::exchange(free_node_, node);
    return true;
  }
  return false;
}

}  // namespace np::shard
