// SPDX-License-Identifier: Apache-2.0
// The straight way: requests through the pool, kept connections, routes and own answers.
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

class EngineBasic : public ::testing::Test {
 protected:
  EngineBasic() {
    cluster = &policy.add_cluster("reviews", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    table = &policy.add_table();
    table->entries.push_back({"/", route});
    policy.capture(kService, table);
    policy.listen("0.0.0.0:8080", table, "shop.example");
  }
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;
  PrefixTable* table;
  EngineRig rig;
};

TEST_F(EngineBasic, GetGoesThroughAndTheConnectionsAreKept) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  EXPECT_TRUE(client.receiving);
  rig.send(client, "GET /reviews/1?x=y HTTP/1.1\r\nHost: reviews:9080\r\nAccept: */*\r\n\r\n");
  ASSERT_EQ(rig.upstreams().size(), 1U);
  Socket& origin = rig.upstream(0);
  EXPECT_EQ(origin.target.remote.to_string(), "10.1.0.1:9080");
  rig.open(origin);
  const std::string request = rig.take(origin);
  EXPECT_THAT(request, StartsWith("GET /reviews/1?x=y HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("reviews:9080\r\n"));
  EXPECT_THAT(request, HasSubstr("x-forwarded-for: 10.0.0.9\r\n"));
  EXPECT_THAT(request, HasSubstr("x-request-id: "));
  rig.send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: origin\r\n\r\nhello");
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Server: origin\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("nodeproxy")));
  EXPECT_TRUE(answer.ends_with("\r\n\r\nhello"));

  rig.send(client, "GET /reviews/2 HTTP/1.1\r\nHost: reviews\r\n\r\n");
  EXPECT_EQ(rig.upstreams().size(), 1U);  // the same connection
  EXPECT_THAT(rig.take(origin), StartsWith("GET /reviews/2 HTTP/1.1\r\n"));
  rig.send(origin, "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 204"));
  EXPECT_EQ(rig.counters().downstream_rq_completed, 2U);
  EXPECT_EQ(rig.counters().upstream_cx_reused, 1U);
  EXPECT_TRUE(rig.is_balanced());
  EXPECT_EQ(rig.record.started, 2U);
  EXPECT_EQ(rig.record.completed, 2U);
  EXPECT_EQ(rig.record.status_2xx, 2U);
  EXPECT_EQ(rig.record.seq % 2, 0U);
  rig.finish(client);
  EXPECT_TRUE(client.closed);
  EXPECT_FALSE(client.aborted);
  EXPECT_EQ(rig.record.state, 2U);
}

TEST_F(EngineBasic, PostBodyAndChunkedAnswer) {
  rig.use(policy);
  Socket& client = rig.connect_gateway("0.0.0.0:8080");
  rig.send(client, "POST /up HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\n01234");
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  EXPECT_THAT(rig.take(origin), ::testing::EndsWith("\r\n\r\n01234"));
  rig.send(client, "56789");
  EXPECT_EQ(rig.take(origin), "56789");
  rig.send(origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  rig.send(origin, "2\r\nde\r\n0\r\n\r\n");
  const std::string answer = rig.take(client);
  EXPECT_TRUE(answer.ends_with("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) << answer;
  EXPECT_FALSE(client.closed);
}

// An answer that waited for a slow client ends in bytes that were queued: its connection is as good
// as any.
TEST_F(EngineBasic, AnswerThatWasHeldBackKeepsItsConnection) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /big HTTP/1.1\r\nHost: reviews\r\n\r\n");
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  client.hold = true;
  rig.send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
  for (int i = 0; i < 20; ++i) rig.send(origin, std::string(10'000, 'b'));
  client.hold = false;
  rig.release(client);
  EXPECT_EQ(rig.counters().downstream_rq_completed, 1U);
  EXPECT_FALSE(origin.closed);
  rig.send(client, "GET /next HTTP/1.1\r\nHost: reviews\r\n\r\n");
  EXPECT_EQ(rig.upstreams().size(), 1U);
}

TEST_F(EngineBasic, PipelinedRequestsAreAnsweredInOrder) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client,
           "GET /1 HTTP/1.1\r\nHost: r\r\n\r\nGET /2 HTTP/1.1\r\nHost: r\r\n\r\nGET /3 HTTP/1.1\r\n"
           "Host: r\r\n\r\n");
  Socket& origin = rig.upstream(0);
  rig.open(origin);
  for (const char* path : {"/1", "/2", "/3"}) {
    EXPECT_THAT(rig.take(origin), StartsWith(std::string("GET ") + path + " "));
    rig.send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + std::string(path));
    EXPECT_TRUE(rig.take(client).ends_with(path));
  }
  EXPECT_EQ(rig.upstreams().size(), 1U);
}

TEST_F(EngineBasic, NoRouteIs404AndKeepsTheConnection) {
  table->entries = {{"/known", route}};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /unknown HTTP/1.1\r\nHost: r\r\n\r\n");
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(answer, HasSubstr("server: nodeproxy\r\n"));
  EXPECT_FALSE(client.closed);
  EXPECT_EQ(rig.counters().ended_no_route, 1U);
  EXPECT_EQ(rig.record.refused, 1U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineBasic, UnknownClusterAndNoEndpointAre503) {
  policy::Route& unknown = policy.add_route(nullptr);
  policy::Cluster& empty = policy.add_cluster("empty", {});
  policy::Route& nobody = policy.add_route(&empty);
  table->entries = {{"/nc", &unknown}, {"/uh", &nobody}};
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /nc HTTP/1.1\r\nHost: r\r\n\r\n");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  rig.send(client, "GET /uh HTTP/1.1\r\nHost: r\r\n\r\n");
  EXPECT_TRUE(rig.take(client).ends_with("\r\n\r\nno healthy upstream"));
  EXPECT_EQ(rig.counters().ended_no_cluster, 1U);
  EXPECT_EQ(rig.counters().ended_no_healthy_upstream, 1U);
}

TEST_F(EngineBasic, ConnectFailureIs503) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.fail(rig.upstream(0), proxy::Failure::kRefused);
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("reset reason: connection failure"));
  EXPECT_TRUE(rig.upstream(0).closed);
  EXPECT_EQ(rig.counters().ended_connect_failed, 1U);
}

