// SPDX-License-Identifier: Apache-2.0
// QuotaWindows: what was spent of every quota on this node. One for all shards of a worker, called
// by any of them at any time: together they never grant more than a limit, and a limit is used up
// to its last unit. Time is handed in. Nothing here outlives the worker.
//
// A counter belongs to one quota, one window and one tuple of ALL dimension values. It is made when
// a tuple is first seen and dropped when nothing spent is left in its window and room is needed.
// Above the limit of tuples a new tuple is not tracked, and not refused: a client that makes up
// names must not be able to shut out others. That is counted (rate_limit_untracked).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/spin_lock.h"
#include "base/time.h"
#include "policy/quota.h"

namespace np::proxy {

struct QuotaWindowsLimits {
  uint32_t tuples_max = 10'000;    // of one quota
  uint32_t tuple_bytes_max = 512;  // longer ones are kept as two hashes
  // Repeats of one request id that are free; a caller that never changes its id pays for the next.
  uint32_t repeats_max = 8;
};

struct QuotaCharge {
  uint32_t quota = 0;
  policy::CounterLimit limit;
  std::string_view tuple;
  int64_t amount = 1;
  std::string_view request;  // its id; empty: never charged before
  Duration deduplication{};
};

struct QuotaAnswer {
  enum class Kind : uint8_t {
    kGranted,
    kRepeated,   // this request was charged before
    kExhausted,  // nothing was charged
    kUntracked,  // no room for another tuple: passes, uncounted
  };
  Kind kind = Kind::kGranted;
  int64_t mark = 0;                       // for give_back
  std::optional<Duration> retry_after{};  // kExhausted: when enough comes back; absent: never
};

class QuotaWindows {
 public:
  explicit QuotaWindows(uint64_t seed, const QuotaWindowsLimits& limits = {});
  ~QuotaWindows();
  QuotaWindows(const QuotaWindows&) = delete;
  QuotaWindows& operator=(const QuotaWindows&) = delete;

  // All of the amount, or nothing of it.
  QuotaAnswer charge(const QuotaCharge& charge, Instant now);
  // Undoes a charge that was granted, because the request was refused elsewhere.
  void give_back(const QuotaCharge& charge, const QuotaAnswer& answer);

  // What is spent of the charge's counter now; its amount and request play no part. For people who
  // look: makes no counter.
  int64_t spent(const QuotaCharge& charge, Instant now);

  // Counters held now, of all quotas.
  size_t tuples() const;

 private:
  static constexpr size_t kStripes = 64;
  static constexpr size_t kBuckets = 256;   // of a stripe
  static constexpr size_t kSweepStep = 32;  // buckets looked at under one lock
  // Quotas whose ids differ by a multiple of this share one limit of tuples.
  static constexpr size_t kQuotaStates = 1024;
  static constexpr size_t kSeenSets = 64;  // of a stripe
  static constexpr size_t kSeenWays = 4;
  static constexpr Duration kSweepInterval = std::chrono::milliseconds(100);
  // Between the steps of two shards; a step that takes longer is counted as slow.
  static constexpr Duration kSkewMax = std::chrono::milliseconds(100);

  struct Counter {
    Counter* next = nullptr;
    uint64_t hash = 0;
    uint32_t quota = 0;
    policy::CounterWindow window;
    int64_t used = 0;
    // kTicks: newest tick; kFixed: begin of the window; kBucket: when it is full again; in ns.
    int64_t last = 0;
    std::vector<int64_t> spent;  // kTicks: by tick modulo size
    std::string key;
  };
  // Request ids that were charged. Bounded: an old one gives way to a new one, and is then charged
  // again.
  struct Seen {
    uint64_t key = 0;
    int64_t until_ns = 0;
    uint32_t repeats = 0;
  };
  struct alignas(64) Stripe {
    SpinLock lock;
    std::array<Counter*, kBuckets> buckets{};
    std::unique_ptr<std::array<Seen, kSeenSets * kSeenWays>> seen;  // made with the first id
  };
  struct QuotaState {
    std::atomic<uint32_t> tuples{0};
    std::atomic<int64_t> swept_ns{-1};
  };
  // A charge with what is derived from it.
  struct Lookup {
    const QuotaCharge& charge;
    std::string_view key;
    uint64_t hash = 0;
    Instant now;
    uint64_t seen_key = 0;  // of the request's id; 0: it has none
  };

  Stripe& stripe_of(uint64_t hash) { return stripes_[hash >> 58U]; }
  QuotaState& state_of(uint32_t quota) { return states_[quota % kQuotaStates]; }
  std::string_view key_of(const QuotaCharge& charge, std::array<char, 16>& room) const;
  Lookup look_up(const QuotaCharge& charge, std::string_view key, Instant now) const;
  Counter* find(Stripe& stripe, const Lookup& lookup) const;
  static QuotaAnswer pour(Counter& counter, const Lookup& lookup);
  QuotaAnswer spend(Stripe& stripe, Counter& counter, const Lookup& lookup);
  static void advance(Counter& counter, Instant now);
  static std::optional<Duration> retry_after(const Counter& counter, const QuotaCharge& charge,
                                             Instant now);
  static bool is_idle(const Counter& counter, Instant now);
  Seen* find_seen(Stripe& stripe, uint64_t key) const;
  void remember(Stripe& stripe, uint64_t key, Instant until);

  std::unique_ptr<Counter> make_counter(const Lookup& lookup);
  bool reserve(uint32_t quota, Instant now);
  void sweep(Instant now);
  void unlink_idle(Counter*& bucket, Instant now, Counter*& dead);
  void release(Counter* dead);

  uint64_t seed_;
  QuotaWindowsLimits limits_;
  std::unique_ptr<std::array<Stripe, kStripes>> table_;
  std::array<Stripe, kStripes>& stripes_;
  std::unique_ptr<std::array<QuotaState, kQuotaStates>> state_table_;
  std::array<QuotaState, kQuotaStates>& states_;
};

}  // namespace np::proxy
