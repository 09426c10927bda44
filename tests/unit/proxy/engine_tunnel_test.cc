// SPDX-License-Identifier: Apache-2.0
// Byte tunnels: WebSocket, opaque TCP and how it connects, ports of unknown protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

class EngineTunnel : public ::testing::Test {
 protected:
  EngineTunnel() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    table = &policy.add_table();
    table->entries.push_back({"/", route});
    policy.capture(kService, table);
    policy::Cluster& db = policy.add_cluster("db", {"10.1.0.5:3306"});
    tcp = &policy.add_table();
    tcp->entries.push_back({"", &policy.add_route(&db)});
    policy.capture(kTcp, tcp, policy::Protocol::kTcp);
    policy::CapturedPort& any = policy.capture(kAuto, table, policy::Protocol::kAuto);
    any.tcp_routes = tcp;
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
  PrefixTable* tcp;
  EngineRig rig;
};

TEST_F(EngineTunnel, WebsocketBecomesATunnelBothWays) {
  route->websocket = true;
  rig.use(policy);
  auto [client, origin] =
      ask("GET /ws HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          "Sec-WebSocket-Key: abc=\r\n\r\nearly");
  const std::string request = rig.take(*origin);
  EXPECT_THAT(request, HasSubstr("websocket\r\n"));
  EXPECT_THAT(request, HasSubstr("Sec-WebSocket-Key: abc=\r\n"));
  rig.send(*origin,
           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "\r\nhello");
  const std::string answer = rig.take(*client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 101 "));
  EXPECT_THAT(answer, HasSubstr("websocket\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nhello"));
  EXPECT_EQ(rig.take(*origin), "early");
  rig.send(*client, "more");
  EXPECT_EQ(rig.take(*origin), "more");
  rig.finish(*client);  // half: the other direction stays
  EXPECT_TRUE(origin->fin);
  rig.send(*origin, "still");
  EXPECT_EQ(rig.take(*client), "still");
  rig.finish(*origin);
  EXPECT_TRUE(client->closed && !client->aborted);
  EXPECT_TRUE(origin->closed);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineTunnel, WebsocketClientMayFinishBeforeTheSwitch) {
  route->websocket = true;
  rig.use(policy);
  auto [client, origin] =
      ask("GET /ws HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  rig.finish(*client);
  rig.send(*origin,
           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "\r\nhello");
  EXPECT_TRUE(origin->fin);
  EXPECT_THAT(rig.take(*client), EndsWith("\r\n\r\nhello"));
  rig.finish(*origin);
  EXPECT_TRUE(client->closed && !client->aborted);
  EXPECT_TRUE(origin->closed);
}

TEST_F(EngineTunnel, UpgradeIsNotForwardedWhereTheRouteForbidsIt) {
  rig.use(policy);
  auto [client, origin] =
      ask("GET /ws HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_THAT(rig.take(*origin), Not(HasSubstr("websocket")));
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 200"));
}

TEST_F(EngineTunnel, OpaquePortIsDialledBeforeTheClientSpeaks) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kTcp);
  ASSERT_EQ(rig.upstreams().size(), 1U);
  Socket& origin = rig.upstream(0);
  EXPECT_TRUE(origin.target.abort_on_crash);
  rig.open(origin);
  rig.send(origin, "5.7.0-server");
  EXPECT_EQ(rig.take(client), "5.7.0-server");
  rig.send(client, "login");
  EXPECT_EQ(rig.take(origin), "login");
  rig.finish(origin);
  EXPECT_TRUE(client.fin);
  EXPECT_FALSE(client.closed);
  rig.send(client, "bye");
  EXPECT_EQ(rig.take(origin), "bye");
  rig.finish(client);
  EXPECT_TRUE(client.closed && !client.aborted);
  EXPECT_TRUE(origin.closed && !origin.aborted);
  EXPECT_EQ(rig.counters().ended_tcp_closed, 1U);
  EXPECT_EQ(rig.engine().next_deadline(), kNever);
}

class EngineOpaqueConnect : public EngineTunnel {
 protected:
  Socket& connect_to(std::vector<std::string> endpoints) {
    db = &policy.add_cluster("many", std::move(endpoints));
    tcp->entries = {{"", &policy.add_route(db)}};
    rig.use(policy);
    Socket& client = rig.connect_captured(kTcp);
    rig.send(client, "login");
    return client;
  }
  // Lets connects fail while there are new ones; returns the addresses that were dialled.
  std::set<std::string> refuse_all() {
    std::set<std::string> dialled;
    for (size_t i = 0; i < rig.upstreams().size(); ++i) {
      dialled.insert(rig.upstream(i).target.remote.to_string());
      rig.fail(rig.upstream(i), proxy::Failure::kRefused);
    }
    return dialled;
  }
  policy::Cluster* db = nullptr;
};

TEST_F(EngineOpaqueConnect, AnotherEndpointIsTriedAndTheClientDoesNotNotice) {
  Socket& client = connect_to({"10.1.0.5:3306", "10.1.0.6:3306"});
  rig.fail(rig.upstream(0), proxy::Failure::kRefused);
  ASSERT_EQ(rig.upstreams().size(), 2U);
  EXPECT_NE(rig.upstream(0).target.remote, rig.upstream(1).target.remote);
  rig.open(rig.upstream(1));
  EXPECT_EQ(rig.take(rig.upstream(1)), "login");
  rig.send(rig.upstream(1), "welcome");
  EXPECT_EQ(rig.take(client), "welcome");
  EXPECT_EQ(rig.record.retries, 1U);
  rig.fail(rig.upstream(1));  // it was connected: no other is tried
  EXPECT_EQ(rig.upstreams().size(), 2U);
  EXPECT_TRUE(client.closed && client.aborted);
  EXPECT_EQ(rig.counters().tcp_cx_ended, 1U);
}

TEST_F(EngineOpaqueConnect, EachEndpointOnce) {
  Socket& one = connect_to({"10.1.0.5:3306"});
  EXPECT_EQ(refuse_all().size(), 1U);
  EXPECT_EQ(rig.upstreams().size(), 1U);
  EXPECT_TRUE(one.closed && one.aborted);
}

TEST_F(EngineOpaqueConnect, NoMoreThanThreeOfMany) {
  Socket& client = connect_to({"10.1.0.1:1", "10.1.0.2:1", "10.1.0.3:1", "10.1.0.4:1"});
  EXPECT_EQ(refuse_all().size(), 3U);
  EXPECT_EQ(rig.upstreams().size(), 3U);
  EXPECT_TRUE(client.closed && client.aborted);
  EXPECT_EQ(rig.counters().ended_tcp_failed, 1U);
}

TEST_F(EngineOpaqueConnect, AfterATimeoutToo) {
  Socket& client = connect_to({"10.1.0.1:1", "10.1.0.2:1"});
  rig.advance(seconds(10));
  ASSERT_EQ(rig.upstreams().size(), 2U);
  rig.advance(seconds(10));
  EXPECT_EQ(rig.upstreams().size(), 2U);
  EXPECT_TRUE(client.closed && client.aborted);
}

TEST_F(EngineOpaqueConnect, TheDialledAddressHasNoOther) {
  db = &policy.add_cluster("many", {"10.1.0.1:1", "10.1.0.2:1"});
  db->original_destination = true;
  tcp->entries = {{"", &policy.add_route(db)}};
  rig.use(policy);
  Socket& client = rig.connect_captured(kTcp);
  EXPECT_EQ(refuse_all(), std::set<std::string>{kTcp});
  EXPECT_TRUE(client.closed && client.aborted);
}

TEST_F(EngineTunnel, OpaqueResetIsPassedOn) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kTcp);
  rig.open(rig.upstream(0));
  rig.send(client, "x");
  rig.fail(client);
  EXPECT_TRUE(rig.upstream(0).closed && rig.upstream(0).aborted);
}

