// SPDX-License-Identifier: Apache-2.0
// What the daemon answers to `nodectl doctor`: each state of pods, supervisor and policy is told
// once, with a command that mends it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/log.h"
#include "control/doctor_view.h"
#include "control/verbs.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Level = Check::Level;

const char* const kWeb =
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, selector: "
    "{app: web}, ports: [{name: http, port: 80}]}\n";

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    ASSERT_TRUE(controller_.start());
  }
  void add_pod() {
    PodRegistration pod{"shop", "web-1", {*IpAddress::parse("10.0.0.7")}, "veth$1", {}, false};
    pod.labels = {{"app", "web"}, {"version", "v1"}};
    ASSERT_FALSE(controller_.add_pod(pod, {0, 1, true}).is_refused());
  }
  void apply(const std::string& text) {
    policy::Diagnostics diagnostics;
    auto objects = policy::parse_objects(text, {"f.yaml", "default"}, diagnostics);
    ASSERT_FALSE(objects.empty()) << diagnostics.front().to_string();
    const ChangeAnswer answer =
        controller_.change(Verb::kApply, std::move(objects), {false, 1}, {0, 1, true});
    ASSERT_FALSE(answer.is_refused()) << answer.diagnostics.front().to_string();
  }
  Json ask() {
    const Json answer = Json::parse(verbs_.handle(R"({"verb": "doctor"})", {1000, 1, false}));
    EXPECT_TRUE(answer["ok"].get<bool>());
    return answer["checks"];
  }
  // Those that are not ok.
  Json findings() {
    Json bad = Json::array();
    for (const Json& check : ask()) {
      if (check["level"] != "ok") bad.push_back(check);
    }
    return bad;
  }

  FakeDaemon daemon_;
  Controller controller_{daemon_.seams(), nullptr};
  Verbs verbs_{controller_, daemon_.seams(), {"1.2.3", "nodeproxy", 2, monotonic_now()}};
};

TEST(CheckLine, GoesThereAndBack) {
  Check check;
  check.level = Level::kFail;
  check.area = "pins";
  check.subject = "maps/np_flows";
  check.found = "gone\tand\nmore";
  check.commands = {"one two", "three"};
  const auto back = parse_check(to_line(check));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->level, Level::kFail);
  EXPECT_EQ(back->subject, "maps/np_flows");
  EXPECT_EQ(back->found, "gone and more");
  EXPECT_EQ(back->remedy, "");
  EXPECT_EQ(back->commands, check.commands);
  EXPECT_FALSE(parse_check(""));
  EXPECT_FALSE(parse_check("fail\tpins\tx\ty"));
  EXPECT_FALSE(parse_check("bad\tpins\tx\ty\tz"));
}

TEST_F(DoctorTest, AHealthyNodeHasNoFindings) {
  apply(kWeb);
  add_pod();
  EXPECT_THAT(findings(), IsEmpty());
  const std::string all = ask().dump();
  EXPECT_THAT(all, HasSubstr("version 1.2.3, instance nodeproxy"));
  EXPECT_THAT(all, HasSubstr("captured by tcx on veth$1 since 2023-11-14T22:13:20Z"));
}

TEST_F(DoctorTest, WhatTheSupervisorFindsOfAPodGetsItsCommand) {
  add_pod();
  Check ahead;
  ahead.level = Level::kFail;
  ahead.area = "hooks";
  ahead.subject = "shop/web-1 on veth$1";
  ahead.found = "other runs before np_pod_in";
  ahead.pod_id = daemon_.pods.front().pod_id;
  daemon_.node = {ahead};
  daemon_.pods.front().problem = "another program is ahead";
  const Json bad = findings();
  ASSERT_EQ(bad.size(), 1U) << bad.dump(1);
  EXPECT_EQ(bad[0]["area"], "hooks");
  EXPECT_THAT(bad[0]["commands"],
              ElementsAre("nodectl -n shop pod add web-1 --ip 10.0.0.7 --ifname 'veth$1' -l "
                          "app=web,version=v1"));
}

TEST_F(DoctorTest, PodsThatAreNotCapturedSayWhy) {
  add_pod();
  daemon_.pods.front().ifindex = 0;
  Json bad = findings();
  ASSERT_EQ(bad.size(), 1U);
  EXPECT_EQ(bad[0]["found"], "not captured: interface veth$1 is gone");
  EXPECT_THAT(bad[0]["commands"], ElementsAre("nodectl -n shop pod remove web-1"));
  daemon_.pods.front().ifindex = 7;
  ASSERT_TRUE(controller_.detach_all({0, 1, true}));
  bad = findings();
  ASSERT_EQ(bad.size(), 1U);
  EXPECT_EQ(bad[0]["level"], "warn");
  EXPECT_THAT(bad[0]["commands"][0].get<std::string>(), HasSubstr("pod add web-1"));
  apply(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: proxy}\nspec: {hostNetwork: true}\nstatus: "
      "{podIP: 10.9.9.9}\n");
  EXPECT_THAT(findings().dump(), HasSubstr("not captured: unsupported: hostNetwork"));
}

TEST_F(DoctorTest, ASilentSupervisorIsAFinding) {
  daemon_.failing = {"inspect"};
  const Json bad = findings();
  ASSERT_EQ(bad.size(), 1U);
  EXPECT_EQ(bad[0]["subject"], "supervisor");
  EXPECT_EQ(bad[0]["level"], "fail");
}

TEST_F(DoctorTest, OneComplaintOfPolicyIsToldOnce) {
  apply(kWeb);
  apply(
      "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: a}\n"
      "spec: {destination: {name: web}, precedence: 2, route: [{labels: {app: web}}]}\n---\n"
      "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: b}\n"
      "spec: {destination: {name: web}, precedence: 1, route: [{labels: {app: web}}]}\n");
  Json shadowed;
  for (const Json& check : findings()) {
    if (check["found"].get<std::string>().find("never reached") != std::string::npos) {
      EXPECT_TRUE(shadowed.is_null()) << "told twice";
      shadowed = check;
    }
    EXPECT_THAT(check["found"].get<std::string>(), ::testing::Not(HasSubstr("can never be used")))
        << "the loader says the same in other words";
  }
  ASSERT_FALSE(shadowed.is_null());
  EXPECT_EQ(shadowed["subject"], "RouteRule default/b");
  EXPECT_EQ(shadowed["level"], "warn");
  EXPECT_THAT(shadowed["commands"],
              ElementsAre("nodectl -n default delete routerule.config.istio.io b"));
}

TEST_F(DoctorTest, ARouteToNowhereFails) {
  apply(kWeb);
  apply(
      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w}\n"
      "spec: {hosts: [web], http: [{route: [{destination: {host: ghost}}]}]}\n");
  const Json bad = findings();
  ASSERT_EQ(bad.size(), 1U) << bad.dump(1);
  EXPECT_EQ(bad[0]["level"], "fail");
  EXPECT_THAT(bad[0]["found"].get<std::string>(), HasSubstr("ghost.default.svc.cluster.local"));
}

TEST_F(DoctorTest, WhatIsAcceptedAndNotInEffectIsAWarning) {
  apply(
      "apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: apis}\n"
      "spec: {destination: {service: '*.example.com'}, ports: [{port: 443, protocol: https}]}\n");
  const Json bad = findings();
  ASSERT_FALSE(bad.empty());
  EXPECT_EQ(bad[0]["level"], "warn");
  EXPECT_THAT(bad[0]["found"].get<std::string>(), HasSubstr("not yet in effect: "));
}

}  // namespace
}  // namespace np::control
