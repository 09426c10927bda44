// SPDX-License-Identifier: Apache-2.0
// QuotaWindows against a plain model written from the rules (traffic-semantics 1.6), on a clock of
// our own; then its bounds, repeats, and many threads at once.
#include "proxy/quota_windows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/random.h"

namespace np::proxy {
namespace {

using policy::CounterLimit;
using policy::CounterWindow;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = QuotaAnswer::Kind;

constexpr Duration kTick = milliseconds(100);
const Instant kStart{hours(5)};

CounterLimit rolling(int64_t amount, uint32_t whole_seconds) {
  return {amount, {CounterWindow::Kind::kTicks, whole_seconds * 10, kTick}};
}
CounterLimit fixed(int64_t amount, Duration length) {
  return {amount, {CounterWindow::Kind::kFixed, 0, length}};
}
CounterLimit never(int64_t amount) {
  return {amount, {}};
}

QuotaCharge of(uint32_t quota, const CounterLimit& limit, std::string_view tuple,
               int64_t amount = 1) {
  QuotaCharge charge;
  charge.quota = quota;
  charge.limit = limit;
  charge.tuple = tuple;
  charge.amount = amount;
  return charge;
}

// Everything that was spent, in a list per counter; nothing clever.
class Model {
 public:
  bool grant(const QuotaCharge& charge, Instant now) {
    std::vector<std::pair<Instant, int64_t>>& spent = list(charge);
    if (sum(charge, spent, now) + charge.amount > charge.limit.amount) return false;
    spent.emplace_back(now, charge.amount);
    return true;
  }
  void undo(const QuotaCharge& charge) { list(charge).pop_back(); }
  // When the charge would be granted if nobody else came.
  std::optional<Duration> wait(const QuotaCharge& charge, Instant now) {
    if (charge.amount > charge.limit.amount) return std::nullopt;
    std::vector<Instant> ends;
    for (const auto& [at, amount] : list(charge)) ends.push_back(end_of(charge, at));
    std::sort(ends.begin(), ends.end());
    for (const Instant end : ends) {
      if (end > now && sum(charge, list(charge), end) + charge.amount <= charge.limit.amount) {
        return end - now;
      }
    }
    return std::nullopt;
  }

 private:
  using Key = std::tuple<uint32_t, int, int64_t, uint32_t, std::string>;

  std::vector<std::pair<Instant, int64_t>>& list(const QuotaCharge& charge) {
    const CounterWindow& window = charge.limit.window;
    return lists_[{charge.quota, static_cast<int>(window.kind), window.tick.count(), window.ticks,
                   std::string(charge.tuple)}];
  }
  // The moment at which what was spent at `at` comes back.
  Instant end_of(const QuotaCharge& charge, Instant at) {
    const CounterWindow& window = charge.limit.window;
    switch (window.kind) {
      case CounterWindow::Kind::kBucket:  // has a model of its own
      case CounterWindow::Kind::kNever:
        return kNever;
      case CounterWindow::Kind::kFixed: {
        // Windows follow each other: each begins with the first charge after the one before.
        Instant begin = list(charge).front().first;
        for (const auto& [when, amount] : list(charge)) {
          if (when - begin >= window.tick) begin = when;
          if (when == at) return begin + window.tick;
        }
        return kNever;
      }
      case CounterWindow::Kind::kTicks:
        break;
    }
    const Duration since = at.time_since_epoch();
    return Instant(since - since % window.tick + window.tick * window.ticks);
  }
  int64_t sum(const QuotaCharge& charge, const std::vector<std::pair<Instant, int64_t>>& spent,
              Instant now) {
    int64_t total = 0;
    for (const auto& [at, amount] : spent) {
      if (end_of(charge, at) > now) total += amount;
    }
    return total;
  }

