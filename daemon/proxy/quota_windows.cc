// SPDX-License-Identifier: Apache-2.0
#include "proxy/quota_windows.h"

#include <algorithm>
#include <cstring>

#include "policy/hash.h"

namespace np::proxy {

using Kind = policy::CounterWindow::Kind;

namespace {

int64_t ns_of(Instant instant) {
  return instant.time_since_epoch().count();
}

}  // namespace

QuotaWindows::QuotaWindows(uint64_t seed, const QuotaWindowsLimits& limits)
    : seed_(seed),
      limits_(limits),
      table_(std::make_unique<std::array<Stripe, kStripes>>()),
      stripes_(*table_),
      state_table_(std::make_unique<std::array<QuotaState, kQuotaStates>>()),
      states_(*state_table_) {}

QuotaWindows::~QuotaWindows() {
  for (Stripe& stripe : stripes_) {
    for (Counter* counter : stripe.buckets) release(counter);
  }
}

size_t QuotaWindows::tuples() const {
  size_t sum = 0;
  for (const QuotaState& state : states_) sum += state.tuples.load(std::memory_order_relaxed);
  return sum;
}

// ---- finding ----------------------------------------------------------------------------------

// Memory per tuple is bounded. The seed is secret, so that nobody can make two tuples meet.
std::string_view QuotaWindows::key_of(const QuotaCharge& charge, std::array<char, 16>& room) const {
  if (charge.tuple.size() <= limits_.tuple_bytes_max) return charge.tuple;
  const uint64_t halves[2] = {policy::hash_bytes(charge.tuple, seed_ ^ 1U),
                              policy::hash_bytes(charge.tuple, ~seed_)};
  std::memcpy(room.data(), halves, sizeof halves);
  return {room.data(), room.size()};
}

QuotaWindows::Lookup QuotaWindows::look_up(const QuotaCharge& charge, std::string_view key,
                                           Instant now) const {
  const policy::CounterWindow& window = charge.limit.window;
  const uint64_t length = static_cast<uint64_t>(window.tick.count()) ^ window.ticks;
  const uint64_t hash = policy::hash_bytes(key, seed_ ^ policy::mix64(length) ^ charge.quota);
  const bool has_id = !charge.request.empty() && charge.deduplication > Duration::zero();
  return {charge, key, hash, now, has_id ? policy::hash_bytes(charge.request, hash) | 1U : 0};
}

QuotaWindows::Counter* QuotaWindows::find(Stripe& stripe, const Lookup& lookup) const {
  Counter* counter = stripe.buckets[lookup.hash % kBuckets];
  while (counter != nullptr) {
    if (counter->hash == lookup.hash && counter->quota == lookup.charge.quota &&
        counter->window == lookup.charge.limit.window && counter->key == lookup.key) {
      return counter;
    }
    counter = counter->next;
  }
  return nullptr;
}

QuotaAnswer QuotaWindows::charge(const QuotaCharge& charge, Instant now) {
  std::array<char, 16> room;
  const std::string_view key = key_of(charge, room);
  const Lookup lookup = look_up(charge, key, now);
  Stripe& stripe = stripe_of(lookup.hash);
  std::unique_ptr<Counter> fresh;
  std::unique_ptr<std::array<Seen, kSeenSets * kSeenWays>> seen;
  for (;;) {
    Counter* dead = nullptr;
    bool needs_seen = false;
    std::optional<QuotaAnswer> answer;
    {
      SpinGuard guard(stripe.lock);
      if (seen != nullptr && stripe.seen == nullptr) stripe.seen = std::move(seen);
      needs_seen = lookup.seen_key != 0 && stripe.seen == nullptr;
      Counter*& bucket = stripe.buckets[lookup.hash % kBuckets];
      Counter* counter = needs_seen ? nullptr : find(stripe, lookup);
      if (counter == nullptr && fresh != nullptr && !needs_seen) {
        counter = fresh.release();
        counter->next = bucket;
        bucket = counter;
      }
      if (counter != nullptr) {
        answer = spend(stripe, *counter, lookup);
      } else {
        unlink_idle(bucket, now, dead);
      }
    }
    release(dead);
    if (answer) {
      // Another shard made the same counter meanwhile.
      if (fresh != nullptr) release(fresh.release());
      return *answer;
    }
    // Memory is taken outside of the lock; then all is looked at anew.
    if (needs_seen) seen = std::make_unique<std::array<Seen, kSeenSets * kSeenWays>>();
    if (fresh == nullptr) fresh = make_counter(lookup);
    if (fresh == nullptr) return {.kind = QuotaAnswer::Kind::kUntracked};
  }
}

int64_t QuotaWindows::spent(const QuotaCharge& charge, Instant now) {
  std::array<char, 16> room;
  const std::string_view key = key_of(charge, room);
  const Lookup lookup = look_up(charge, key, now);
  Stripe& stripe = stripe_of(lookup.hash);
  SpinGuard guard(stripe.lock);
  Counter* counter = find(stripe, lookup);
  if (counter == nullptr) return 0;
  advance(*counter, now);
  if (counter->window.kind != Kind::kBucket) return counter->used;
  // A unit that has not come back in full is still missing.
  const int64_t tick = counter->window.tick.count();
  return (std::max<int64_t>(counter->last - ns_of(now), 0) + tick - 1) / tick;
}

// ---- spending ---------------------------------------------------------------------------------

// Shards' clocks differ by a step: a counter's time never goes back.
void QuotaWindows::advance(Counter& counter, Instant now) {
  switch (counter.window.kind) {
    case Kind::kNever:
    case Kind::kBucket:
      return;
    case Kind::kFixed:
      if (ns_of(now) - counter.last < counter.window.tick.count()) return;
      counter.used = 0;
      counter.last = ns_of(now);
      return;
    case Kind::kTicks:
      break;
  }
  const int64_t tick = ns_of(now) / counter.window.tick.count();
  if (tick <= counter.last) return;
  const auto size = static_cast<int64_t>(counter.spent.size());
  if (counter.used == 0 || tick - counter.last >= size) {
    if (counter.used != 0) std::fill(counter.spent.begin(), counter.spent.end(), 0);
    counter.used = 0;
  } else {
    for (int64_t gone = counter.last + 1; gone <= tick; ++gone) {
      int64_t& amount = counter.spent[static_cast<size_t>(gone % size)];
      counter.used -= amount;
      amount = 0;
    }
  }
  counter.last = tick;
}

QuotaAnswer QuotaWindows::spend(Stripe& stripe, Counter& counter, const Lookup& lookup) {
  const QuotaCharge& charge = lookup.charge;
  advance(counter, lookup.now);
  if (lookup.seen_key != 0) {
    Seen* seen = find_seen(stripe, lookup.seen_key);
    if (seen != nullptr && seen->until_ns > ns_of(lookup.now) &&
        seen->repeats < limits_.repeats_max) {
      ++seen->repeats;
      return {.kind = QuotaAnswer::Kind::kRepeated};
    }
  }
  if (counter.window.kind == Kind::kBucket) return pour(counter, lookup);
  if (charge.amount > charge.limit.amount - counter.used) {
    return {.kind = QuotaAnswer::Kind::kExhausted,
            .retry_after = retry_after(counter, charge, lookup.now)};
  }
  counter.used += charge.amount;
  if (counter.window.kind == Kind::kTicks) {
    counter.spent[static_cast<size_t>(counter.last) % counter.spent.size()] += charge.amount;
  }
  if (lookup.seen_key != 0) {
    remember(stripe, lookup.seen_key, lookup.now + charge.deduplication);
  }
  return {.kind = QuotaAnswer::Kind::kGranted, .mark = counter.last};
}

// `last` is when the bucket will be full again: one number, exact to the nanosecond.
QuotaAnswer QuotaWindows::pour(Counter& counter, const Lookup& lookup) {
  const QuotaCharge& charge = lookup.charge;
  const int64_t tick = counter.window.tick.count();
  const int64_t now = ns_of(lookup.now);
  if (charge.amount > charge.limit.amount) return {.kind = QuotaAnswer::Kind::kExhausted};
  const int64_t full = std::max(counter.last, now) + charge.amount * tick;
  const int64_t missing = full - now - charge.limit.amount * tick;
  if (missing > 0) {
    return {.kind = QuotaAnswer::Kind::kExhausted, .retry_after = Duration(missing)};
  }
  counter.last = full;
  counter.used = 1;  // not idle
  return {.kind = QuotaAnswer::Kind::kGranted};
}

std::optional<Duration> QuotaWindows::retry_after(const Counter& counter, const QuotaCharge& charge,
                                                  Instant now) {
  if (charge.amount > charge.limit.amount || counter.window.kind == Kind::kNever) {
    return std::nullopt;
  }
  const int64_t tick = counter.window.tick.count();
  if (counter.window.kind == Kind::kFixed) return Duration(counter.last + tick - ns_of(now));
  const auto size = static_cast<int64_t>(counter.spent.size());
  int64_t needed = counter.used + charge.amount - charge.limit.amount;
  int64_t leaving = counter.last - size;
  while (needed > 0 && leaving < counter.last) {
    ++leaving;
    if (leaving >= 0) needed -= counter.spent[static_cast<size_t>(leaving % size)];
  }
  return Duration((leaving + size) * tick - ns_of(now));
}

void QuotaWindows::give_back(const QuotaCharge& charge, const QuotaAnswer& answer) {
  if (answer.kind != QuotaAnswer::Kind::kGranted) return;
  std::array<char, 16> room;
  const std::string_view key = key_of(charge, room);
  const Lookup lookup = look_up(charge, key, Instant{});
  Stripe& stripe = stripe_of(lookup.hash);
  SpinGuard guard(stripe.lock);
  if (lookup.seen_key != 0 && stripe.seen != nullptr) {
    Seen* seen = find_seen(stripe, lookup.seen_key);
    if (seen != nullptr) *seen = {};
  }
  Counter* counter = find(stripe, lookup);
  if (counter == nullptr) return;
  switch (counter->window.kind) {
    case Kind::kBucket:
      counter->last -= charge.amount * counter->window.tick.count();
      return;
    case Kind::kNever:
      break;
    case Kind::kFixed:
      if (counter->last != answer.mark) return;  // that window is over
      break;
    case Kind::kTicks: {
      const auto size = static_cast<int64_t>(counter->spent.size());
      if (counter->last - answer.mark >= size) return;  // it has come back already
      counter->spent[static_cast<size_t>(answer.mark % size)] -= charge.amount;
      break;
    }
  }
  counter->used -= charge.amount;
}

// ---- request ids ------------------------------------------------------------------------------

QuotaWindows::Seen* QuotaWindows::find_seen(Stripe& stripe, uint64_t key) const {
  Seen* set = stripe.seen->data() + (key >> 8U) % kSeenSets * kSeenWays;
  for (size_t i = 0; i < kSeenWays; ++i) {
    if (set[i].key == key) return &set[i];
  }
  return nullptr;
}

void QuotaWindows::remember(Stripe& stripe, uint64_t key, Instant until) {
  Seen* place = find_seen(stripe, key);
  if (place == nullptr) {
    Seen* set = stripe.seen->data() + (key >> 8U) % kSeenSets * kSeenWays;
    place = std::min_element(set, set + kSeenWays,
                             [](const Seen& a, const Seen& b) { return a.until_ns < b.until_ns; });
  }
  *place = {key, ns_of(until), 0};
}

// ---- tuples come and go -----------------------------------------------------------------------

std::unique_ptr<QuotaWindows::Counter> QuotaWindows::make_counter(const Lookup& lookup) {
  if (!reserve(lookup.charge.quota, lookup.now)) return nullptr;
  auto counter = std::make_unique<Counter>();
  counter->hash = lookup.hash;
  counter->quota = lookup.charge.quota;
  counter->window = lookup.charge.limit.window;
  counter->key = lookup.key;
  switch (counter->window.kind) {
    case Kind::kTicks:
      counter->spent.resize(counter->window.ticks);
      counter->last = ns_of(lookup.now) / counter->window.tick.count();
      break;
    case Kind::kFixed:
    case Kind::kBucket:
      counter->last = ns_of(lookup.now);
      break;
    case Kind::kNever:
      break;
  }
  return counter;
}

bool QuotaWindows::reserve(uint32_t quota, Instant now) {
  QuotaState& state = state_of(quota);
  for (int round = 0; round < 2; ++round) {
    if (state.tuples.fetch_add(1, std::memory_order_relaxed) < limits_.tuples_max) return true;
    state.tuples.fetch_sub(1, std::memory_order_relaxed);
    // A crowd of new names must not make every request look at everything.
    const int64_t swept = state.swept_ns.load(std::memory_order_relaxed);
    if (round > 0 || (swept >= 0 && ns_of(now) - swept < kSweepInterval.count())) return false;
    state.swept_ns.store(ns_of(now), std::memory_order_relaxed);
    sweep(now);
  }
  return false;
}

// Nothing spent is left in the window, also for a shard whose clock is behind: the window that its
// new counter would begin with must not reach back to what this one has let go.
bool QuotaWindows::is_idle(const Counter& counter, Instant now) {
  const int64_t at = ns_of(now) - kSkewMax.count();
  const bool is_spent = counter.used != 0;
  const int64_t tick = counter.window.tick.count();
  switch (counter.window.kind) {
    case Kind::kNever:
      return !is_spent;
    case Kind::kBucket:
      return at >= counter.last;
    case Kind::kFixed:
      return at - counter.last >= (is_spent ? tick : 0);
    case Kind::kTicks:
      return at / tick - counter.last >= (is_spent ? counter.window.ticks : 0);
  }
  return false;
}

void QuotaWindows::unlink_idle(Counter*& bucket, Instant now, Counter*& dead) {
  for (Counter** at = &bucket; *at != nullptr;) {
    Counter* counter = *at;
    if (!is_idle(*counter, now)) {
      at = &counter->next;
      continue;
    }
    *at = counter->next;
    counter->next = dead;
    dead = counter;
  }
}

void QuotaWindows::sweep(Instant now) {
  for (Stripe& stripe : stripes_) {
    for (size_t first = 0; first < kBuckets; first += kSweepStep) {
      Counter* dead = nullptr;
      {
        SpinGuard guard(stripe.lock);
        for (size_t i = first; i < first + kSweepStep; ++i) {
          unlink_idle(stripe.buckets[i], now, dead);
        }
      }
      release(dead);
    }
  }
}

void QuotaWindows::release(Counter* dead) {
  while (dead != nullptr) {
    const std::unique_ptr<Counter> counter(dead);
    dead = counter->next;
    state_of(counter->quota).tuples.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace np::proxy