TEST_F(EngineBasic, KeptConnectionsGiveWayWhenDescriptorsAreUsedUp) {
  policy::Cluster& other = policy.add_cluster("other", {"10.1.0.2:9080"});
  table->entries.insert(table->entries.begin(), {"/other", &policy.add_route(&other)});
  rig.use(policy);
  Socket* clients[] = {&rig.connect_captured(kService), &rig.connect_captured(kService)};
  for (Socket* client : clients) rig.send(*client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  for (Socket* origin : rig.upstreams()) rig.open(*origin);
  for (Socket* origin : rig.upstreams()) rig.send(*origin, "HTTP/1.1 204 No Content\r\n\r\n");
  Socket& client = *clients[0];
  rig.take(client);
  rig.send(client, "GET /other HTTP/1.1\r\nHost: r\r\n\r\n");
  for (size_t tries = 1; tries <= 2; ++tries) {
    ASSERT_EQ(rig.upstreams().size(), 2 + tries);
    rig.fail(*rig.upstreams().back(), proxy::Failure::kExhausted);
    EXPECT_TRUE(rig.upstream(tries - 1).closed && !rig.upstream(tries - 1).aborted);
    EXPECT_EQ(rig.take(client), "");
  }
  ASSERT_EQ(rig.upstreams().size(), 5U);
  EXPECT_EQ(rig.upstreams().back()->target.remote.to_string(), "10.1.0.2:9080");
  rig.fail(*rig.upstreams().back(), proxy::Failure::kExhausted);  // nothing is left to give way
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 503"));
  EXPECT_TRUE(rig.is_balanced());
}

// Who has few connections does not lose them to who has many.
TEST_F(EngineBasic, OfTheEndpointWithMostConnectionsOneGivesWay) {
  policy::Cluster& quiet = policy.add_cluster("quiet", {"10.1.0.2:9080"});
  policy::Cluster& other = policy.add_cluster("other", {"10.1.0.3:9080"});
  table->entries.insert(table->entries.begin(), {"/quiet", &policy.add_route(&quiet)});
  table->entries.insert(table->entries.begin(), {"/other", &policy.add_route(&other)});
  rig.use(policy);
  const auto ask = [this](Socket& client, const std::string& path) {
    rig.send(client, "GET " + path + " HTTP/1.1\r\nHost: r\r\n\r\n");
  };
  std::vector<Socket*> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(&rig.connect_captured(kService));
  ask(*clients[0], "/quiet");  // the first that is kept
  for (size_t i = 1; i < 3; ++i) ask(*clients[i], "/");
  for (Socket* origin : rig.upstreams()) rig.open(*origin);
  for (Socket* origin : rig.upstreams()) rig.send(*origin, "HTTP/1.1 204 No Content\r\n\r\n");
  ask(*clients[1], "/other");
  rig.fail(*rig.upstreams().back(), proxy::Failure::kExhausted);
  EXPECT_FALSE(rig.upstream(0).closed);
  EXPECT_TRUE(rig.upstream(1).closed);
  EXPECT_FALSE(rig.upstream(2).closed);
}

// An endpoint that was never dialled has not failed.
TEST_F(EngineBasic, OwnShortageEjectsNobody) {
  cluster->service_id = 7;
  cluster->outlier.emplace();
  cluster->outlier->consecutive_5xx = 1;
  cluster->outlier->max_ejection_percent = 100;
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  for (const proxy::Failure ours : {proxy::Failure::kExhausted, proxy::Failure::kAddressInUse}) {
    rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
    rig.fail(*rig.upstreams().back(), ours);
    EXPECT_THAT(rig.take(client), HasSubstr("connection failure"));
  }
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 0U);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.fail(*rig.upstreams().back(), proxy::Failure::kRefused);
  EXPECT_EQ(rig.counters().outlier_ejections_enforced_total, 1U);
}

