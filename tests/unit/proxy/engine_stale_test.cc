// SPDX-License-Identifier: Apache-2.0
// Kept connections that the endpoint has closed: repeats without a policy, and when not
// (traffic-semantics 4.7).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;

constexpr char kPut[] = "PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n";
constexpr char kDelete[] = "DELETE /x HTTP/1.1\r\nHost: r\r\n\r\n";

class EngineStale : public ::testing::Test {
 protected:
  EngineStale() {
    PrefixTable& table = policy.add_table();
    table.entries.push_back(
        {"/", &policy.add_route(&policy.add_cluster("ratings", {"10.1.0.1:9080"}))});
    policy.capture(kService, &table);
  }
  void keep(std::vector<Socket*>& clients, size_t count);
  bool is_repeated(const char* request, const char* part_of_answer);
  PolicyFixture policy;
  EngineRig rig;
};

TEST_F(EngineStale, KeptConnectionClosedAtReuseIsRepeatedForGetOnly) {
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, kGet);
  rig.open(rig.upstream(0));
  rig.send(rig.upstream(0), kOk);
  rig.take(client);
  rig.send(client, kGet);
  rig.finish(rig.upstream(0));  // crossed with our request
  ASSERT_EQ(rig.upstreams().size(), 2U);
  rig.open(rig.upstream(1));
  rig.send(rig.upstream(1), kOk);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 1U);
  rig.send(client, kPost);
  rig.finish(rig.upstream(1));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(rig.upstreams().size(), 2U);
}

// As many clients as connections: each asks once, so that all of these are kept afterwards.
void EngineStale::keep(std::vector<Socket*>& clients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    clients.push_back(&rig.connect_captured(kService));
    rig.send(*clients.back(), kGet);
  }
  for (Socket* origin : rig.upstreams()) rig.open(*origin);
  for (Socket* origin : rig.upstreams()) {
    rig.send(*origin, kOk);
    rig.take(*origin);
  }
  for (Socket* client : clients) rig.take(*client);
}

// Asks twice on one kept connection; the endpoint closes it behind `part_of_answer`.
bool EngineStale::is_repeated(const char* request, const char* part_of_answer) {
  Socket& client = rig.connect_captured(kService);
  rig.send(client, request);
  Socket& origin = *rig.upstreams().back();
  rig.open(origin);
  rig.send(origin, kOk);
  rig.take(client);
  rig.send(client, request);
  const size_t before = rig.upstreams().size();
  rig.send(origin, part_of_answer);
  rig.finish(origin);
  if (rig.upstreams().size() == before) {
    EXPECT_THAT(rig.take(client), HasSubstr("connection termination"));
    return false;
  }
  Socket& fresh = *rig.upstreams().back();
  rig.open(fresh);
  rig.send(fresh, kOk);
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 200"));
  rig.finish(fresh);
  return true;
}

// RFC 9110 9.2.2: what has begun to be answered was received and perhaps done.
TEST_F(EngineStale, KeptConnectionThatBeganToAnswerIsNotStale) {
  rig.use(policy);
  for (const char* request : {kGet, kPut, kDelete}) {
    EXPECT_TRUE(is_repeated(request, "")) << request;
    EXPECT_FALSE(is_repeated(request, "H")) << request;
    EXPECT_FALSE(is_repeated(request, "HTTP/1.1 200 OK\r\nContent-Le")) << request;
    EXPECT_FALSE(is_repeated(request, "HTTP/1.1 103 Early Hints\r\n\r\n")) << request;
  }
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 3U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineStale, RestartOfTheOriginCostsNoRequestAlthoughAllKeptConnectionsAreClosed) {
  rig.use(policy);
  std::vector<Socket*> clients;
  keep(clients, 3);
  ASSERT_EQ(rig.upstreams().size(), 3U);
  rig.send(*clients[0], kGet);
  const auto used = [](Socket* origin) { return !origin->output.empty(); };
  const std::vector<Socket*> kept = rig.upstreams();
  const auto taken = std::find_if(kept.begin(), kept.end(), used);
  ASSERT_NE(taken, kept.end());
  rig.fail(**taken);  // the FINs of the others have not been seen yet
  for (Socket* origin : kept) EXPECT_TRUE(origin->closed);
  ASSERT_EQ(rig.upstreams().size(), 4U);
  rig.open(rig.upstream(3));
  rig.send(rig.upstream(3), kOk);
  EXPECT_THAT(rig.take(*clients[0]), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 1U);
  EXPECT_EQ(rig.counters().downstream_rq_5xx, 0U);
  EXPECT_TRUE(rig.is_balanced());
}

TEST_F(EngineStale, RepeatWaitsForANewConnectionWhileOthersTakeTheKeptOne) {
  rig.use(policy);
  std::vector<Socket*> clients;
  keep(clients, 2);
  rig.send(*clients[0], kGet);
  rig.send(*clients[1], kGet);
  Socket& busy = rig.upstream(0);
  Socket& stale = rig.upstream(1);
  ASSERT_THAT(stale.output, StartsWith("GET /x"));
  rig.finish(stale);
  ASSERT_EQ(rig.upstreams().size(), 3U);
  Socket& fresh = rig.upstream(2);
  rig.take(busy);
  rig.send(busy, kOk);  // kept from now on, but it may be as stale
  EXPECT_EQ(rig.take(busy), "");
  Socket& newcomer = rig.connect_captured(kService);
  rig.send(newcomer, kGet);
  EXPECT_THAT(rig.take(busy), StartsWith("GET /x"));
  EXPECT_EQ(rig.upstreams().size(), 3U);  // nothing was opened for it
  rig.send(busy, kOk);
  EXPECT_THAT(rig.take(newcomer), StartsWith("HTTP/1.1 200"));
  rig.open(fresh);
  EXPECT_THAT(rig.take(fresh), StartsWith("GET /x"));
  rig.send(fresh, kOk);
  for (Socket* client : clients) EXPECT_THAT(rig.take(*client), StartsWith("HTTP/1.1 200"));
  EXPECT_FALSE(busy.closed);
  EXPECT_EQ(rig.counters().upstream_rq_retry_stale, 1U);
}

}  // namespace
}  // namespace np::test
