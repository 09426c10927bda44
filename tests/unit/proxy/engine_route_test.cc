// SPDX-License-Identifier: Apache-2.0
// What routes say: mirrors, header rules, CORS, redirects, source addresses, new policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"
#include "tests/support/wire_texts.h"

namespace np::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Socket = EngineRig::Socket;
using std::chrono::seconds;

class EngineRoute : public ::testing::Test {
 protected:
  EngineRoute() {
    cluster = &policy.add_cluster("web", {"10.1.0.1:9080"});
    route = &policy.add_route(cluster);
    PrefixTable& table = policy.add_table();
    table.entries.push_back({"/", route});
    policy.capture(kService, &table);
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
  EngineRig rig;
};

TEST_F(EngineRoute, MirrorIsASecondRequestWhoseAnswerNobodySees) {
  policy::Cluster& shadow = policy.add_cluster("shadow", {"10.1.0.7:80"});
  route->mirrors.push_back({&shadow, policy::kPerMillion});
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc");
  ASSERT_EQ(rig.upstreams().size(), 2U);
  for (Socket* socket : rig.upstreams()) {
    const bool mirror = socket->target.remote.port == 80;
    rig.open(*socket);
    const std::string request = rig.take(*socket);
    EXPECT_THAT(request, EndsWith("\r\n\r\nabc"));
    EXPECT_EQ(request.find("r-shadow\r\n") != std::string::npos, mirror);
    rig.send(*socket, mirror ? "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad" : kOk);
  }
  EXPECT_THAT(rig.take(client), EndsWith("\r\n\r\nok"));
  EXPECT_EQ(rig.counters().ended_mirror_done, 1U);
  EXPECT_EQ(rig.counters().downstream_rq_started, 1U);
}

TEST_F(EngineRoute, MirrorKeepsThePortOfTheHost) {
  policy::Cluster& shadow = policy.add_cluster("shadow", {"10.1.0.7:80"});
  route->mirrors.push_back({&shadow, policy::kPerMillion});
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n");
  ASSERT_EQ(rig.upstreams().size(), 2U);
  for (Socket* socket : rig.upstreams()) {
    rig.open(*socket);
    const bool mirror = socket->target.remote.port == 80;
    EXPECT_THAT(rig.take(*socket),
                HasSubstr(mirror ? "reviews-shadow:9080\r\n" : "reviews:9080\r\n"));
  }
}

TEST_F(EngineRoute, RewriteToAnIllegalAuthorityIsAnsweredAtOnce) {
  route->rewrite.emplace();
  route->rewrite->authority = "reviews:port";
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET / HTTP/1.1\r\nHost: r\r\n\r\n");
  rig.open(rig.upstream(0));
  EXPECT_THAT(rig.take(client), StartsWith("HTTP/1.1 502 "));
  EXPECT_EQ(rig.upstream(0).output, "");
}

TEST_F(EngineRoute, HeaderRulesRewriteAndWeights) {
  route->request_headers.set = {{"x-set", "1"}, {"Host", "other"}, {"Content-Length", "9"}};
  route->request_headers.remove = {"cookie"};
  route->response_headers.add = {{"x-added", "2"}};
  route->response_headers.remove = {"server"};
  rig.use(policy);
  auto [client, origin] = ask("GET / HTTP/1.1\r\nHost: r\r\nCookie: a=b\r\nX-Set: 0\r\n\r\n");
  const std::string request = rig.take(*origin);
  EXPECT_THAT(request, HasSubstr("x-set: 1\r\n"));
  EXPECT_THAT(request, HasSubstr("other\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("a=b")));
  EXPECT_THAT(request, Not(HasSubstr("ontent-")));
  rig.send(*origin, "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 0\r\n\r\n");
  const std::string answer = rig.take(*client);
  EXPECT_THAT(answer, HasSubstr("x-added: 2\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Server")));
}

TEST_F(EngineRoute, PreflightIsAnsweredHere) {
  route->cors.emplace();
  route->cors->allow_origins.push_back({policy::StringMatch::Kind::kExact, "http://a.example"});
  route->cors->allow_methods = "GET,PUT";
  route->cors->max_age = seconds(60);
  route->cors_regexes.resize(1);
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client,
           "OPTIONS / HTTP/1.1\r\nHost: r\r\nOrigin: http://a.example\r\n"
           "Access-Control-Request-Method: PUT\r\n\r\n");
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("access-control-allow-origin: http://a.example\r\n"));
  EXPECT_THAT(answer, HasSubstr("access-control-max-age: 60\r\n"));
  EXPECT_TRUE(rig.upstreams().empty());
}

