// SPDX-License-Identifier: Apache-2.0
// The guard's book and verbs over a kernel that records: what is asked for reaches it, is saved,
// and is taken back when a step fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/verbs.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

class FakeGuard : public GuardHost {
 public:
  std::map<std::string, GuardState> attached;
  std::vector<std::string> denied, limited, exposed;
  std::string refused_interface;
  bool are_rules_full = false;

  Result<GuardState> attach(const GuardPlace& place, bool is_kept) override {
    GuardState state{place, "native", 7, "", ""};
    if (place.ifname == refused_interface) {
      if (!is_kept) return Error{ErrorCode::kConflict, "guard " + place.ifname, "taken", ""};
      state.hook.clear();
      state.problem = "taken";
    }
    attached[place.ifname] = state;
    return state;
  }
  Result<void> detach(const std::string& ifname) override {
    if (attached.erase(ifname) > 0) return ok();
    return Error{ErrorCode::kNotFound, "guard " + ifname, "it carries no guard", ""};
  }
  std::vector<GuardState> states() override {
    std::vector<GuardState> all;
    for (const auto& [name, state] : attached) all.push_back(state);
    return all;
  }
  Result<void> set_denied(const std::vector<IpPrefix>& prefixes) override {
    if (are_rules_full) return Error{ErrorCode::kExhausted, "deny", "full", ""};
    denied.clear();
    for (const IpPrefix& prefix : prefixes) denied.push_back(prefix.to_string());
    return ok();
  }
  Result<void> set_limits(const std::vector<GuardLimit>& limits) override {
    limited.clear();
    for (const GuardLimit& limit : limits) {
      limited.push_back(limit.destination.to_string() + " " + std::to_string(limit.rate) + "/" +
                        std::to_string(limit.burst) + (limit.sheds ? "" : " keep"));
    }
    return ok();
  }
  Result<void> set_exposed(const std::vector<SocketAddress>& listeners) override {
    exposed.clear();
    for (const SocketAddress& listener : listeners) exposed.push_back(listener.to_string());
    return ok();
  }
  std::vector<GuardUse> uses() override {
    return {{{*SocketAddress::parse("10.0.0.1:80"), 5, 5, true}, 1, 2, 3}};
  }
  std::vector<NamedCounter> counters() override { return {{"drop_denied", 4}}; }
};

class GuardBookTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    start();
  }
  // As a worker does, after another one or for the first time.
  void start() {
    auto opened = StateFile::open(directory_.path() + "/state");
    ASSERT_TRUE(opened);
    verbs_.reset();
    controller_.reset();
    state_ = std::make_unique<StateFile>(std::move(*opened));
    Seams seams = daemon_.seams();
    seams.guard = &guard_;
    controller_ = std::make_unique<Controller>(seams, state_.get());
    ASSERT_TRUE(controller_->start());
    verbs_ = std::make_unique<Verbs>(*controller_, seams,
                                     DaemonInfo{"1", "nodeproxy", 2, monotonic_now()});
  }
  Json ask(const Json& request, bool may_write = true) {
    return Json::parse(verbs_->handle(request.dump(), {1000, 1, may_write}));
  }
  void expect_done(const Json& request) {
    const Json answer = ask(request);
    EXPECT_TRUE(answer["ok"].get<bool>()) << answer.dump();
  }
  void expect_refused(const Json& request, const std::string& why) {
    const Json answer = ask(request);
    ASSERT_FALSE(answer["ok"].get<bool>()) << request.dump();
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr(why));
  }

  TemporaryDirectory directory_;
  FakeDaemon daemon_;
  FakeGuard guard_;
  std::unique_ptr<StateFile> state_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Verbs> verbs_;
};

Json attach(const std::string& ifname, const std::string& mode = "") {
  return {{"verb", "guard-attach"}, {"ifname", ifname}, {"mode", mode}};
}

TEST_F(GuardBookTest, WhatWasAskedForComesBackWithTheNextWorker) {
  expect_done(attach("eth0", "tc"));
  expect_done({{"verb", "guard-deny"}, {"add", {"10.0.0.0/8", "fd00::/16", "10.0.0.0/8"}}});
  expect_done({{"verb", "guard-limit"}, {"destination", "*:80"}, {"rate", 100U}, {"keep", true}});
  expect_done(
      {{"verb", "guard-limit"}, {"destination", "10.0.0.1:90"}, {"rate", 5U}, {"burst", 9U}});
  guard_ = FakeGuard{};
  guard_.attached["old0"] = {};  // nobody asks for it any more
  guard_.attached["old0"].place.ifname = "old0";
  start();
  ASSERT_EQ(guard_.attached.size(), 1U);
  EXPECT_EQ(guard_.attached["eth0"].place.mode, "tc");
  EXPECT_THAT(guard_.denied, ElementsAre("10.0.0.0/8", "fd00::/16"));
  EXPECT_THAT(guard_.limited,
              ElementsAre("0.0.0.0:80 100/100 keep", "[::]:80 100/100 keep", "10.0.0.1:90 5/9"));
}

