// SPDX-License-Identifier: Apache-2.0
// Bodies, back-pressure, half-close, cut answers, drain, idle times.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

class EngineFlow : public ::testing::Test {
 protected:
  EngineFlow() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    table = &policy.add_table();
    table->entries.push_back({"/", route});
    policy.capture(kService, table);
    policy::Cluster& db = policy.add_cluster("db", {"10.1.0.5:3306"});
    PrefixTable& tcp = policy.add_table();
    tcp.entries.push_back({"", &policy.add_route(&db)});
    policy.capture(kTcp, &tcp, policy::Protocol::kTcp);
  }
  // A client whose request is with the origin.
  std::pair<Socket*, Socket*> ask(std::string_view request = kGet) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, request);
    Socket& origin = *rig.upstreams().back();
    if (!origin.opened) rig.open(origin);
    return {&client, &origin};
  }
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;
  PrefixTable* table;
  EngineRig rig;
};

TEST_F(EngineFlow, CutBodyAbortsTheClient) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
  rig.finish(*origin);
  EXPECT_TRUE(client->closed);
  EXPECT_TRUE(client->aborted);
  EXPECT_EQ(rig.counters().ended_upstream_truncated, 1U);
  EXPECT_EQ(rig.counters().upstream_rq_tx_reset, 0U);
  EXPECT_EQ(rig.counters().upstream_rq_rx_reset, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

// What ends or goes on with the end of a send has to hear of it at once; the rest has time.
TEST_F(EngineFlow, OnlySendsThatNothingWaitsForMayBeToldLate) {
  rig.use(policy);
  auto [client, origin] = ask();
  EXPECT_TRUE(origin->told_late);
  rig.send(*origin, kOk);
  EXPECT_TRUE(client->told_late);
  rig.send(*client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  rig.send(*rig.upstreams().back(), kOk);
  EXPECT_FALSE(client->told_late);
  EXPECT_TRUE(client->closed);
  auto [reader, source] = ask();
  rig.send(*source, "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + std::string(20000, 'a'));
  EXPECT_FALSE(reader->told_late);  // the endpoint may be paused for it
}

// Something has come behind a send that is told late: then it is wanted at once.
TEST_F(EngineFlow, WhatComesToWaitForALateOneHurries) {
  rig.use(policy);
  const auto with_a_late_answer = [&](std::string_view request) -> Socket& {
    auto [client, origin] = ask(request);
    EXPECT_FALSE(rig.engine().take_hurry());
    client->hold = true;
    rig.send(*origin, kOk);
    EXPECT_TRUE(client->told_late);
    return *client;
  };
  // Another answer.
  const std::string two = std::string(kGet) + kGet;
  Socket& asks_twice = with_a_late_answer(two);
  EXPECT_FALSE(rig.engine().take_hurry());
  rig.send(*rig.upstreams().back(), kOk);
  EXPECT_TRUE(rig.engine().take_hurry());
  EXPECT_FALSE(rig.engine().take_hurry());
  rig.release(asks_twice);
  // A FIN: the connection ends behind it.
  Socket& leaves = with_a_late_answer(kGet);
  EXPECT_FALSE(rig.engine().take_hurry());
  rig.finish(leaves);
  EXPECT_TRUE(rig.engine().take_hurry());
  rig.release(leaves);
  EXPECT_TRUE(leaves.closed);
}

// As from a shard: a short answer holds a large receive buffer, and the next request waits for it.
TEST_F(EngineFlow, WhoFindsNoRoomBehindALateOneHurries) {
  rig.use(policy);
  auto [client, origin] = ask(std::string(kGet) + kGet);
  client->hold = true;
  const std::string body(4000, 'b');
  const std::string answer =
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  (void)rig.take(*origin);
  rig.send_owned(*origin, answer, 32 * 1024);
  ASSERT_TRUE(client->told_late);
  EXPECT_EQ(rig.take(*origin), "");
  EXPECT_TRUE(rig.engine().take_hurry());
  rig.release(*client);
  EXPECT_THAT(rig.take(*origin), StartsWith("GET /x"));
}

// What a connection received in several pieces goes out in one send.
TEST_F(EngineFlow, PiecesThatAreFollowedGoOutTogether) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send_followed(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab");
  rig.send_followed(*origin, "cd");
  EXPECT_EQ(rig.take(*client), "");
  rig.send_owned(*origin, "ef");
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nabcdef"));
  EXPECT_EQ(rig.counters().downstream_rq_completed, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineFlow, WhatWasSaidToBeFollowedIsSentWhenNothingCame) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send_followed(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
  EXPECT_EQ(rig.take(*client), "");
  rig.wake();
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nab"));
}

// The first piece ends the connection: what follows it is nobody's.
TEST_F(EngineFlow, PiecesBehindTheOneThatEndedTheConnectionAreDropped) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send_followed(*origin, "nonsense\r\n\r\n");
  rig.send_followed(*origin, "more");
  rig.fail(*origin);
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 502"));
  EXPECT_TRUE(origin->closed);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineFlow, CutChunkedBodyGetsNoLastChunk) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  rig.fail(*origin);
  EXPECT_THAT(rig.take(*client), EndsWith("3\r\nabc\r\n"));
  EXPECT_TRUE(client->aborted);
}

TEST_F(EngineFlow, UntilCloseBodyBecomesChunked) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, "HTTP/1.1 200 OK\r\n\r\nabc");
  rig.finish(*origin);
  EXPECT_THAT(rig.take(*client), EndsWith("3\r\nabc\r\n0\r\n\r\n"));
  EXPECT_FALSE(client->closed);
  EXPECT_TRUE(origin->closed);
}

