// SPDX-License-Identifier: Apache-2.0
// Events of several connections in one step, as a busy driver tells them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::StartsWith;
using Socket = EngineRig::Socket;

class EngineStep : public ::testing::Test {
 protected:
  EngineStep() {
    PrefixTable& table = policy.add_table();
    table.entries.push_back(
        {"/", &policy.add_route(&policy.add_cluster("ratings", {"10.1.0.1:9080"}))});
    policy.capture(kService, &table);
    rig.use(policy);
  }
  // A client with a request under way, on a connection of its own.
  Socket& ask() {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, kGet);
    rig.open(*rig.upstreams().back());
    return client;
  }
  PolicyFixture policy;
  EngineRig rig;
};

TEST_F(EngineStep, NothingGoesOutBeforeItsEnd) {
  Socket& first = ask();
  Socket& second = ask();
  rig.send_followed(rig.upstream(0), kOk);
  rig.send_followed(rig.upstream(1), kOk);
  EXPECT_EQ(rig.take(first), "");
  EXPECT_EQ(rig.take(second), "");
  rig.wake();
  EXPECT_THAT(rig.take(first), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(rig.take(second), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(rig.is_balanced());
}

// A kept connection that the endpoint has closed is found closed, not tried: a POST could not be
// repeated, and who waits for a repeat waits for long.
TEST_F(EngineStep, AKeptConnectionIsGoneForWhatComesBehindItsEnd) {
  Socket& first = ask();
  rig.send(rig.upstream(0), kOk);
  rig.take(first);
  Socket& second = rig.connect_captured(kService);
  rig.finish_followed(rig.upstream(0));
  rig.send_followed(second, kPost);
  rig.wake();
  ASSERT_EQ(rig.upstreams().size(), 2U);
  rig.open(rig.upstream(1));
  EXPECT_THAT(rig.take(rig.upstream(1)), StartsWith("POST"));
  rig.send(rig.upstream(1), kOk);
  EXPECT_THAT(rig.take(second), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 0U);
}

// What was received before an end is passed on before the end cuts it off.
TEST_F(EngineStep, APartOfAnAnswerGoesOutBeforeItsFailure) {
  Socket& client = ask();
  rig.send_followed(rig.upstream(0), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab");
  rig.fail(rig.upstream(0));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(client.aborted);
}

// An answer frees a connection, and who waits for one gets it when the step ends: who asks
// meanwhile waits for the one that is being opened, and needs none of its own.
TEST_F(EngineStep, AConnectionThatComesFreeIsCountedOn) {
  Socket& served = ask();
  Socket& waits = rig.connect_captured(kService);
  rig.send(waits, kGet);
  ASSERT_EQ(rig.upstreams().size(), 2U);
  Socket& last = rig.connect_captured(kService);
  rig.send_followed(rig.upstream(0), kOk);
  rig.send_followed(last, kGet);
  rig.wake();
  EXPECT_EQ(rig.upstreams().size(), 2U);
  EXPECT_THAT(rig.take(served), StartsWith("HTTP/1.1 200"));
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(waits), StartsWith("HTTP/1.1 200"));
  rig.send(rig.upstream(0), kOk);
  EXPECT_THAT(rig.take(last), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace np::test
