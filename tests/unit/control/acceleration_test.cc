// SPDX-License-Identifier: Apache-2.0
// Who starts the self-test of acceleration, and what people are told of it.
#include "control/acceleration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/verbs.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Phase = AccelerationState::Phase;

constexpr const char* kAsks = R"(apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {name: fast}
spec: {host: reviews, acceleration: sockmap}
)";
constexpr const char* kAsksNothing = R"(apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {name: fast}
spec: {host: reviews, acceleration: none}
)";

AccelerationReport report(bool passes) {
  return {"6.18.44",
          "",
          {{"order", "in order", true, "in order"}, {"splice", "moves bytes", passes, "EAGAIN"}}};
}

class FakeAcceleration final : public AccelerationHost {
 public:
  AccelerationState now;
  int started = 0;

  Result<void> start() override {
    ++started;
    now.phase = Phase::kRunning;
    return ok();
  }
  AccelerationState state() override { return now; }
  void finish(bool passes) { now = {Phase::kDone, report(passes)}; }
};

class AccelerationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    start(&host_);
  }
  // As a worker does, after another one or for the first time.
  void start(AccelerationHost* host) {
    auto opened = StateFile::open(directory_.path() + "/state");
    ASSERT_TRUE(opened);
    verbs_.reset();
    controller_.reset();
    state_ = std::make_unique<StateFile>(std::move(*opened));
    Seams seams = daemon_.seams();
    seams.acceleration = host;
    controller_ = std::make_unique<Controller>(seams, state_.get());
    ASSERT_TRUE(controller_->start());
    verbs_ = std::make_unique<Verbs>(*controller_, seams,
                                     DaemonInfo{"1", "nodeproxy", 2, monotonic_now()});
  }
  Json ask(const Json& request, bool may_write = true) {
    return Json::parse(verbs_->handle(request.dump(), {1000, 1, may_write}));
  }
  Json apply(const char* yaml) {
    const Json answer = ask({{"verb", "apply"}, {"files", {{{"name", "f.yaml"}, {"text", yaml}}}}});
    EXPECT_TRUE(answer["ok"].get<bool>()) << answer.dump();
    return answer;
  }
  std::string status() { return ask({{"verb", "status"}})["acceleration"]; }
  Json described() {
    return ask({{"verb", "get"}, {"kind", "tp"}, {"names", {"fast"}}})["objects"][0];
  }
  std::vector<Json> findings() {
    std::vector<Json> found;
    const Json answer = ask({{"verb", "doctor"}});
    for (const Json& check : answer["checks"]) {
      if (check["area"] == "acceleration") found.push_back(check);
    }
    return found;
  }

  TemporaryDirectory directory_;
  FakeDaemon daemon_;
  FakeAcceleration host_;
  std::unique_ptr<StateFile> state_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Verbs> verbs_;
};

TEST_F(AccelerationTest, OffUntilAPolicyAsks) {
  apply(kAsksNothing);
  EXPECT_EQ(host_.started, 0);
  EXPECT_EQ(status(), "off");
  EXPECT_FALSE(described().contains("acceleration"));
  EXPECT_TRUE(findings().empty());
}

TEST_F(AccelerationTest, TheFirstPolicyThatAsksStartsTheTestAndNobodyWaits) {
  const Json answer = apply(kAsks);
  EXPECT_THAT(answer["warnings"].dump(), HasSubstr("no data path is built yet"));
  EXPECT_EQ(host_.started, 1);
  EXPECT_EQ(status(), "being tested");
  EXPECT_EQ(findings().at(0)["level"], "ok");
  apply(kAsksNothing);
  apply(kAsks);
  EXPECT_EQ(host_.started, 1) << "one that runs goes on";
  host_.finish(false);
  apply(kAsksNothing);
  EXPECT_EQ(status(), "off");
  apply(kAsks);
  EXPECT_EQ(host_.started, 1) << "this kernel is known";
}