  std::map<Key, std::vector<std::pair<Instant, int64_t>>> lists_;
};

TEST(QuotaWindows, ARollingSecond) {
  QuotaWindows windows(7);
  const QuotaCharge charge = of(1, rolling(2, 1), "a");
  Instant now = kStart + milliseconds(50);
  EXPECT_EQ(windows.charge(charge, now).kind, Kind::kGranted);
  now += milliseconds(500);
  EXPECT_EQ(windows.charge(charge, now).kind, Kind::kGranted);
  now += milliseconds(449);  // 0.999 s after the start of the first one's tick
  const QuotaAnswer refused = windows.charge(charge, now);
  EXPECT_EQ(refused.kind, Kind::kExhausted);
  EXPECT_EQ(refused.retry_after, milliseconds(1));
  now += milliseconds(1);  // that tick leaves the window
  EXPECT_EQ(windows.charge(charge, now).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, now).retry_after, milliseconds(500));
  // Refused ones were not charged.
  now += milliseconds(500);
  EXPECT_EQ(windows.charge(charge, now).kind, Kind::kGranted);
}

TEST(QuotaWindows, AgreesWithTheModel) {
  const CounterLimit limits[] = {rolling(1, 1),        rolling(5, 1),
                                 rolling(30, 3),       rolling(100, 60),
                                 fixed(4, seconds(1)), fixed(9, milliseconds(700)),
                                 never(200),           rolling(0, 1)};
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Rng rng(seed);
    QuotaWindows windows(seed);
    Model model;
    Instant now = kStart + Duration(rng.below(1'000'000'000));
    const std::string tuples[] = {"", "a", "b", std::string(600, 'x'), std::string(601, 'x')};
    for (int i = 0; i < 6000; ++i) {
      const uint32_t jump = rng.below(1000);
      if (jump < 700) now += Duration(rng.below(150'000'000));
      if (jump == 0) now += seconds(rng.below(100));
      const QuotaCharge charge = of(1 + rng.below(3), limits[rng.below(std::size(limits))],
                                    tuples[rng.below(std::size(tuples))], 1 + rng.below(3));
      const QuotaAnswer answer = windows.charge(charge, now);
      const bool granted = model.grant(charge, now);
      ASSERT_EQ(answer.kind == Kind::kGranted, granted) << "seed " << seed << " step " << i;
      if (granted && rng.chance(1, 10) && charge.limit.window.kind != CounterWindow::Kind::kFixed) {
        windows.give_back(charge, answer);
        model.undo(charge);
        continue;
      }
      if (granted || charge.limit.window.kind == CounterWindow::Kind::kFixed) continue;
      ASSERT_EQ(answer.retry_after, model.wait(charge, now)) << "seed " << seed << " step " << i;
    }
  }
}

TEST(QuotaWindows, FixedWindowsBeginWithTheirFirstCharge) {
  QuotaWindows windows(7);
  const QuotaCharge charge = of(1, fixed(2, seconds(10)), "a");
  EXPECT_EQ(windows.charge(charge, kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(9)).kind, Kind::kGranted);
  const QuotaAnswer refused = windows.charge(charge, kStart + milliseconds(9500));
  EXPECT_EQ(refused.kind, Kind::kExhausted);
  EXPECT_EQ(refused.retry_after, milliseconds(500));
  // All of it comes back at once: twice the limit within two seconds, as the algorithm has it.
  const QuotaAnswer granted = windows.charge(charge, kStart + seconds(10));
  EXPECT_EQ(granted.kind, Kind::kGranted);
  windows.give_back(charge, granted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(10)).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(10)).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(10)).kind, Kind::kExhausted);
}

CounterLimit bucket(int64_t holds, Duration each) {
  return {holds, {CounterWindow::Kind::kBucket, 0, each}};
}

