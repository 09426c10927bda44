// SPDX-License-Identifier: Apache-2.0
// 0 switches a time limit of the engine off (traffic-semantics 3.6), and one that is off takes no
// other with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kPart[] = "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\na";
constexpr char kUpgrade[] =
    "GET /x HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
constexpr char kSwitched[] =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
constexpr Duration kLong = hours(1000);

class EngineTimeLimits : public ::testing::Test {
 protected:
  EngineTimeLimits() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    cluster->pool.idle_timeout = Duration::zero();
    route = &policy.add_route(cluster);
    route->websocket = true;
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
    PrefixTable& tcp = policy.add_table();
    tcp.entries.push_back({"", &policy.add_route(&policy.add_cluster("db", {"10.1.0.5:3306"}))});
    policy.capture(kTcp, &tcp, policy::Protocol::kTcp);
    policy.capture(kAuto, &table, policy::Protocol::kAuto).tcp_routes = &tcp;
  }
  // To be called when `limits` and the policy are as wanted.
  EngineRig& rig() {
    if (rig_ == nullptr) {
      rig_ = std::make_unique<EngineRig>(limits);
      rig_->use(policy);
    }
    return *rig_;
  }
  // A client whose request is with the origin.
  std::pair<Socket*, Socket*> ask(std::string_view request) {
    Socket& client = rig().connect_captured(kService);
    rig().send(client, request);
    Socket& origin = *rig().upstreams().back();
    if (!origin.opened) rig().open(origin);
    return {&client, &origin};
  }
  std::string answer_after(Socket& client, Duration wait) {
    rig().advance(wait);
    return rig().take(client);
  }
  proxy::EngineLimits limits;
  PolicyFixture policy;
  policy::Cluster* cluster;
  policy::Route* route;

 private:
  std::unique_ptr<EngineRig> rig_;
};

TEST_F(EngineTimeLimits, Header) {
  limits.header_timeout = Duration::zero();
  Socket& client = rig().connect_captured(kService);
  rig().send(client, "GET / HT");
  EXPECT_EQ(answer_after(client, kLong), "");
  EXPECT_FALSE(client.closed);
}

TEST_F(EngineTimeLimits, BodyStall) {
  limits.body_stall_timeout = Duration::zero();
  auto [client, origin] = ask(kPart);
  EXPECT_EQ(answer_after(*client, seconds(299)), "");
  EXPECT_THAT(answer_after(*client, seconds(1)), StartsWith("HTTP/1.1 408"));  // the stream's idle
}

TEST_F(EngineTimeLimits, StreamIdleBeforeTheAnswer) {
  limits.stream_idle_timeout = Duration::zero();
  auto [client, origin] = ask(kGet);
  EXPECT_EQ(answer_after(*client, kLong), "");
  rig().send(*origin, kOk);
  EXPECT_THAT(rig().take(*client), StartsWith("HTTP/1.1 200"));
  Socket& stalling = rig().connect_captured(kService);
  rig().send(stalling, kPart);
  EXPECT_EQ(answer_after(stalling, seconds(60) - Duration(1)), "");
  EXPECT_THAT(answer_after(stalling, Duration(1)), StartsWith("HTTP/1.1 408"));
}