TEST_F(EngineRoute, RedirectIsAnsweredHere) {
  route->action = policy::Route::Action::kRedirect;
  route->redirect.emplace();
  route->redirect->path = "/new";
  rig.use(policy);
  Socket& client = rig.connect_captured(kService);
  rig.send(client, "GET /old HTTP/1.1\r\nHost: shop.example\r\n\r\n");
  const std::string answer = rig.take(client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 301 "));
  EXPECT_THAT(answer, HasSubstr("location: http://shop.example/new\r\n"));
}

TEST_F(EngineRoute, SourceOfThePodIsKeptExceptTowardsItself) {
  cluster->source_pod = true;
  rig.use(policy);
  Socket& client = rig.connect_captured(kService, "10.0.0.9:1");
  rig.send(client, kGet);
  EXPECT_TRUE(rig.upstream(0).target.source_pod);
  EXPECT_EQ(rig.upstream(0).target.source_ip.to_string(), "10.0.0.9");
  Socket& other = rig.connect_captured(kService, "10.0.0.8:1");
  rig.send(other, kGet);
  EXPECT_EQ(rig.upstream(1).target.source_ip.to_string(), "10.0.0.8");
  Socket& self = rig.connect_captured(kService, "10.1.0.1:1");
  rig.send(self, kGet);
  EXPECT_FALSE(rig.upstream(2).target.source_pod)
      << rig.upstream(2).target.source_ip.to_string() << " to "
      << rig.upstream(2).target.remote.to_string();
}

TEST_F(EngineRoute, MaxForwardsIsCountedDown) {
  rig.use(policy);
  auto [other, target] = ask("OPTIONS / HTTP/1.1\r\nHost: r\r\nMax-Forwards: 3\r\n\r\n");
  EXPECT_THAT(rig.take(*target), HasSubstr("max-forwards: 2\r\n"));
  Socket& last = rig.connect_captured(kService);
  rig.send(last, "OPTIONS / HTTP/1.1\r\nHost: r\r\nMax-Forwards: 0\r\n\r\n");
  EXPECT_THAT(rig.take(last), StartsWith("HTTP/1.1 200"));
  rig.send(last, "TRACE / HTTP/1.1\r\nHost: r\r\nMax-Forwards: 0\r\n\r\n");
  EXPECT_THAT(rig.take(last), StartsWith("HTTP/1.1 405"));
}

TEST_F(EngineRoute, NewPolicyActsOnKeptConnections) {
  rig.use(policy);
  auto [client, origin] = ask();
  rig.send(*origin, kOk);
  rig.take(*client);
  PolicyFixture next;
  policy::Route& teapot = next.add_route(nullptr);
  teapot.action = policy::Route::Action::kDirectResponse;
  teapot.direct_response = policy::DirectResponse{418, "short and stout", ""};
  PrefixTable& other = next.add_table();
  other.entries.push_back({"/", &teapot});
  next.capture(kService, &other);
  rig.use(next);
  EXPECT_TRUE(origin->closed);  // nothing names that endpoint any more
  rig.send(*client, kGet);
  const std::string answer = rig.take(*client);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 418"));
  EXPECT_THAT(answer, EndsWith("short and stout"));
  rig.use(
      PolicyFixture());  // the service is not covered any more: straight to where it was dialled
  rig.send(*client, kGet);
  EXPECT_EQ(rig.upstreams().back()->target.remote.to_string(), kService);
}

TEST_F(EngineRoute, RequestUnderWayKeepsItsPolicy) {
  rig.use(policy);
  auto [client, origin] = ask();
  policy = PolicyFixture();
  rig.use(policy);
  rig.send(*origin, kOk);
  EXPECT_THAT(rig.take(*client), EndsWith("ok"));
  EXPECT_EQ(rig.counters().ended_completed, 1U);
}

}  // namespace
}  // namespace np::test