TEST_F(EngineBasic, ConnectTimeoutIs503) {
  cluster->pool.connect_timeout = std::chrono::seconds(2);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.advance(std::chrono::seconds(2) - Duration(1));
  EXPECT_EQ(rig.take(client), "");
  rig.advance(Duration(1));
  EXPECT_THAT(rig.take(client), HasSubstr("reset reason: connection timeout"));
}

TEST_F(EngineBasic, BadHeadIs400AndCloses) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client,
           "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
           "Host: r\r\n\r\n");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 400 "));
  EXPECT_TRUE(client.fin);
  rig.finish(client);
  EXPECT_TRUE(client.closed);
  EXPECT_FALSE(client.aborted);
  EXPECT_TRUE(rig.is_balanced());
  EXPECT_EQ(rig.counters().ended_bad_request, 1U);
  EXPECT_TRUE(rig.upstreams().empty());
}

// A TLS client on a plain port must not wait for the time of a slow head.
TEST_F(EngineBasic, OtherProtocolsAreRefusedAtOnce) {
  rig.use(policy);
  for (const char* bytes : {"\x16\x03\x01", "PING\r\n"}) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client, bytes);
    EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 400 "));
    EXPECT_TRUE(client.fin);
  }
  EXPECT_EQ(rig.counters().ended_bad_request, 2U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineBasic, OriginsOfOtherProtocolsAreToldAtOnce) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0), "220 mail ready");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 502 "));
  EXPECT_TRUE(rig.upstream(0).closed);
}

TEST_F(EngineBasic, SlowHeadIs408) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HT");
  rig.advance(std::chrono::seconds(5));
  rig.send(client, "TP/1.1\r\n");
  rig.advance(std::chrono::seconds(5));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_TRUE(client.fin);
  rig.advance(std::chrono::seconds(1));
  EXPECT_TRUE(client.closed);
}

TEST_F(EngineBasic, PathIsNormalisedOnceAndSentSo) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /a/../b/%7euser/.%2e/c?q=../%7e HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.open(rig.upstream(0));
  EXPECT_THAT(rig.take(rig.upstream(0)), StartsWith("GET /b/c?q=../%7e HTTP/1.1\r\n"));
  Socket& other = rig.connect_captured(kService);
  rig.send(other, "GET /a%00b HTTP/1.1\r\nHost: r\r\n\r\n");
  EXPECT_THAT(rig.take(other), StartsWith("HTTP/1.1 400 "));
}

TEST_F(EngineBasic, ConnectMethodIs405) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "CONNECT r:443 HTTP/1.1\r\nHost: r:443\r\n\r\n");
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 405 "));
}

TEST_F(EngineBasic, EdgeHeadersOfClientsAreNotTrusted) {
  rig.use(policy);
  Socket& client = rig.connect_gateway("0.0.0.0:8080");
  rig.send(client,
           "GET / HTTP/1.1\r\nHost: SHOP.example:80\r\nX-Forwarded-For: 1.2.3.4\r\n"
           "X-Envoy-Retry-On: 5xx\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n");
  rig.open(rig.upstream(0));
  const std::string request = rig.take(rig.upstream(0));
  EXPECT_THAT(request, HasSubstr("SHOP.example:80\r\n"));  // as the client wrote it
  EXPECT_THAT(request, HasSubstr("x-forwarded-for: 192.0.2.7\r\n"));
  EXPECT_THAT(request, HasSubstr("x-forwarded-proto: http\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("1.2.3.4")));
  EXPECT_THAT(request, Not(HasSubstr("Retry-On")));
  EXPECT_THAT(request, Not(HasSubstr("1.1.1.1")));
}

TEST_F(EngineBasic, LoopIsRefused) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.open(rig.upstream(0));
  // The endpoint is this very service again: what was sent comes back in.
  Socket& again = rig.connect_captured(kService);
  rig.send(again, rig.take(rig.upstream(0)));
  EXPECT_THAT(rig.take(again), StartsWith("HTTP/1.1 508 "));
}

TEST_F(EngineBasic, ClientLeavingCancelsTheTry) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.open(rig.upstream(0));
  rig.fail(client);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(rig.upstream(0).closed);
  EXPECT_EQ(rig.counters().ended_client_gone, 1U);
  EXPECT_EQ(rig.counters().upstream_rq_tx_reset, 1U);
  EXPECT_EQ(rig.counters().upstream_rq_rx_reset, 0U);
  EXPECT_EQ(rig.record.aborted, 1U);
  EXPECT_TRUE(rig.is_balanced());
  EXPECT_EQ(rig.engine().open_upstream(), 0U);
  EXPECT_EQ(rig.engine().open_downstream(), 0U);
  EXPECT_EQ(rig.engine().next_deadline(), kNever);
}

}  // namespace
}  // namespace np::test