TEST_F(EngineTimeLimits, StreamIdleInTheAnswerAndInATunnel) {
  limits.stream_idle_timeout = Duration::zero();
  auto [client, origin] = ask(kGet);
  rig().send(*origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na");
  auto [user, server] = ask(kUpgrade);
  rig().send(*server, kSwitched);
  rig().advance(kLong);
  EXPECT_FALSE(client->closed || origin->closed || user->closed || server->closed);
}

TEST_F(EngineTimeLimits, BothIdleLimitsOfARequest) {
  limits.stream_idle_timeout = limits.body_stall_timeout = Duration::zero();
  auto [client, origin] = ask(kPart);
  EXPECT_EQ(answer_after(*client, kLong), "");
  rig().send(*client, "bcdefghi");
  rig().send(*origin, kOk);
  EXPECT_THAT(rig().take(*client), StartsWith("HTTP/1.1 200"));
}

// A pause that is the proxy's own is none of the client's, whichever limits are on.
TEST_F(EngineTimeLimits, BodyStallBeginsWithReadingAgain) {
  limits.stream_idle_timeout = Duration::zero();
  auto [client, origin] = ask("PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 1000000\r\n\r\n");
  origin->hold = true;
  while (client->receiving) rig().send(*client, std::string(4000, 'z'));
  EXPECT_EQ(answer_after(*client, kLong), "");
  rig().release(*origin);
  EXPECT_TRUE(client->receiving);
  EXPECT_THAT(answer_after(*client, seconds(120)), StartsWith("HTTP/1.1 408"));
}

TEST_F(EngineTimeLimits, ConnectionIdle) {
  limits.connection_idle_timeout = Duration::zero();
  Socket& client = rig().connect_captured(kService);
  rig().advance(kLong);
  EXPECT_FALSE(client.closed);
}

TEST_F(EngineTimeLimits, PoolIdle) {
  auto [client, origin] = ask(kGet);
  rig().send(*origin, kOk);
  rig().advance(kLong);
  EXPECT_FALSE(origin->closed);
}

TEST_F(EngineTimeLimits, Connect) {
  cluster->pool.connect_timeout = Duration::zero();
  limits.stream_idle_timeout = Duration::zero();
  Socket& client = rig().connect_captured(kService);
  rig().send(client, kGet);
  EXPECT_EQ(answer_after(client, kLong), "");
  EXPECT_FALSE(rig().upstream(0).closed);
}

TEST_F(EngineTimeLimits, TcpIdle) {
  limits.tcp_idle_timeout = Duration::zero();
  Socket& client = rig().connect_captured(kTcp);
  rig().open(rig().upstream(0));
  rig().advance(kLong);
  EXPECT_FALSE(client.closed || rig().upstream(0).closed);
}

TEST_F(EngineTimeLimits, TcpIdleThatIsOnEndsBothSides) {
  Socket& client = rig().connect_captured(kTcp);
  rig().open(rig().upstream(0));
  rig().advance(hours(1));
  EXPECT_TRUE(client.closed && rig().upstream(0).closed);
}

TEST_F(EngineTimeLimits, Flush) {
  limits.flush_timeout = Duration::zero();
  auto [client, origin] = ask(kGet);
  client->hold = true;
  rig().send(*origin, kOk);
  rig().advance(kLong);
  EXPECT_FALSE(client->closed);
}

TEST_F(EngineTimeLimits, Sniff) {
  limits.sniff_wait = Duration::zero();
  Socket& client = rig().connect_captured(kAuto);
  rig().advance(hours(1) - Duration(1));
  EXPECT_TRUE(rig().upstreams().empty());
  rig().send(client, kGet);
  EXPECT_EQ(rig().upstreams().size(), 1U);
  Socket& silent = rig().connect_captured(kAuto);
  rig().advance(hours(1));
  EXPECT_TRUE(silent.closed);  // as idle as any other client
}

TEST_F(EngineTimeLimits, Mirror) {
  limits.mirror_timeout = Duration::zero();
  policy::Cluster& shadow = policy.add_cluster("shadow", {"10.1.0.7:80"});
  route->mirrors.push_back({&shadow, policy::kPerMillion});
  ask(kGet);
  rig().open(rig().upstream(0));
  rig().open(rig().upstream(1));
  rig().advance(seconds(299));
  EXPECT_EQ(rig().counters().mirror_ended, 0U);
  rig().advance(seconds(1));  // no longer than any other stream
  EXPECT_EQ(rig().counters().mirror_ended, 1U);
}

TEST_F(EngineTimeLimits, MirrorThatMayTakeAsLongAsItLikes) {
  limits.mirror_timeout = limits.stream_idle_timeout = Duration::zero();
  policy::Cluster& shadow = policy.add_cluster("shadow", {"10.1.0.7:80"});
  route->mirrors.push_back({&shadow, policy::kPerMillion});
  ask(kGet);
  rig().open(rig().upstream(0));
  rig().open(rig().upstream(1));
  rig().advance(kLong);
  EXPECT_EQ(rig().counters().mirror_ended, 0U);
}

TEST_F(EngineTimeLimits, NoLinger) {
  limits.linger_timeout = Duration::zero();
  Socket& client = rig().connect_captured(kService);
  rig().send(client, "GET / HTTP/9.9\r\n\r\n");
  EXPECT_THAT(rig().take(client), StartsWith("HTTP/1.1 505"));
  EXPECT_TRUE(client.closed && !client.aborted);
}

TEST_F(EngineTimeLimits, NoWaitInADrain) {
  limits.drain_wait = Duration::zero();
  Socket& client = rig().connect_captured(kService);
  rig().drain();
  EXPECT_TRUE(client.closed && !client.aborted);
}

TEST_F(EngineTimeLimits, NoDiscard) {
  limits.discard_timeout = Duration::zero();
  route->retry.attempts = 1;
  route->retry.on = policy::kRetry5xx;
  auto [client, origin] = ask(kGet);
  rig().send(*origin, "HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n");
  EXPECT_TRUE(origin->closed);
  rig().advance(milliseconds(25));
  EXPECT_EQ(rig().upstreams().size(), 2U);
}

TEST_F(EngineTimeLimits, RouteAndTry) {
  limits.stream_idle_timeout = Duration::zero();
  route->timeout = route->retry.per_try_timeout = Duration::zero();
  route->retry.attempts = 2;
  route->retry.on = policy::kRetry5xx;
  auto [client, origin] = ask(kGet);
  EXPECT_EQ(answer_after(*client, kLong), "");
  EXPECT_EQ(rig().upstreams().size(), 1U);
}

}  // namespace
}  // namespace np::test