TEST(QuotaWindows, ABucketAgreesWithItsModel) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Rng rng(seed);
    QuotaWindows windows(seed);
    const int64_t holds = 1 + rng.below(20);
    const Duration each(1 + rng.below(300'000'000));
    Duration level = each * holds;  // full at the start, in time that it took to fill
    Instant now = kStart;
    for (int i = 0; i < 5000; ++i) {
      const Duration passed(rng.below(4) == 0 ? rng.below(2'000'000'000) : rng.below(100'000));
      now += passed;
      level = std::min(level + passed, each * holds);
      const QuotaCharge charge = of(1, bucket(holds, each), "a", 1 + rng.below(3));
      const QuotaAnswer answer = windows.charge(charge, now);
      const bool granted = level >= each * charge.amount;
      ASSERT_EQ(answer.kind == Kind::kGranted, granted) << "seed " << seed << " step " << i;
      if (granted && rng.chance(1, 10)) {
        windows.give_back(charge, answer);
      } else if (granted) {
        level -= each * charge.amount;
      } else if (charge.amount > holds) {
        ASSERT_FALSE(answer.retry_after);
      } else {
        ASSERT_EQ(answer.retry_after, each * charge.amount - level);
      }
    }
  }
}

TEST(QuotaWindows, AFullBucketIsIdle) {
  QuotaWindowsLimits limits;
  limits.tuples_max = 1;
  QuotaWindows windows(7, limits);
  const CounterLimit limit = bucket(2, seconds(1));
  EXPECT_EQ(windows.charge(of(1, limit, "a", 2), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, limit, "b"), kStart + seconds(1)).kind, Kind::kUntracked);
  EXPECT_EQ(windows.charge(of(1, limit, "b"), kStart + milliseconds(2100)).kind, Kind::kGranted);
}

TEST(QuotaWindows, ACounterThatNeverDrains) {
  QuotaWindows windows(7);
  const QuotaCharge charge = of(1, never(1), "a");
  EXPECT_EQ(windows.charge(charge, kStart).kind, Kind::kGranted);
  const QuotaAnswer refused = windows.charge(charge, kStart + hours(1000));
  EXPECT_EQ(refused.kind, Kind::kExhausted);
  EXPECT_FALSE(refused.retry_after);
}

TEST(QuotaWindows, CountersAreApartForQuotaTupleAndWindow) {
  QuotaWindows windows(7);
  EXPECT_EQ(windows.charge(of(1, rolling(1, 1), "a"), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, rolling(1, 1), "b"), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(2, rolling(1, 1), "a"), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, rolling(1, 60), "a"), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, rolling(1, 1), "a"), kStart).kind, Kind::kExhausted);
  EXPECT_EQ(windows.tuples(), 4U);
  // Another limit is the same counter: raising it grants at once, lowering it does not forget.
  EXPECT_EQ(windows.charge(of(1, rolling(2, 1), "a"), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, rolling(1, 1), "a"), kStart).kind, Kind::kExhausted);
}

TEST(QuotaWindows, TheWholeAmountOrNothing) {
  QuotaWindows windows(7);
  const CounterLimit limit = rolling(5, 1);
  EXPECT_EQ(windows.charge(of(1, limit, "a", 3), kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, limit, "a", 3), kStart).kind, Kind::kExhausted);
  EXPECT_EQ(windows.charge(of(1, limit, "a", 2), kStart).kind, Kind::kGranted);
  const QuotaAnswer hopeless = windows.charge(of(1, limit, "a", 6), kStart);
  EXPECT_EQ(hopeless.kind, Kind::kExhausted);
  EXPECT_FALSE(hopeless.retry_after);
}

TEST(QuotaWindows, AShardWhoseClockIsBehindDoesNotTurnItBack) {
  QuotaWindows windows(7);
  const QuotaCharge charge = of(1, rolling(1, 1), "a");
  EXPECT_EQ(windows.charge(charge, kStart + seconds(1)).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(950)).kind, Kind::kExhausted);
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(1999)).kind, Kind::kExhausted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(2)).kind, Kind::kGranted);
}