TEST_F(GuardBookTest, TakesBackWhatItIsTold) {
  expect_done(attach("eth0"));
  expect_done({{"verb", "guard-deny"}, {"add", {"10.0.0.0/8", "10.1.0.1"}}});
  expect_done({{"verb", "guard-limit"}, {"destination", "*:80"}, {"rate", 100U}});
  expect_done({{"verb", "guard-deny"}, {"remove", {"10.0.0.0/8"}}});
  expect_done({{"verb", "guard-limit"}, {"destination", "[::]:80"}, {"remove", true}});
  expect_done({{"verb", "guard-detach"}, {"ifname", "eth0"}});
  EXPECT_TRUE(guard_.attached.empty());
  EXPECT_THAT(guard_.denied, ElementsAre("10.1.0.1/32"));
  EXPECT_THAT(guard_.limited, ElementsAre("0.0.0.0:80 100/100"));
  expect_refused({{"verb", "guard-detach"}, {"ifname", "eth0"}}, "carries no guard");
  expect_refused({{"verb", "guard-deny"}, {"remove", {"10.9.9.9"}}}, "no such entry");
  expect_refused({{"verb", "guard-limit"}, {"destination", "1.2.3.4:5"}, {"remove", true}},
                 "it has no limit");
}

TEST_F(GuardBookTest, RefusesNonsense) {
  for (const char* ifname : {"", "a/b", "..", "a b", "a-name-that-is-too-long"}) {
    expect_refused(attach(ifname), "an interface's name");
    expect_refused({{"verb", "guard-detach"}, {"ifname", ifname}}, "an interface's name");
  }
  expect_refused(attach("eth0", "fast"), "allowed: native, generic, tc");
  for (const char* prefix : {"10.0.0.1/8", "x", "10.0.0.0/33", ""}) {
    expect_refused({{"verb", "guard-deny"}, {"add", {prefix}}}, "without host bits");
  }
  for (const char* all : {"0.0.0.0/0", "::/0", "::/1", "::/80"}) {
    expect_refused({{"verb", "guard-deny"}, {"add", {all}}}, "nobody could reach this node");
  }
  expect_refused({{"verb", "guard-deny"}}, "give prefixes");
  for (const char* destination : {"10.0.0.1", "10.0.0.1:0", "*:", "x:80", "*:99999"}) {
    expect_refused({{"verb", "guard-limit"}, {"destination", destination}, {"rate", 1U}},
                   "ADDRESS:PORT");
  }
  const Json limit = {{"verb", "guard-limit"}, {"destination", "10.0.0.1:80"}};
  for (const auto& [rate, burst] : {std::pair{2000000U, 1U}, {1U, 0U}, {1U, 2000000U}}) {
    Json request = limit;
    request["rate"] = rate;
    request["burst"] = burst;
    expect_refused(request, "per second");
  }
  EXPECT_THAT(guard_.limited, IsEmpty());
  EXPECT_THAT(guard_.denied, IsEmpty());
}

TEST_F(GuardBookTest, AFailedStepChangesNothing) {
  expect_done({{"verb", "guard-deny"}, {"add", {"10.0.0.0/8"}}});
  guard_.are_rules_full = true;
  expect_refused({{"verb", "guard-deny"}, {"add", {"11.0.0.0/8"}}}, "full");
  guard_.are_rules_full = false;
  guard_.refused_interface = "eth1";
  expect_refused(attach("eth1"), "taken");
  EXPECT_TRUE(guard_.attached.empty());
  start();
  EXPECT_THAT(guard_.denied, ElementsAre("10.0.0.0/8"));
  EXPECT_TRUE(guard_.attached.empty());
}

TEST_F(GuardBookTest, DetachAllForgetsInterfacesAndKeepsRules) {
  expect_done(attach("eth0"));
  expect_done({{"verb", "guard-deny"}, {"add", {"10.0.0.0/8"}}});
  expect_done({{"verb", "detach"}});
  guard_ = FakeGuard{};
  start();
  EXPECT_TRUE(guard_.attached.empty());
  EXPECT_THAT(guard_.denied, ElementsAre("10.0.0.0/8"));
}

TEST_F(GuardBookTest, ListenersOfGatewaysAreExposed) {
  const std::string gateway =
      "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n"
      "  servers:\n  - port: {number: 8081, name: http, protocol: HTTP}\n    hosts: ['*']\n";
  expect_done({{"verb", "apply"},
               {"namespace", "default"},
               {"files", Json::array({{{"name", "g.yaml"}, {"text", gateway}}})}});
  EXPECT_THAT(guard_.exposed, ::testing::Contains("0.0.0.0:8081"));
}

TEST_F(GuardBookTest, StatusTellsAllAndOnlyWritersChange) {
  expect_done(attach("eth0"));
  const Json status = ask({{"verb", "guard-status"}}, /*may_write=*/false);
  ASSERT_TRUE(status["ok"].get<bool>());
  EXPECT_EQ(status["interfaces"][0]["ifname"], "eth0");
  EXPECT_EQ(status["interfaces"][0]["hook"], "native");
  EXPECT_EQ(status["destinations"][0]["shed"], 3);
  EXPECT_EQ(status["destinations"][0]["origin"], "listener");
  EXPECT_EQ(status["counters"]["drop_denied"], 4);
  EXPECT_FALSE(ask(attach("eth1"), /*may_write=*/false)["ok"].get<bool>());
}

TEST(GuardWithoutCapture, IsRefusedWithTheReason) {
  set_log_level(LogLevel::kOff);
  FakeDaemon daemon;
  Controller controller(daemon.seams(), nullptr);
  ASSERT_TRUE(controller.start());
  Verbs verbs(controller, daemon.seams(), {"1", "nodeproxy", 2, monotonic_now()});
  for (const Json& request : {attach("eth0"), Json{{"verb", "guard-status"}},
                              Json{{"verb", "guard-deny"}, {"add", {"10.0.0.0/8"}}}}) {
    const Json answer = Json::parse(verbs.handle(request.dump(), {0, 1, true}));
    EXPECT_FALSE(answer["ok"].get<bool>());
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr("--no-capture"));
  }
}

}  // namespace
}  // namespace np::control