TEST_F(EngineFlow, BrokenAnswerIs502) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string answer = rig.take(*client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(answer, HasSubstr("reset reason: protocol error"));
  EXPECT_TRUE(origin->closed);
}

TEST_F(EngineFlow, ClientFinAfterTheRequestIsServed) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.finish(*client);
  EXPECT_FALSE(client->closed);
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nok"));
  EXPECT_TRUE(client->closed);
  EXPECT_FALSE(client->aborted);
}

// It may have left: something that it may ignore is sent, which a socket that is gone resets.
TEST_F(EngineFlow, ClientFinAWhileAfterTheRequestIsAskedWhetherItReadsOn) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.advance(proxy::EngineLimits().half_close_grace);
  rig.finish(*client);
  EXPECT_EQ(rig.take(*client), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(rig.counters().downstream_rq_asked_for_client, 1U);
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nok"));
  EXPECT_TRUE(client->closed);
}

TEST_F(EngineFlow, ClientThatLeftEndsItsRequestWithTheReset) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.advance(proxy::EngineLimits().half_close_grace);
  rig.finish(*client);
  rig.fail(*client);
  EXPECT_TRUE(origin->closed);
  EXPECT_EQ(rig.counters().ended_client_gone, 1U);
}

TEST_F(EngineFlow, AnOldClientIsNotAsked) {
  rig.use(policy);
  auto [client, origin] = ask("GET /x HTTP/1.0\r\nHost: r\r\n\r\n");
  rig.advance(proxy::EngineLimits().half_close_grace);
  rig.finish(*client);
  EXPECT_EQ(rig.take(*client), "");
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 200"));
}

TEST_F(EngineFlow, ClientFinInTheRequestCancelsIt) {
  rig.use(policy);
  auto [client, origin] = ask("POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\nabc");
  rig.finish(*client);
  EXPECT_TRUE(client->closed);
  EXPECT_TRUE(origin->closed);
  EXPECT_EQ(rig.counters().ended_client_gone, 1U);
}

