// SPDX-License-Identifier: Apache-2.0
// What the engine gives up at each stage of memory use (reliability 12).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

constexpr const char* kPlainGet = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
constexpr const char* kDatabase = "10.96.0.77:5432";

class EngineOverload : public ::testing::Test {
 protected:
  EngineOverload() {
    cluster = &policy.add_cluster("reviews", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    table = &policy.add_table();
    table->entries.push_back({"/", route});
    policy.capture(kService, table);
    policy.listen("0.0.0.0:8080", table, "shop.example");
    PrefixTable& opaque = policy.add_table();
    opaque.entries.push_back({"", &policy.add_route(&policy.add_cluster("db", {"10.1.0.9:5432"}))});
    policy.capture(kDatabase, &opaque, policy::Protocol::kTcp);
    rig.use(policy);
  }
  // A client whose request was answered, and that is kept.
  Socket& kept_client() {
    Socket& client = rig.connect_captured(kService);
    const size_t before = rig.upstreams().size();
    rig.send(client, kPlainGet);
    if (rig.upstreams().size() > before) rig.open(rig.upstream(before));
    rig.send(*rig.upstreams().back(), kOk);
    EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
    return client;
  }
  // A client that uploads, to an endpoint that takes nothing: `bytes` of it wait here.
  Socket& holder(size_t bytes) {
    Socket& client = rig.connect_captured(kService);
    const size_t before = rig.upstreams().size();
    rig.send_owned(client, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100000\r\n\r\n" +
                               std::string(bytes, 'x'));
    EXPECT_EQ(rig.upstreams().size(), before + 1);
    return client;
  }
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;
  PrefixTable* table;
  EngineRig rig;
};

TEST_F(EngineOverload, DrainClosesIdleConnectionsOfBothSides) {
  Socket& client = kept_client();
  Socket& origin = rig.upstream(0);
  rig.relieve(MemoryStage::kDrain);
  EXPECT_TRUE(client.closed);
  EXPECT_FALSE(client.aborted);
  EXPECT_TRUE(origin.closed);
  EXPECT_EQ(rig.counters().overload_cx_idle_closed, 1U);
  EXPECT_EQ(rig.counters().overload_upstream_cx_closed, 1U);
}

TEST_F(EngineOverload, DrainServesButKeepsNothingAlive) {
  Socket& under_way = rig.connect_captured(kService);
  rig.send(under_way, kPlainGet);
  rig.open(rig.upstream(0));
  rig.relieve(MemoryStage::kDrain);
  EXPECT_FALSE(under_way.closed);
  rig.send(rig.upstream(0), kOk);
  const std::string answer = rig.take(under_way);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("onnection: close"));
  EXPECT_TRUE(under_way.closed);