TEST(QuotaWindows, ARequestIsChargedOnce) {
  QuotaWindowsLimits limits;
  limits.repeats_max = 2;
  QuotaWindows windows(7, limits);
  QuotaCharge charge = of(1, rolling(2, 60), "a");
  charge.request = "r-1";
  charge.deduplication = seconds(1);
  EXPECT_EQ(windows.charge(charge, kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(500)).kind, Kind::kRepeated);
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(999)).kind, Kind::kRepeated);
  // Another tuple is another counter: a call further down bears the same id.
  QuotaCharge other = charge;
  other.tuple = "b";
  EXPECT_EQ(windows.charge(other, kStart).kind, Kind::kGranted);
  // A caller that sends one id for ever pays for every third request.
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(999)).kind, Kind::kGranted);
  charge.request = "r-2";
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(999)).kind, Kind::kExhausted);
  charge.request = "";
  EXPECT_EQ(windows.charge(charge, kStart + milliseconds(999)).kind, Kind::kExhausted);
}

TEST(QuotaWindows, ARequestIsChargedAgainLater) {
  QuotaWindows windows(7);
  QuotaCharge charge = of(1, rolling(2, 60), "a");
  charge.request = "r-1";
  charge.deduplication = seconds(1);
  const QuotaAnswer first = windows.charge(charge, kStart);
  windows.give_back(charge, first);  // refused elsewhere: it was never charged
  EXPECT_EQ(windows.charge(charge, kStart).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(1)).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(charge, kStart + seconds(2)).kind, Kind::kExhausted);
}

TEST(QuotaWindows, TuplesAreBoundedAndIdleOnesMakeRoom) {
  QuotaWindowsLimits limits;
  limits.tuples_max = 100;
  QuotaWindows windows(7, limits);
  const CounterLimit limit = rolling(1, 1);
  const auto name = [](int i) { return "user-" + std::to_string(i); };
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(windows.charge(of(1, limit, name(i)), kStart).kind, Kind::kGranted);
  }
  // No room: the newcomer passes uncounted, and those that are known are still limited.
  EXPECT_EQ(windows.charge(of(1, limit, name(100)), kStart).kind, Kind::kUntracked);
  EXPECT_EQ(windows.charge(of(1, limit, name(100)), kStart).kind, Kind::kUntracked);
  EXPECT_EQ(windows.charge(of(1, limit, name(5)), kStart).kind, Kind::kExhausted);
  EXPECT_EQ(windows.tuples(), 100U);
  // Other quotas have room of their own.
  EXPECT_EQ(windows.charge(of(2, limit, name(100)), kStart).kind, Kind::kGranted);
  // Once their windows are over (and 100 ms for shards that are behind), they give way.
  const Instant later = kStart + milliseconds(1100);
  EXPECT_EQ(windows.charge(of(1, limit, name(100)), later).kind, Kind::kGranted);
  EXPECT_EQ(windows.charge(of(1, limit, name(100)), later).kind, Kind::kExhausted);
  EXPECT_EQ(windows.tuples(), 1U);
}