// A reload drops the policy that open tunnels began under; they go on and end as ever.
TEST_F(EngineTunnel, TunnelsDoNotKeepTheirPolicyAlive) {
  route->websocket = true;
  rig.use(policy);
  auto [client, origin] =
      ask("GET /ws HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  Socket& opaque = rig.connect_captured(kTcp);
  Socket& server = *rig.upstreams().back();
  const std::weak_ptr<const policy::Snapshot> old = policy.snapshot;
  policy.snapshot.reset();
  const PolicyFixture empty;
  rig.use(empty);
  EXPECT_FALSE(old.expired());  // the answer's fields are still to be decided
  rig.send(*origin,
           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "\r\n");
  EXPECT_FALSE(old.expired());  // the other connects, and may need another endpoint
  rig.open(server);
  EXPECT_TRUE(old.expired());
  rig.take(*client);
  rig.send(*client, "ping");
  EXPECT_THAT(rig.take(*origin), EndsWith("ping"));
  rig.send(*origin, "pong");
  EXPECT_EQ(rig.take(*client), "pong");
  rig.finish(*client);
  rig.finish(*origin);
  EXPECT_TRUE(client->closed && !client->aborted);
  rig.send(opaque, "x");
  EXPECT_EQ(rig.take(server), "x");
  rig.use(empty);  // the picker forgets what nobody uses
  rig.fail(server);
  EXPECT_TRUE(opaque.closed && opaque.aborted);
  EXPECT_EQ(rig.engine().next_deadline(), kNever);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineTunnel, TunnelThatNeededARepeatGivesItsShareBack) {
  route->websocket = true;
  route->retry.attempts = 1;
  route->retry.on = policy::kRetryConnectFailure;
  cluster->pool.max_retries = 1;
  rig.use(policy);
  for (uint64_t repeats = 1; repeats <= 2; ++repeats) {
    Socket& client = rig.connect_captured(kService);
    rig.send(client,
             "GET /ws HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    rig.fail(*rig.upstreams().back(), proxy::Failure::kRefused);
    rig.advance(milliseconds(25));
    Socket& origin = *rig.upstreams().back();
    rig.open(origin);
    rig.send(origin,
             "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "\r\n");
    EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 101 "));
    EXPECT_EQ(rig.counters().upstream_rq_retry, repeats);
  }
}

TEST_F(EngineTunnel, UnknownProtocolIsToldHoweverItsBytesAreCut) {
  rig.use(policy);
  Socket& http = rig.connect_captured(kAuto);
  rig.send(http, "G");
  // Large enough to stay where it was received, apart from the first byte.
  const std::string owned =
      "ET /x HTTP/1.1\r\nHost: r\r\nx: " + std::string(4000, 'y') + "\r\n\r\n";
  rig.send_owned(http, owned);
  ASSERT_EQ(rig.upstreams().size(), 1U);
  EXPECT_EQ(rig.upstream(0).target.remote.to_string(), "10.1.0.1:9080");
}

// There is no codec for it: as HTTP/1 it would be refused, as bytes it works.
TEST_F(EngineTunnel, Http2OnAPortOfUnknownProtocolPassesAsBytes) {
  rig.use(policy);
  for (const size_t cut : {size_t{3}, size_t{4}, size_t{11}, size_t{24}}) {
    Socket& client = rig.connect_captured(kAuto);
    const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    rig.send(client, preface.substr(0, cut));
    if (cut < preface.size()) rig.send(client, preface.substr(cut));
    Socket& server = *rig.upstreams().back();
    EXPECT_EQ(server.target.remote.to_string(), "10.1.0.5:3306");
    rig.open(server);
    EXPECT_EQ(rig.take(server), preface);
  }
}

TEST_F(EngineTunnel, UnknownProtocolIsToldFromTheFirstBytes) {
  rig.use(policy);
  Socket& http = rig.connect_captured(kAuto);
  rig.send(http, "GE");
  EXPECT_TRUE(rig.upstreams().empty());
  rig.send(http, "T /x HTTP/1.1\r\nHost: r\r\n\r\n");
  ASSERT_EQ(rig.upstreams().size(), 1U);
  EXPECT_EQ(rig.upstream(0).target.remote.to_string(), "10.1.0.1:9080");
  Socket& other = rig.connect_captured(kAuto);
  rig.send(other, "\x16\x03\x01");
  ASSERT_EQ(rig.upstreams().size(), 2U);
  EXPECT_EQ(rig.upstream(1).target.remote.to_string(), "10.1.0.5:3306");
  rig.open(rig.upstream(1));
  EXPECT_EQ(rig.take(rig.upstream(1)), "\x16\x03\x01");
  Socket& silent = rig.connect_captured(kAuto);
  EXPECT_TRUE(silent.receiving);
  rig.advance(milliseconds(50));
  EXPECT_EQ(rig.upstreams().size(), 3U);
}

}  // namespace
}  // namespace np::test