TEST_F(AccelerationTest, ARefusalIsToldWithItsReasonsAndARemedy) {
  apply(kAsks);
  host_.finish(false);
  EXPECT_EQ(status(), "refused: splice");
  EXPECT_EQ(described()["acceleration"], "refused: splice");
  EXPECT_EQ(described()["status"], "in effect");
  const Json found = findings().at(0);
  EXPECT_EQ(found["level"], "warn");
  EXPECT_EQ(found["subject"], "sockmap on Linux 6.18.44");
  EXPECT_EQ(found["found"], "refused: splice");
  EXPECT_THAT(found["remedy"].get<std::string>(),
              HasSubstr("out of TrafficPolicy default/fast, or use a kernel that passes"));
  EXPECT_EQ(found["commands"], Json::array({"nodectl acceleration"}));
  const Json view = ask({{"verb", "acceleration"}});
  EXPECT_EQ(view["state"], "refused");
  EXPECT_EQ(view["reasons"], Json::array({"splice"}));
  EXPECT_EQ(view["policies"], Json::array({"TrafficPolicy default/fast"}));
  EXPECT_EQ(view["results"].size(), 2U);
}

TEST_F(AccelerationTest, AKernelThatPassesIsNotSaidToBeAccelerated) {
  apply(kAsks);
  host_.finish(true);
  EXPECT_EQ(status(), "possible: this kernel passes; no data path is built yet");
  EXPECT_EQ(findings().at(0)["level"], "ok");
  EXPECT_EQ(ask({{"verb", "acceleration"}})["state"], "possible");
}

TEST_F(AccelerationTest, ATestThatCannotBeMadeIsARefusal) {
  apply(kAsks);
  host_.now = {Phase::kDone, {"6.18.44", "load the programs: Operation not permitted", {}}};
  EXPECT_EQ(status(), "refused: load the programs: Operation not permitted");
  EXPECT_EQ(findings().at(0)["level"], "warn");
}

TEST_F(AccelerationTest, ANewWorkerTestsOnlyWhatIsNotKnown) {
  apply(kAsks);
  host_.finish(false);
  start(&host_);
  EXPECT_EQ(host_.started, 1);
  host_.now = {};  // another supervisor
  start(&host_);
  EXPECT_EQ(host_.started, 2);
}

TEST_F(AccelerationTest, WithoutCaptureItIsRefused) {
  apply(kAsks);
  start(nullptr);
  EXPECT_EQ(status(), "refused: the daemon runs with --no-capture");
  EXPECT_EQ(findings().at(0)["level"], "warn");
  EXPECT_EQ(ask({{"verb", "acceleration"}})["state"], "refused");
  const Json refused = ask({{"verb", "acceleration-test"}});
  EXPECT_FALSE(refused["ok"].get<bool>());
  EXPECT_THAT(refused["error"].get<std::string>(), HasSubstr("--no-capture"));
}

TEST_F(AccelerationTest, WhoMayWriteMayTest) {
  EXPECT_EQ(ask({{"verb", "acceleration"}}, false)["state"], "untested");
  EXPECT_FALSE(ask({{"verb", "acceleration-test"}}, false)["ok"].get<bool>());
  EXPECT_EQ(host_.started, 0);
  EXPECT_TRUE(ask({{"verb", "acceleration-test"}})["ok"].get<bool>());
  EXPECT_EQ(host_.started, 1);
  EXPECT_EQ(status(), "off") << "nobody asks for it all the same";
}

// ---- the report's text --------------------------------------------------------------------------

TEST(AccelerationReportText, ComesBackAsItWas) {
  AccelerationReport given = report(false);
  given.results[1].seen = "a\ttab and\na line";
  const auto got = parse_acceleration_report(to_text(given));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->release, given.release);
  ASSERT_EQ(got->results.size(), 2U);
  EXPECT_EQ(got->results[0].promise, "in order");
  EXPECT_TRUE(got->results[0].passed);
  EXPECT_FALSE(got->results[1].passed);
  EXPECT_EQ(got->results[1].seen, "a tab and a line");
  const auto failed = parse_acceleration_report(to_text(AccelerationReport{"6.1", "why", {}}));
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->problem, "why");
}

TEST(AccelerationReportText, AnythingElseIsNone) {
  const std::string whole = to_text(report(true));
  for (const std::string& text :
       {std::string(), std::string("nonsense\n"), std::string("release\t6.1\n"),
        std::string("danger\ta\tpassed\tp\ts\n"),
        std::string("release\t6.1\ndanger\ta\tmaybe\tp\ts\n"), whole.substr(0, whole.size() - 1),
        whole + "\n"}) {
    EXPECT_FALSE(parse_acceleration_report(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace np::control