TEST(QuotaWindows, DefaultsAreTheDocumentedOnes) {
  const QuotaWindowsLimits limits;
  EXPECT_EQ(limits.tuples_max, 10'000U);
  EXPECT_EQ(limits.tuple_bytes_max, 512U);
  EXPECT_EQ(limits.repeats_max, 8U);
}

constexpr int kThreads = 4;

template <typename Work>
void run_threads(Work&& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

TEST(QuotaWindows, ThreadsTogetherGrantTheLimitAndNotOneMore) {
  for (int round = 0; round < 50; ++round) {
    QuotaWindows windows(static_cast<uint64_t>(round));
    std::atomic<int> granted{0};
    std::atomic<int> ready{0};
    run_threads([&](int) {
      ++ready;
      while (ready < kThreads) {
      }
      for (int i = 0; i < 200; ++i) {
        if (windows.charge(of(1, rolling(300, 1), "a"), kStart).kind == Kind::kGranted) ++granted;
      }
    });
    ASSERT_EQ(granted, 300);
    ASSERT_EQ(windows.tuples(), 1U);
  }
}

// A counter that owes nothing is forgotten only when no shard's clock is behind it: a new one that
// began earlier would grant once more what the forgotten one had let go.
TEST(QuotaWindows, AForgottenCounterIsNotBegunAgainInItsPast) {
  QuotaWindowsLimits limits;
  limits.tuples_max = 2;
  QuotaWindows windows(7, limits);
  const CounterLimit limit = rolling(20, 1);
  const Instant later = kStart + milliseconds(1000);
  QuotaAnswer last;
  for (const char* tuple : {"a", "b"}) {
    ASSERT_EQ(windows.charge(of(1, limit, tuple, 20), kStart).kind, Kind::kGranted);
    last = windows.charge(of(1, limit, tuple), later);
    ASSERT_EQ(last.kind, Kind::kGranted);
    windows.give_back(of(1, limit, tuple), last);
  }
  (void)windows.charge(of(1, limit, "newcomer"), later);
  const QuotaAnswer behind = windows.charge(of(1, limit, "a"), later - milliseconds(40));
  EXPECT_EQ(behind.kind, Kind::kGranted);
  EXPECT_EQ(behind.mark, last.mark);
  (void)windows.charge(of(1, limit, "newcomer"), later + milliseconds(1500));
  EXPECT_EQ(windows.charge(of(1, limit, "newcomer"), later + milliseconds(1500)).kind,
            Kind::kGranted);
}

// Threads whose clocks run and differ, tuples that come and go, charges that are taken back.
TEST(QuotaWindows, ThreadsKeepTheLimitInEveryWindow) {
  QuotaWindowsLimits limits;
  limits.tuples_max = 8;  // eviction all the time
  QuotaWindows windows(7, limits);
  // Shards' clocks differ by little, however long the kernel keeps one of these threads waiting.
  constexpr int64_t kStep = 800'000;
  constexpr int64_t kApartMax = 50'000'000;
  std::array<std::atomic<int64_t>, kThreads> clocks{};
  std::mutex mutex;
  std::map<std::string, std::map<int64_t, int64_t>> spent;  // by tuple and tick
  const CounterLimit limit = rolling(20, 1);
  run_threads([&](int thread) {
    Rng rng(static_cast<uint64_t>(thread) + 1);
    std::map<std::string, std::map<int64_t, int64_t>> mine;
    for (int i = 0; i < 20'000; ++i) {
      const int64_t clock = clocks[static_cast<size_t>(thread)] += kStep;
      const auto slowest = [&] { return std::min_element(clocks.begin(), clocks.end())->load(); };
      while (clock - slowest() > kApartMax) std::this_thread::yield();
      const Instant now = kStart + Duration(clock);
      const std::string tuple = "t" + std::to_string(rng.below(12));
      const QuotaCharge charge = of(1, limit, tuple, 1 + rng.below(3));
      const QuotaAnswer answer = windows.charge(charge, now);
      if (answer.kind != Kind::kGranted) continue;
      if (rng.chance(1, 4)) {
        windows.give_back(charge, answer);
      } else {
        mine[tuple][answer.mark] += charge.amount;
      }
    }
    clocks[static_cast<size_t>(thread)] = INT64_MAX / 2;
    const std::lock_guard lock(mutex);
    for (const auto& [tuple, ticks] : mine) {
      for (const auto& [tick, amount] : ticks) spent[tuple][tick] += amount;
    }
  });
  int64_t total = 0;
  for (const auto& [tuple, ticks] : spent) {
    for (const auto& [first, amount] : ticks) {
      total += amount;
      int64_t sum = 0;
      for (auto at = ticks.find(first); at != ticks.end() && at->first < first + 10; ++at) {
        sum += at->second;
      }
      EXPECT_LE(sum, 20) << tuple << " from tick " << first;
    }
  }
  EXPECT_GT(total, 1000);
}

}  // namespace
}  // namespace np::proxy
