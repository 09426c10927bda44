// SPDX-License-Identifier: Apache-2.0
// A client's connection leaves one engine and goes on in another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using proxy::ClientRest;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

constexpr const char* kMoveGet = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
constexpr const char* kMoveOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr const char* kMoveDatabase = "10.96.0.77:5432";

class EngineMove : public ::testing::Test {
 protected:
  EngineMove() {
    table = &policy.add_table();
    table->entries.push_back({"/", &policy.add_route(&policy.add_cluster("r", {"10.1.0.1:9080"}))});
    policy.capture(kService, table);
    PrefixTable& opaque = policy.add_table();
    opaque.entries.push_back({"", &policy.add_route(&policy.add_cluster("db", {"10.1.0.9:5432"}))});
    policy.capture(kMoveDatabase, &opaque, policy::Protocol::kTcp);
    here.use(policy);
    there.use(policy);
  }
  static ClientRest rest_of(EngineRig& rig, const Socket& socket) {
    return rig.engine().rest_of(socket.id);
  }
  static void ask(EngineRig& rig, Socket& client) {
    const size_t before = rig.upstreams().size();
    rig.send(client, kMoveGet);
    if (rig.upstreams().size() > before) rig.open(rig.upstream(before));
  }
  static void answer(EngineRig& rig, Socket& client) {
    rig.send(*rig.upstreams().back(), kMoveOk);
    EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  }
  Socket& kept_client() {
    Socket& client = here.connect_captured(kService);
    ask(here, client);
    answer(here, client);
    return client;
  }
  Socket& moved(Socket& client) {
    proxy::Accepted accepted;
    EXPECT_TRUE(here.forget(client, &accepted));
    return there.connect(accepted);
  }
  PolicyFixture policy;
  PrefixTable* table;
  EngineRig here{nullptr, 0}, there{nullptr, 0};
};

TEST_F(EngineMove, IsTheSameConnectionElsewhere) {
  Socket& client = kept_client();
  EXPECT_EQ(rest_of(here, client), ClientRest::kNow);
  const uint64_t start_ns = here.record.start_ns;
  Socket& again = moved(client);
  EXPECT_FALSE(client.closed);
  EXPECT_EQ(here.engine().open_downstream(), 0U);
  EXPECT_EQ(there.engine().open_downstream(), 1U);
  EXPECT_TRUE(again.receiving);
  ask(there, again);
  answer(there, again);
  // The record goes on, and nobody counted a second connection.
  EXPECT_EQ(here.record.started, 2U);
  EXPECT_EQ(here.record.completed, 2U);
  EXPECT_EQ(here.record.start_ns, start_ns);
  EXPECT_EQ(here.record.state, 1U);
  EXPECT_EQ(here.counters().downstream_cx_total, 1U);
  EXPECT_EQ(here.counters().downstream_cx_destroy, 0U);
  EXPECT_EQ(there.counters().downstream_cx_total, 0U);
  there.finish(again);
  EXPECT_TRUE(again.closed);
  EXPECT_EQ(there.counters().downstream_cx_destroy, 1U);
  EXPECT_EQ(here.record.state, 2U);
  EXPECT_TRUE(here.is_balanced() && there.is_balanced());
}

TEST_F(EngineMove, OnlyBetweenTwoRequests) {
  proxy::Accepted accepted;
  Socket& client = here.connect_captured(kService);
  const auto stays = [&](ClientRest rest) {
    EXPECT_EQ(rest_of(here, client), rest);
    EXPECT_FALSE(here.forget(client, &accepted));
  };
  stays(ClientRest::kNo);  // has not asked yet
  here.send(client, "GET /");
  stays(ClientRest::kNo);
  here.send(client, " HTTP/1.1\r\nHost: reviews\r\n\r\n");
  stays(ClientRest::kNo);  // no endpoint has it yet
  here.open(here.upstream(0));
  stays(ClientRest::kSoon);
  client.hold = true;
  here.send(here.upstream(0), kMoveOk);
  stays(ClientRest::kSoon);  // the answer is being sent
  here.release(client);
  EXPECT_EQ(rest_of(here, client), ClientRest::kNow);
  here.send(client, "G");
  stays(ClientRest::kNo);
  here.send(client, "ET / HTTP/1.1\r\nHost: reviews\r\n\r\n");
  stays(ClientRest::kSoon);
  here.send(client, kMoveGet);  // pipelined
  stays(ClientRest::kNo);
  here.send(here.upstream(0), kMoveOk);
  here.send(here.upstream(0), kMoveOk);
  EXPECT_EQ(rest_of(here, client), ClientRest::kNow);
  here.finish(client);
  stays(ClientRest::kNever);
}

TEST_F(EngineMove, NotWhileTheStepIsUnderWay) {
  Socket& client = kept_client();
  here.send_followed(client, "\r\n");
  EXPECT_EQ(rest_of(here, client), ClientRest::kNo);
  here.wake();
  EXPECT_EQ(rest_of(here, client), ClientRest::kNow);  // an empty line is nobody's request
  here.send(client, "\r");
  EXPECT_EQ(rest_of(here, client), ClientRest::kNo);  // half of one
}

TEST_F(EngineMove, BodiesAreWaitedFor) {
  Socket& client = kept_client();
  here.send(client, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nab");
  EXPECT_EQ(rest_of(here, client), ClientRest::kNo);
  here.send(client, "cd");
  EXPECT_EQ(rest_of(here, client), ClientRest::kSoon);
}

TEST_F(EngineMove, OpaqueConnectionsStay) {
  Socket& client = here.connect_captured(kMoveDatabase);
  EXPECT_EQ(rest_of(here, client), ClientRest::kNever);
  here.open(here.upstream(0));
  EXPECT_EQ(rest_of(here, client), ClientRest::kNever);
  EXPECT_EQ(rest_of(here, here.upstream(0)), ClientRest::kNever);
}

TEST_F(EngineMove, StaysHttpWhateverThePolicySaysMeanwhile) {
  Socket& client = kept_client();
  PolicyFixture other;
  PrefixTable& opaque = other.add_table();
  opaque.entries.push_back({"", &other.add_route(&other.add_cluster("r", {"10.1.0.1:9080"}))});
  other.capture(kService, &opaque, policy::Protocol::kTcp);
  there.use(other);
  Socket& again = moved(client);
  EXPECT_EQ(there.upstreams().size(), 0U);
  there.send(again, "nonsense\r\n\r\n");
  EXPECT_THAT(there.take(again), StartsWith("HTTP/1.1 400"));
}

// The one that drains gives nothing away; what arrives at one that drains has asked already.
TEST_F(EngineMove, Drain) {
  Socket& first = kept_client();
  Socket& second = kept_client();
  there.drain();
  EXPECT_TRUE(moved(first).closed);
  proxy::Accepted accepted;
  here.drain();
  EXPECT_TRUE(second.closed);
  EXPECT_FALSE(here.forget(second, &accepted));
  EXPECT_EQ(here.engine().open_downstream() + there.engine().open_downstream(), 0U);
}

TEST_F(EngineMove, LimitsOfTimeBeginAnew) {
  Socket& again = moved(kept_client());
  there.send(again, "GET / HTTP/1.1\r\n");
  there.advance(seconds(11));
  EXPECT_THAT(there.take(again), StartsWith("HTTP/1.1 408"));
  EXPECT_TRUE(here.is_balanced() && there.is_balanced());
  here.advance(std::chrono::hours(2));  // nothing of it is left behind
  EXPECT_EQ(here.counters().downstream_cx_idle_timeout, 0U);
}

}  // namespace
}  // namespace np::test
