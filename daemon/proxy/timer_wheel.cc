// SPDX-License-Identifier: Apache-2.0
#include "proxy/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace np::proxy {

TimerWheel::TimerWheel() = default;

void TimerWheel::arm(Timer& timer, Instant deadline) {
  if (!timer.armed) ++armed_;
  timer.armed = true;
  timer.deadline = deadline;
  // In time also where it lies, unless it is now due before that.
  if (timer.linked && tick_of(deadline) >= slot_start(timer.level, timer.index)) return;
  if (timer.linked) unlink(timer);
  insert(timer);
}

void TimerWheel::disarm(Timer& timer) {
  if (timer.armed) --armed_;
  timer.armed = false;
  timer.deadline = kNever;
}

// A timer lies on the level of the highest digit (base 256) in which its tick differs from the
// current one. Hence every timer of a level is due before every timer of the level above it, and
// all slots of level k lie ahead of the current digit k.
void TimerWheel::insert(Timer& timer) {
  const uint64_t farthest = base_ | ((uint64_t{1} << (kLevels * kSlotBits)) - 1);
  const uint64_t tick = std::clamp(tick_of(timer.deadline), base_, farthest);
  const uint64_t difference = tick ^ base_;
  const unsigned level =
      difference == 0 ? 0 : (63U - static_cast<unsigned>(std::countl_zero(difference))) / kSlotBits;
  const auto index = static_cast<unsigned>(tick >> (level * kSlotBits)) & (kSlots - 1);
  Level& target = levels_[level];
  timer.level = static_cast<uint8_t>(level);
  timer.index = static_cast<uint8_t>(index);
  timer.previous = nullptr;
  timer.next = target.slots[index];
  if (timer.next != nullptr) timer.next->previous = &timer;
  target.slots[index] = &timer;
  target.occupied[index / 64] |= uint64_t{1} << (index % 64);
  timer.linked = true;
  ++linked_;
}

void TimerWheel::unlink(Timer& timer) {
  Level& level = levels_[timer.level];
  if (timer.next != nullptr) timer.next->previous = timer.previous;
  if (timer.previous != nullptr) {
    timer.previous->next = timer.next;
  } else {
    level.slots[timer.index] = timer.next;
    if (timer.next == nullptr) {
      level.occupied[timer.index / 64U] &= ~(uint64_t{1} << (timer.index % 64U));
    }
  }
  timer.next = nullptr;
  timer.previous = nullptr;
  timer.linked = false;
  --linked_;
}

unsigned TimerWheel::next_occupied(const Level& level, unsigned from) {
  for (unsigned word = from / 64; word < level.occupied.size(); ++word) {
    uint64_t bits = level.occupied[word];
    if (word == from / 64) bits &= ~uint64_t{0} << (from % 64);
    if (bits != 0) return word * 64 + static_cast<unsigned>(std::countr_zero(bits));
  }
  return kSlots;
}

uint64_t TimerWheel::slot_start(unsigned level, unsigned index) const {
  const unsigned shift = level * kSlotBits;
  const uint64_t above = base_ & ~((uint64_t{1} << (shift + kSlotBits)) - 1);
  return above | (static_cast<uint64_t>(index) << shift);
}

// Now that the slot's digit has been reached, its timers go to the levels below.
void TimerWheel::spread(unsigned level, unsigned index) {
  Timer* timer = levels_[level].slots[index];
  while (timer != nullptr) {
    Timer* following = timer->next;
    unlink(*timer);
    if (timer->armed) insert(*timer);
    timer = following;
  }
}

// One of the current tick's timers, if it is due; those that do not belong here leave.
Timer* TimerWheel::take_due(unsigned index, Instant now) {
  Timer* timer = levels_[0].slots[index];
  while (timer != nullptr) {
    Timer* following = timer->next;
    const bool is_due = timer->armed && timer->deadline <= now;
    const bool is_later = timer->armed && !is_due && tick_of(timer->deadline) > base_;
    if (is_due || is_later || !timer->armed) unlink(*timer);
    if (is_later) insert(*timer);
    if (is_due) {
      timer->armed = false;
      --armed_;
      return timer;
    }
    timer = following;
  }
  return nullptr;
}

Timer* TimerWheel::pop_due(Instant now) {
  const uint64_t now_tick = std::max(tick_of(now), base_);
  while (linked_ > 0) {
    unsigned level = 0;
    unsigned index = kSlots;
    for (; level < kLevels; ++level) {
      index = next_occupied(levels_[level], digit(level));
      if (index != kSlots) break;
    }
    const uint64_t start = std::max(slot_start(level, index), base_);
    if (start > now_tick) break;
    base_ = start;
    if (level > 0) {
      spread(level, index);
      continue;
    }
    if (Timer* due = take_due(index, now)) return due;
    // What is left of the current tick is still ahead.
    if (levels_[0].slots[index] != nullptr) return nullptr;
  }
  base_ = now_tick;
  return nullptr;
}

Instant TimerWheel::next_deadline() const {
  if (armed_ == 0) return kNever;
  for (unsigned level = 0; level < kLevels; ++level) {
    const unsigned index = next_occupied(levels_[level], digit(level));
    if (index == kSlots) continue;
    if (level > 0) return start_of(slot_start(level, index));
    const uint64_t tick = slot_start(level, index);
    Instant first = kNever;
    for (const Timer* timer = levels_[0].slots[index]; timer != nullptr; timer = timer->next) {
      if (!timer->armed || tick_of(timer->deadline) > tick) return start_of(tick);
      first = std::min(first, timer->deadline);
    }
    return first;
  }
  return kNever;
}

}  // namespace np::proxy
