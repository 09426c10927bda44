// SPDX-License-Identifier: Apache-2.0
// AdmissionGroup against a plain model of its rules (traffic-semantics 3.3), and by many threads at
// once: never one over, never one short, first come first served.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <set>
#include <thread>

#include "base/random.h"
#include "proxy/node_state.h"

namespace np::test {
namespace {

using proxy::Admission;
using proxy::AdmissionGroup;
using proxy::NodeState;
using proxy::WaitNode;

policy::ConnectionPool limits(uint32_t connections, uint32_t pending, uint32_t requests) {
  policy::ConnectionPool pool;
  pool.max_connections = connections;
  pool.max_pending_requests = pending;
  pool.max_requests = requests;
  return pool;
}

TEST(AdmissionGroup, OneRunsOneWaitsTheRestAreRefused) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 1, policy::kUnlimited), 0);
  WaitNode a;
  WaitNode b;
  WaitNode c;
  EXPECT_EQ(group.admit(a, true), Admission::kGranted);
  EXPECT_EQ(group.admit(b, true), Admission::kWaiting);
  EXPECT_EQ(group.admit(c, true), Admission::kTooManyPending);
  group.end(0);
  EXPECT_EQ(node.mailbox(0).take(), &b);
  group.arrived(b);
  EXPECT_EQ(group.counts().running, 1U);
  EXPECT_EQ(group.counts().waiting, 0U);
  EXPECT_EQ(group.counts().rejected, 1U);
}

TEST(AdmissionGroup, WhoLeavesTheLineFreesItsPlace) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 1, policy::kUnlimited), 0);
  WaitNode running;
  WaitNode gone;
  WaitNode next;
  (void)group.admit(running, true);
  (void)group.admit(gone, true);
  group.leave(gone);
  EXPECT_EQ(group.admit(next, true), Admission::kWaiting);
  // Granted, but gone before it heard of it: the place goes to nobody else by mistake.
  group.end(0);
  group.leave(next);
  EXPECT_EQ(node.mailbox(0).take(), nullptr);
  EXPECT_EQ(group.counts().running, 0U);
}

TEST(AdmissionGroup, WhoOfferedItsPlaceIsRefusedWhenItIsNeeded) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 2, policy::kUnlimited), 0);
  std::array<WaitNode, 6> nodes;
  for (size_t i = 0; i < 3; ++i) (void)group.admit(nodes[i], true);
  group.offer_place(nodes[2]);
  group.offer_place(nodes[2]);
  EXPECT_EQ(group.admit(nodes[3], true), Admission::kWaiting);
  EXPECT_EQ(node.mailbox(0).take(), &nodes[2]);
  EXPECT_FALSE(group.arrived(nodes[2]));
  EXPECT_EQ(group.admit(nodes[4], true), Admission::kTooManyPending);
  EXPECT_EQ(group.counts().rejected, 2U);
  // One that is refused may leave before it hears of it.
  group.offer_place(nodes[3]);
  EXPECT_EQ(group.admit(nodes[5], true), Admission::kWaiting);
  group.leave(nodes[3]);
  EXPECT_EQ(node.mailbox(0).take(), nullptr);
  EXPECT_EQ(group.counts().running, 1U);
  // Its turn has come: the place was its own.
  group.offer_place(nodes[1]);
  group.end(0);
  EXPECT_EQ(node.mailbox(0).take(), &nodes[1]);
  EXPECT_TRUE(group.arrived(nodes[1]));
  EXPECT_EQ(group.admit(nodes[4], true), Admission::kWaiting);
  EXPECT_EQ(group.admit(nodes[2], true), Admission::kTooManyPending);
}

TEST(AdmissionGroup, MoreRoomByPolicyLetsTheLineIn) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 5, policy::kUnlimited), 0);
  WaitNode nodes[4];
  for (WaitNode& one : nodes) (void)group.admit(one, true);
  group.configure(limits(3, 5, policy::kUnlimited), 0);
  EXPECT_EQ(node.mailbox(0).take(), &nodes[1]);
  EXPECT_EQ(node.mailbox(0).take(), &nodes[2]);
  EXPECT_EQ(node.mailbox(0).take(), nullptr);
  EXPECT_EQ(group.counts().running, 3U);
}

TEST(AdmissionGroup, RetriesHaveALimitOfTheirOwn) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  policy::ConnectionPool pool;
  pool.max_retries = 2;
  group.configure(pool, 0);
  EXPECT_TRUE(group.begin_retry());
  EXPECT_TRUE(group.begin_retry());
  EXPECT_FALSE(group.begin_retry());
  group.end_retry();
  EXPECT_TRUE(group.begin_retry());
}

TEST(AdmissionGroup, ARetryBudgetGrowsWithTheRequests) {
  NodeState node(1, {});
  AdmissionGroup& group = node.admission(1, 0);
  policy::ConnectionPool pool;
  pool.max_retries = 1;  // the budget stands in its place
  pool.retry_budget = {25, 2};
  group.configure(pool, 0);
  const auto retries = [&] {
    int begun = 0;
    while (group.begin_retry()) ++begun;
    for (int i = 0; i < begun; ++i) group.end_retry();
    return begun;
  };
  EXPECT_EQ(retries(), 2);
  std::array<WaitNode, 20> nodes;
  for (WaitNode& one : nodes) (void)group.admit(one, true);
  EXPECT_EQ(retries(), 5);
  pool.retry_budget.reset();
  group.configure(pool, 0);
  EXPECT_EQ(retries(), 1);
}

