// SPDX-License-Identifier: Apache-2.0
// The verb "explain": what it adds to the explanation of the policy from whoever knows what is
// live.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/verbs.h"
#include "policy/quota.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const char* const kWorld = R"(apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, labels: {app: web}}
status: {podIP: 10.1.0.2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 1}}
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, minHealthPercent: 60}
---
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {name: few}
spec:
  services: [{host: web}]
  rules: [{name: few, countBy: [{header: user}], windows: [{requests: 5, per: 1s}]}]
)";

class FakeLive final : public CaptureProbe, public LimitWatch, public EndpointWatch {
 public:
  CaptureVerdict verdict(const IpAddress& source, uint32_t ifindex,
                         const SocketAddress& dialled) override {
    asked = source.to_string() + " " + std::to_string(ifindex) + " " + dialled.to_string();
    return {CaptureVerdict::Outcome::kRefused, "failclosed", "it was told so", {"one", "two"}};
  }
  LimitFill fill(uint32_t, uint32_t) override { return load; }
  int64_t spent(uint32_t, const policy::CounterLimit& limit, const std::string& tuple) override {
    EXPECT_EQ(limit.amount, 5);
    EXPECT_THAT(tuple, HasSubstr("ann"));
    return used;
  }
  std::vector<EndpointStanding> standing(uint32_t) override { return standings; }
  bool uneject(uint32_t, const SocketAddress&) override { return false; }
  int fd() const override { return -1; }
  Instant next_deadline() override { return kNever; }
  std::vector<EndpointNote> take_notes() override { return {}; }

  std::string asked;
  LimitFill load;
  int64_t used = 0;
  std::vector<EndpointStanding> standings;
};

class ExplainVerb : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    ASSERT_TRUE(controller_.start());
    const Json applied =
        ask({{"verb", "apply"}, {"files", Json::array({{{"name", "w.yaml"}, {"text", kWorld}}})}});
    ASSERT_TRUE(applied["ok"].get<bool>()) << applied.dump();
    const Json added = ask({{"verb", "pod-add"},
                            {"name", "client"},
                            {"ips", {"10.1.0.9"}},
                            {"ifname", "veth9"},
                            {"labels", {{"app", "client"}}}});
    ASSERT_TRUE(added["ok"].get<bool>()) << added.dump();
  }
  Seams seams() {
    Seams all = daemon_.seams();
    all.probe = &live_;
    all.limits = &live_;
    all.watch = &live_;
    return all;
  }
  Json ask(const Json& request) { return Json::parse(verbs_.handle(request.dump(), {0, 1, true})); }
  Json explain() {
    return ask(
        {{"verb", "explain"}, {"from", "client"}, {"to", "web:80"}, {"headers", {"user: ann"}}});
  }

  FakeDaemon daemon_;
  FakeLive live_;
  Controller controller_{seams(), nullptr};
  Verbs verbs_{controller_, seams(), {"1.2.3", "nodeproxy", 2, monotonic_now()}};
};

TEST_F(ExplainVerb, TellsWhatTheKernelWouldDo) {
  const Json capture = explain()["capture"];
  EXPECT_EQ(live_.asked, "10.1.0.9 7 10.96.0.10:80");
  EXPECT_EQ(capture["verdict"], "refused");
  EXPECT_EQ(capture["counter"], "failclosed");
  ASSERT_EQ(capture["steps"].size(), 3U);
  EXPECT_THAT(capture["steps"][0].get<std::string>(), HasSubstr("veth9 (7)"));
  EXPECT_EQ(capture["steps"][2], "two");
}

TEST_F(ExplainVerb, WithoutAnAttachedPodNothingIsCaptured) {
  daemon_.pods.front().hook.clear();
  EXPECT_THAT(explain()["capture"]["reason"].get<std::string>(), HasSubstr("no program"));
  daemon_.pods.front().ifindex = 0;
  EXPECT_THAT(explain()["capture"]["reason"].get<std::string>(), HasSubstr("veth9 is gone"));
  daemon_.pods.front().problem = "the interface has another hook";
  EXPECT_EQ(explain()["capture"]["reason"], "the interface has another hook");
  daemon_.pods.clear();
  EXPECT_THAT(explain()["capture"]["reason"].get<std::string>(), HasSubstr("not registered"));
  EXPECT_EQ(live_.asked, "");
}

TEST_F(ExplainVerb, TellsHowFullLimitsAre) {
  const auto now = [this] { return explain()["destinations"][0]["limits"]["now"]; };
  EXPECT_EQ(now(), "goes on at once");
  live_.load.running = 2;
  EXPECT_EQ(now(), "waits for a place");
  live_.load.waiting = 1;
  EXPECT_EQ(now(), "refused, 503: too many wait");
  const Json fill = explain()["destinations"][0]["limits"]["fill"];
  EXPECT_EQ(fill["running"], 2);
  EXPECT_EQ(fill["waiting"], 1);
  live_.used = 4;
  EXPECT_EQ(explain()["destinations"][0]["checks"][0]["exhausted"], false);
  live_.used = 5;
  EXPECT_EQ(explain()["destinations"][0]["checks"][0]["exhausted"], true);
}

// With half of the endpoints out and panic below 60 % all are used again.
TEST_F(ExplainVerb, TellsWhoIsEjectedAndWhenThatDoesNotMatter) {
  EndpointStanding out;
  out.address = *SocketAddress::parse("10.1.0.1:80");
  out.state = "ejected";
  out.reason = "5xx in a row";
  live_.standings = {out};
  const Json destination = explain()["destinations"][0];
  ASSERT_EQ(destination["endpoints"].size(), 2U);
  EXPECT_EQ(destination["endpoints"][0]["state"], "ejected");
  EXPECT_EQ(destination["endpoints"][0]["reason"], "5xx in a row");
  EXPECT_EQ(destination["endpoints"][1]["state"], "in service");
  EXPECT_EQ(destination["panic"], true);
  EXPECT_EQ(destination["available"], 2);
}

TEST_F(ExplainVerb, RefusesWhatIsNoQuestion) {
  for (const Json& wrong :
       {Json{{"to", "web"}}, Json{{"to", 5}}, Json{{"to", "web:80"}, {"headers", {"x"}}},
        Json{{"to", "web:80"}, {"headers", "x: y"}}, Json{{"to", "web:80"}, {"from", ""}},
        Json{{"to", "web:80"}, {"path", "no"}}, Json{{"to", "web:80"}, {"method", "a b"}}}) {
    Json request = {{"verb", "explain"}, {"from", "client"}};
    request.update(wrong);
    const Json answer = ask(request);
    EXPECT_FALSE(answer["ok"].get<bool>()) << request.dump();
    EXPECT_FALSE(answer["error"].get<std::string>().empty());
  }
}

}  // namespace
}  // namespace np::control