TEST_F(EngineFlow, HeadAnswerHasLengthAndNoBody) {
  rig.use(policy);
  auto [client, origin] = ask("HEAD /x HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
  const std::string answer = rig.take(*client);
  EXPECT_THAT(answer, HasSubstr("500\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
  rig.send(*client, kGet);
  EXPECT_EQ(rig.upstreams().size(), 1U);
}

TEST_F(EngineFlow, ExpectContinuePassesBothWays) {
  rig.use(policy);
  auto [client, origin] =
      ask("POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(rig.take(*origin), HasSubstr("100-continue\r\n"));
  rig.send(*origin, "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 100 Continue\r\n"));
  rig.send(*client, "abc");
  EXPECT_EQ(rig.take(*origin), "abc");
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 200"));
  EXPECT_FALSE(client->closed);
}

TEST_F(EngineFlow, EarlyAnswerIsPassedOnAndNothingIsReused) {
  rig.use(policy);
  auto [client, origin] = ask("POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 900\r\n\r\nabc");
  rig.send(*origin, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 413"));
  EXPECT_TRUE(origin->closed);
  EXPECT_TRUE(client->fin);
  EXPECT_EQ(rig.counters().ended_completed, 1U);
}

TEST_F(EngineFlow, SlowReaderStopsTheOriginWithBoundedMemory) {
  rig.use(policy);
  auto [client, origin] = ask();
  client->hold = true;
  rig.send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
  size_t taken = 0;
  while (origin->receiving && taken < 1'000'000) {
    rig.send(*origin, std::string(4000, 'z'));
    taken += 4000;
  }
  EXPECT_FALSE(origin->receiving);
  EXPECT_LE(taken, 48'000U);
  rig.release(*client);
  EXPECT_TRUE(origin->receiving);
  for (; taken < 1'000'000; taken += 4000) rig.send(*origin, std::string(4000, 'z'));
  EXPECT_GT(rig.take(*client).size(), 1'000'000U);
}

TEST_F(EngineFlow, SlowOriginStopsTheClient) {
  rig.use(policy);
  auto [client, origin] = ask("PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 1000000\r\n\r\n");
  origin->hold = true;
  size_t taken = 0;
  while (client->receiving && taken < 1'000'000) {
    rig.send(*client, std::string(4000, 'z'));
    taken += 4000;
  }
  EXPECT_FALSE(client->receiving);
  EXPECT_LE(taken, 100'000U);
  rig.release(*origin);
  EXPECT_TRUE(client->receiving);
}

TEST_F(EngineFlow, BytesBehindAnAnswerAreNeverUsed) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nok"));
  EXPECT_TRUE(origin->closed);
  rig.send(*client, kGet);
  EXPECT_EQ(rig.take(*client), "");
  EXPECT_EQ(rig.upstreams().size(), 2U);
}

TEST_F(EngineFlow, DrainClosesIdleAndAnnouncesOnTheRest) {
  rig.use(policy);
  auto [idle, server] = ask();
  rig.send(*server, kOk);
  auto [client, origin] = ask();
  rig.drain();
  EXPECT_TRUE(idle->closed && !idle->aborted);
  EXPECT_FALSE(client->closed);
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), HasSubstr("close\r\n"));
  EXPECT_TRUE(client->closed && !client->aborted);
  EXPECT_EQ(rig.engine().open_downstream(), 0U);
}

// Its request may be on its way, and it would not be repeated by anybody.
TEST_F(EngineFlow, DrainWaitsAMomentForTheFirstRequest) {
  rig.use(policy);
  Socket& silent = rig.connect_captured(kService);
  Socket& slow = rig.connect_captured(kService);
  rig.advance(seconds(100));
  rig.drain();
  Socket& queued = rig.connect_captured(kService);  // was in the accept queue
  for (Socket* client : {&slow, &queued}) {
    rig.send(*client, kGet);
    if (!rig.upstream(0).opened) rig.open(rig.upstream(0));
    rig.send(*rig.upstreams().back(), kOk);
    EXPECT_THAT(rig.take(*client), HasSubstr("close\r\n"));
    EXPECT_TRUE(client->closed && !client->aborted);
  }
  rig.advance(seconds(1) - Duration(1));
  EXPECT_FALSE(silent.closed);
  rig.advance(Duration(1));
  EXPECT_TRUE(silent.closed && !silent.aborted);
  EXPECT_EQ(rig.engine().open_downstream(), 0U);
}

TEST_F(EngineFlow, IdleTimesClose) {
  cluster->pool.idle_timeout = seconds(30);
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, kOk);
  rig.advance(seconds(30));
  EXPECT_TRUE(origin->closed);
  EXPECT_FALSE(client->closed);
  rig.advance(seconds(3600));
  EXPECT_TRUE(client->closed);
}

// A reset because of bytes that nobody reads any more could overtake the answer.
TEST_F(EngineFlow, BytesBehindTheLastRequestDoNotEndangerItsAnswer) {
  rig.use(policy);
  auto [client, origin] = ask(
      "GET /x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\nGET /y HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nok"));
  EXPECT_TRUE(client->fin);
  EXPECT_FALSE(client->closed);
  rig.finish(*client);
  EXPECT_TRUE(client->closed && !client->aborted);
  EXPECT_EQ(rig.counters().downstream_rq_started, 1U);
}

TEST_F(EngineFlow, ConnectionsToEndpointsThatAreGoneAreNotKept) {
  rig.use(policy);
  auto [client, origin] = ask();
  auto [other, busy] = ask();
  rig.send(*origin, kOk);
  PolicyFixture empty;
  rig.use(empty);
  EXPECT_TRUE(origin->closed && !origin->aborted);
  EXPECT_FALSE(busy->closed);
  rig.send(*busy, kOk);
  EXPECT_THAT(rig.take(*other), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(busy->closed && !busy->aborted);
}

TEST_F(EngineFlow, ConnectionsToEndpointsThatStayAreKept) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.use(policy);
  rig.send(*origin, kOk);
  rig.use(policy);
  EXPECT_FALSE(origin->closed);
}

TEST_F(EngineFlow, MaxRequestsPerConnection) {
  cluster->pool.max_requests_per_connection = 2;
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, kOk);
  EXPECT_FALSE(origin->closed);
  rig.send(*client, kGet);
  rig.send(*origin, kOk);
  EXPECT_TRUE(origin->closed);
}

TEST_F(EngineFlow, PeerThatTakesNothingIsLetGo) {
  rig.use(policy);
  auto [client, origin] = ask();
  client->hold = true;
  rig.send(*origin, kOk);
  rig.advance(seconds(299));
  EXPECT_FALSE(client->closed);
  rig.advance(seconds(1));
  EXPECT_TRUE(client->closed && client->aborted);  // never a clean end
  Socket& opaque = rig.connect_captured(kTcp);
  Socket& server = *rig.upstreams().back();
  rig.open(server);
  server.hold = true;
  rig.send(opaque, "x");
  rig.finish(opaque);
  rig.finish(server);
  rig.advance(seconds(300));
  EXPECT_TRUE(server.closed && server.aborted);
}

TEST_F(EngineFlow, ConnectionClosedDuringASendLeavesItsBytesToTheDriver) {
  rig.use(policy);
  auto [client, origin] = ask();
  client->hold = true;
  rig.send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  const iovec first = client->iov[0];
  rig.fail(*origin);
  EXPECT_TRUE(client->closed);
  ASSERT_NE(client->kept, nullptr);
  EXPECT_TRUE(std::string_view(static_cast<const char*>(first.iov_base), first.iov_len)
                  .starts_with("HTTP/1.1 200"));
}

}  // namespace
}  // namespace np::test