TEST(AdmissionGroup, ShowsItselfInItsSlot) {
  std::vector<LimitSlot> slots(1);
  NodeState::Seams seams;
  seams.slots = slots;
  NodeState node(1, seams);
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 1, 9), 0);
  WaitNode a;
  WaitNode b;
  WaitNode c;
  (void)group.admit(a, true);
  (void)group.admit(b, true);
  (void)group.admit(c, true);
  EXPECT_EQ(slots[0].active, 1U);
  EXPECT_EQ(slots[0].max, 1U);
  EXPECT_EQ(slots[0].pending, 1U);
  EXPECT_EQ(slots[0].rejected, 1U);
}

TEST(AdmissionGroup, AsksTheShardThatKeepsAnIdleConnection) {
  NodeState node(3, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(1, 1, policy::kUnlimited), 0);
  EXPECT_FALSE(group.connection_opened());
  group.change_idle(2, 1);
  EXPECT_TRUE(group.connection_opened());
  EXPECT_TRUE(group.ask_to_trim(0));
  EXPECT_FALSE(group.ask_to_trim(0));  // it has one only, and was asked
  EXPECT_TRUE(node.mailbox(2).take_ring());
  EXPECT_EQ(group.take_trims(2), 1U);
  EXPECT_EQ(group.take_trims(2), 0U);
}

// ---- a plain model ---------------------------------------------------------------------------

struct Model {
  uint32_t connections, pending, requests;
  std::set<int> running;
  std::deque<int> line;

  Admission admit(int who) {
    if (running.size() < connections && line.empty()) {
      if (running.size() >= requests) return Admission::kTooManyRequests;
      running.insert(who);
      return Admission::kGranted;
    }
    if (line.size() >= pending) return Admission::kTooManyPending;
    line.push_back(who);
    return Admission::kWaiting;
  }
  std::vector<int> serve() {
    std::vector<int> in;
    while (!line.empty() && running.size() < connections && running.size() < requests) {
      in.push_back(line.front());
      running.insert(line.front());
      line.pop_front();
    }
    return in;
  }
};

TEST(AdmissionGroup, AgreesWithThePlainModel) {
  constexpr int kWho = 40;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Rng dice(seed);
    NodeState node(4, {});
    AdmissionGroup& group = node.admission(1, 0);
    Model model{1 + dice.below(8), dice.below(9), 1 + dice.below(10), {}, {}};
    group.configure(limits(model.connections, model.pending, model.requests), 0);
    std::vector<WaitNode> nodes(kWho);
    std::vector<bool> away(kWho, true);
    for (size_t i = 0; i < nodes.size(); ++i) nodes[i].shard = static_cast<uint32_t>(i) % 4;
    const auto expect_mail = [&](const std::vector<int>& in) {
      std::vector<int> got;
      for (uint32_t shard = 0; shard < 4; ++shard) {
        while (WaitNode* mail = node.mailbox(shard).take()) {
          group.arrived(*mail);
          got.push_back(static_cast<int>(mail - nodes.data()));
        }
      }
      std::vector<int> wanted = in;
      std::sort(got.begin(), got.end());
      std::sort(wanted.begin(), wanted.end());
      ASSERT_EQ(got, wanted) << "seed " << seed;
    };
    for (int step = 0; step < 400; ++step) {
      const int who = static_cast<int>(dice.below(kWho));
      const auto at = static_cast<size_t>(who);
      if (away[at]) {
        const Admission verdict = model.admit(who);
        ASSERT_EQ(group.admit(nodes[at], true), verdict) << "seed " << seed;
        away[at] = verdict != Admission::kGranted && verdict != Admission::kWaiting;
      } else if (model.running.erase(who) > 0) {
        away[at] = true;
        group.end(nodes[at].shard);
        expect_mail(model.serve());
      } else {
        std::erase(model.line, who);
        away[at] = true;
        group.leave(nodes[at]);
      }
      const AdmissionGroup::Counts counts = group.counts();
      ASSERT_EQ(counts.running, model.running.size());
      ASSERT_EQ(counts.waiting, model.line.size());
    }
  }
}

// Threads stand for shards: what they see together must not pass the limit, and everybody who waits
// gets in.
TEST(AdmissionGroup, HoldsBetweenThreads) {
  constexpr uint32_t kShards = 4;
  constexpr uint32_t kLimit = 3;
  constexpr int kRounds = 20'000;
  NodeState node(kShards, {});
  AdmissionGroup& group = node.admission(1, 0);
  group.configure(limits(kLimit, 8, policy::kUnlimited), 0);
  std::atomic<uint32_t> inside{0};
  std::atomic<uint32_t> most{0};
  std::atomic<uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    threads.emplace_back([&, shard] {
      WaitNode own;
      own.shard = shard;
      for (int i = 0; i < kRounds; ++i) {
        const Admission verdict = group.admit(own, true);
        if (verdict == Admission::kWaiting) {
          while (node.mailbox(shard).take() == nullptr) std::this_thread::yield();
          group.arrived(own);
        } else if (verdict != Admission::kGranted) {
          refused.fetch_add(1);
          continue;
        }
        const uint32_t now = inside.fetch_add(1) + 1;
        uint32_t seen = most.load();
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        inside.fetch_sub(1);
        group.end(shard);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most.load(), kLimit);
  EXPECT_EQ(group.counts().running, 0U);
  EXPECT_EQ(group.counts().rejected, refused.load());
}

}  // namespace
}  // namespace np::test