  Socket& fresh = rig.connect_captured(kService);
  EXPECT_FALSE(fresh.closed);
  rig.send(fresh, kPlainGet);
  rig.send(*rig.upstreams().back(), kOk);
  EXPECT_THAT(rig.take(fresh), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(fresh.closed);
  EXPECT_TRUE(rig.is_balanced());
}

// Who has asked nothing yet gets a moment for it, not an hour.
TEST_F(EngineOverload, DrainGivesTheSilentAMoment) {
  Socket& early = rig.connect_captured(kService);
  rig.relieve(MemoryStage::kDrain);
  Socket& late = rig.connect_captured(kService);
  EXPECT_FALSE(early.closed);
  for (int i = 0; i < 10; ++i) {
    rig.advance(std::chrono::milliseconds(150));
    rig.relieve(MemoryStage::kDrain);  // each look anew, and the moment does not begin anew
  }
  EXPECT_TRUE(early.closed);
  EXPECT_TRUE(late.closed);
}

TEST_F(EngineOverload, RecoversToKeepAlive) {
  (void)kept_client();
  rig.relieve(MemoryStage::kRefuse);
  rig.relieve(MemoryStage::kNormal);
  Socket& client = kept_client();
  EXPECT_FALSE(client.closed);
  rig.send(client, kPlainGet);
  rig.send(*rig.upstreams().back(), kOk);
  EXPECT_THAT(rig.take(client), Not(HasSubstr("lose")));
}

TEST_F(EngineOverload, RefuseAnswersNewRequests) {
  Socket& under_way = rig.connect_captured(kService);
  rig.send(under_way, kPlainGet);
  rig.open(rig.upstream(0));
  Socket& waiting = rig.connect_captured(kService);  // accepted, its request comes too late
  rig.relieve(MemoryStage::kRefuse);
  rig.send(waiting, kPlainGet);
  const std::string refusal = rig.take(waiting);
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refusal, HasSubstr("x-envoy-local-overloaded: true"));
  EXPECT_THAT(refusal, HasSubstr("onnection: close"));
  EXPECT_TRUE(refusal.ends_with("envoy overloaded"));
  EXPECT_TRUE(waiting.closed);
  EXPECT_FALSE(waiting.aborted);
  EXPECT_EQ(rig.upstreams().size(), 1U);
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(under_way), StartsWith("HTTP/1.1 200")) << "what was under way is served";
  EXPECT_EQ(rig.counters().ended_overloaded, 1U);
  EXPECT_EQ(rig.counters().overload_rq_refused, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineOverload, RefusePausesWhoHoldsMoreAndGoesOnAfterwards) {
  Socket& large = holder(12'000);
  Socket& small = holder(100);
  EXPECT_TRUE(large.receiving);
  rig.relieve(MemoryStage::kRefuse);
  EXPECT_FALSE(large.receiving);
  EXPECT_TRUE(small.receiving);
  rig.send_owned(small, std::string(16'000, 'x'));
  EXPECT_FALSE(small.receiving);
  rig.relieve(MemoryStage::kDrain);
  EXPECT_TRUE(large.receiving);
  EXPECT_TRUE(small.receiving);
}

TEST_F(EngineOverload, RefuseResetsNewOpaqueConnections) {
  Socket& before = rig.connect_captured(kDatabase);
  rig.open(rig.upstream(0));
  rig.relieve(MemoryStage::kRefuse);
  Socket& client = rig.connect_captured(kDatabase);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(client.aborted);
  EXPECT_FALSE(before.closed);
  EXPECT_EQ(rig.counters().ended_tcp_overloaded, 1U);
}

// Who holds the memory does not keep everybody else out for ever.
TEST_F(EngineOverload, RefusingForLongEndsTheLargestOneByOne) {
  Socket& large = holder(30'000);
  Socket& small = holder(100);
  for (Socket* origin : rig.upstreams()) {
    origin->hold = true;  // takes nothing
    rig.open(*origin);
  }
  rig.relieve(MemoryStage::kRefuse);
  rig.advance(std::chrono::milliseconds(9'900));
  rig.relieve(MemoryStage::kRefuse);
  EXPECT_EQ(rig.counters().overload_rq_ended, 0U);
  rig.advance(std::chrono::milliseconds(100));
  rig.relieve(MemoryStage::kRefuse);
  EXPECT_THAT(rig.take(large), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(rig.take(small), "");
  EXPECT_EQ(rig.counters().overload_rq_ended, 1U);
  rig.relieve(MemoryStage::kDrain);
  rig.relieve(MemoryStage::kRefuse);
  EXPECT_EQ(rig.counters().overload_rq_ended, 1U) << "it begins anew";
}

TEST_F(EngineOverload, ResetEndsAsMuchAsIsAskedForLargestFirst) {
  std::vector<Socket*> clients;
  for (size_t i = 0; i < 40; ++i) clients.push_back(&holder(1 + (i * 7 % 40) * 600));
  rig.relieve(MemoryStage::kReset, 200'000);
  const uint64_t ended = rig.counters().overload_rq_ended;
  EXPECT_GE(ended, 200'000U / 30'000);
  EXPECT_LE(ended, 200'000U / 20'000);
  size_t smallest_ended = SIZE_MAX, largest_left = 0;
  for (size_t i = 0; i < clients.size(); ++i) {
    const size_t bytes = i * 7 % 40;
    if (rig.take(*clients[i]).empty()) {
      largest_left = std::max(largest_left, bytes);
    } else {
      smallest_ended = std::min(smallest_ended, bytes);
    }
  }
  EXPECT_LT(largest_left, smallest_ended);
  rig.relieve(MemoryStage::kReset, SIZE_MAX);
  EXPECT_EQ(rig.counters().overload_rq_ended, 40U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineOverload, ResetEndsABoundedNumberAtOnce) {
  for (size_t i = 0; i < 300; ++i) (void)holder(100);
  rig.relieve(MemoryStage::kReset, SIZE_MAX);
  EXPECT_EQ(rig.counters().overload_rq_ended, 256U);
  rig.relieve(MemoryStage::kReset, SIZE_MAX);
  EXPECT_EQ(rig.counters().overload_rq_ended, 300U);
}

// Never a clean end for an answer that is not whole.
TEST_F(EngineOverload, ResetCutsAnAnswerVisibly) {
  Socket& client = rig.connect_captured(kService);
  client.hold = true;
  rig.send(client, kPlainGet);
  rig.open(rig.upstream(0));
  rig.send_owned(rig.upstream(0),
                 "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(32'000, 'x'));
  rig.relieve(MemoryStage::kReset);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(client.aborted);
  EXPECT_EQ(rig.counters().ended_overload_reset, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

// The exchange is over, its answer was never taken: the connection alone holds memory.
TEST_F(EngineOverload, ResetClosesWhoDoesNotTakeAnAnswer) {
  Socket& client = rig.connect_captured(kService);
  client.hold = true;
  rig.send(client, kPlainGet);
  rig.open(rig.upstream(0));
  rig.send_owned(rig.upstream(0),
                 "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + std::string(20'000, 'x'));
  EXPECT_EQ(rig.counters().ended_completed, 1U);
  rig.relieve(MemoryStage::kReset);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(client.aborted);
  EXPECT_EQ(rig.counters().overload_rq_ended, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineOverload, ManyIdleConnectionsAreClosedInParts) {
  std::vector<Socket*> clients;
  for (int i = 0; i < 3000; ++i) clients.push_back(&kept_client());
  rig.relieve(MemoryStage::kDrain);
  EXPECT_EQ(rig.counters().overload_cx_idle_closed, 2048U);
  rig.relieve(MemoryStage::kDrain);
  EXPECT_EQ(rig.counters().overload_cx_idle_closed, 3000U);
  for (const Socket* client : clients) EXPECT_TRUE(client->closed);
}

}  // namespace
}  // namespace np::test
