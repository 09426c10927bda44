// SPDX-License-Identifier: Apache-2.0
// Requests as JSON: who may do what, and that no request, however wrong, does more than be refused.
#include "control/verbs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/random.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const char* const kRule =
    "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: r\nspec:\n"
    "  destination:\n    name: reviews\n  route:\n  - labels:\n      version: v1\n";

class VerbsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    ASSERT_TRUE(controller_.start());
  }

  Json ask(const Json& request, bool may_write = true) {
    return Json::parse(verbs_.handle(request.dump(), {1000, 1, may_write}));
  }
  Json apply_request(const std::string& text) {
    return {{"verb", "apply"},
            {"namespace", "default"},
            {"files", Json::array({{{"name", "r.yaml"}, {"text", text}}})}};
  }

  FakeDaemon daemon_;
  Controller controller_{daemon_.seams(), nullptr};
  Verbs verbs_{controller_, daemon_.seams(), {"1.2.3", "nodeproxy", 2, monotonic_now()}};
};

TEST_F(VerbsTest, ApplyGetDelete) {
  const Json applied = ask(apply_request(kRule));
  ASSERT_TRUE(applied["ok"].get<bool>()) << applied.dump();
  EXPECT_EQ(applied["results"][0]["resource"], "routerule.config.istio.io/r");
  EXPECT_EQ(applied["results"][0]["outcome"], "created");
  const Json got = ask({{"verb", "get"}, {"kind", "routerules"}, {"names", {"r", "missing"}}});
  ASSERT_EQ(got["objects"].size(), 1U);
  EXPECT_EQ(got["objects"][0]["text"].get<std::string>().substr(0, 10), "apiVersion");
  EXPECT_EQ(got["objects"][0]["status"], "in effect");
  EXPECT_EQ(got["missing"][0], "routerule.config.istio.io \"missing\" not found");
  const Json deleted = ask({{"verb", "delete"}, {"kind", "rr"}, {"names", {"r"}}});
  ASSERT_TRUE(deleted["ok"].get<bool>());
  EXPECT_EQ(deleted["results"][0]["outcome"], "deleted");
  EXPECT_FALSE(ask({{"verb", "delete"}, {"kind", "rr"}, {"names", {"r"}}})["ok"].get<bool>());
}

TEST_F(VerbsTest, OtherNamespacesAreNotListed) {
  ASSERT_TRUE(ask(apply_request(kRule))["ok"].get<bool>());
  EXPECT_EQ(ask({{"verb", "get"}, {"kind", "rr"}, {"namespace", "other"}})["objects"].size(), 0U);
  EXPECT_EQ(ask({{"verb", "get"},
                 {"kind", "rr"},
                 {"namespace", "other"},
                 {"all_namespaces", true}})["objects"]
                .size(),
            1U);
}

TEST_F(VerbsTest, AnErrorNamesFileLineAndField) {
  const Json answer = ask(apply_request(std::string(kRule) + "  noSuchField: 1\n"));
  ASSERT_FALSE(answer["ok"].get<bool>());
  const Json& diagnostic = answer["diagnostics"][0];
  EXPECT_EQ(diagnostic["file"], "r.yaml");
  EXPECT_GT(diagnostic["line"].get<int>(), 0);
  EXPECT_THAT(diagnostic["text"].get<std::string>(), HasSubstr("noSuchField"));
}

TEST_F(VerbsTest, OnlyThoseWhoMayWriteChangeAnything) {
  for (const char* verb : {"apply", "create", "replace", "delete", "pod-add", "pod-remove", "drain",
                           "detach", "flows-reset"}) {
    const Json answer = ask({{"verb", verb}}, false);
    EXPECT_FALSE(answer["ok"].get<bool>()) << verb;
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr("uid 1000 may not")) << verb;
  }
  EXPECT_FALSE(daemon_.drained);
  for (const char* verb : {"status", "endpoints", "pod-list"}) {
    EXPECT_TRUE(ask({{"verb", verb}}, false)["ok"].get<bool>()) << verb;
  }
}

TEST_F(VerbsTest, StatusTellsTheProcess) {
  const Json status = ask({{"verb", "status"}});
  EXPECT_EQ(status["version"], "1.2.3");
  EXPECT_EQ(status["shards"], 2);
  EXPECT_EQ(status["counters"]["requests_total"], 42);
  EXPECT_EQ(status["probe"][0], "tcx: found");
}

TEST_F(VerbsTest, DrainReachesTheDaemon) {
  EXPECT_TRUE(ask({{"verb", "drain"}})["ok"].get<bool>());
  EXPECT_TRUE(daemon_.drained);
}

TEST_F(VerbsTest, FlowsResetIsBounded) {
  EXPECT_TRUE(ask({{"verb", "flows-reset"}, {"window_ms", 5000}})["ok"].get<bool>());
  EXPECT_EQ(daemon_.reset_window, std::chrono::seconds(5));
  for (const Json& wrong : {Json(0), Json(999), Json(3'600'001), Json("5s"), Json(-1)}) {
    EXPECT_FALSE(ask({{"verb", "flows-reset"}, {"window_ms", wrong}})["ok"].get<bool>()) << wrong;
  }
  EXPECT_EQ(daemon_.reset_window, std::chrono::seconds(5));
}

TEST_F(VerbsTest, WrongArgumentsAreRefused) {
  const Json requests = Json::array({
      {{"verb", "no-such-verb"}},
      {{"verb", 7}},
      {{"verb", "apply"}},
      {{"verb", "apply"}, {"files", "text"}},
      {{"verb", "apply"}, {"files", {1, 2}}},
      {{"verb", "apply"}, {"files", {{{"name", "x"}}}}},
      {{"verb", "get"}, {"kind", ""}},
      {{"verb", "get"}, {"kind", "nosuchkind"}},
      {{"verb", "get"}, {"kind", "rr"}, {"names", "r"}},
      {{"verb", "get"}, {"kind", "rr"}, {"all_namespaces", "yes"}},
      {{"verb", "delete"}, {"kind", "rr"}},
      {{"verb", "delete"}, {"kind", "rr"}, {"names", {nullptr}}},
      {{"verb", "endpoints"}, {"service", "nosuchservice"}},
      {{"verb", "pod-add"}},
      {{"verb", "pod-add"}, {"name", "p"}, {"ips", {"10.0.0"}}, {"ifname", "v0"}},
      {{"verb", "pod-add"}, {"name", "p"}, {"ips", {"10.0.0.1"}}, {"ifname", "v0"}, {"labels", 1}},
      {{"verb", "pod-remove"}, {"name", "nobody"}},
  });
  for (const Json& request : requests) {
    const Json answer = ask(request);
    EXPECT_FALSE(answer["ok"].get<bool>()) << request.dump();
    EXPECT_FALSE(answer["error"].get<std::string>().empty()) << request.dump();
  }
}

TEST_F(VerbsTest, BytesThatAreNoRequestAreAnswered) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string("\xff"), std::string("{\"verb\":\"\xff\xfe\"}"), std::string(1'000'000, '['),
        std::string("{\"verb\":\"get\",\"kind\":\"\\u0000\"}")}) {
    const Json answer = Json::parse(verbs_.handle(text, {0, 1, true}));
    EXPECT_FALSE(answer["ok"].get<bool>());
  }
}

// Valid requests with some bytes changed: refused or done, never worse.
TEST_F(VerbsTest, ChangedRequestsNeverCrash) {
  const std::vector<std::string> seeds = {
      apply_request(kRule).dump(),
      Json({{"verb", "get"}, {"kind", "rr,vs"}, {"names", {"r"}}}).dump(),
      Json({{"verb", "delete"}, {"kind", "rr"}, {"names", {"r"}}}).dump(),
      Json({{"verb", "pod-add"},
            {"name", "p"},
            {"ips", {"10.0.0.1"}},
            {"ifname", "v0"},
            {"labels", {{"app", "x"}}}})
          .dump(),
  };
  Rng rng(7);
  for (int round = 0; round < 4000; ++round) {
    std::string text = seeds[rng.below(static_cast<uint32_t>(seeds.size()))];
    for (uint32_t changes = 1 + rng.below(4); changes > 0; --changes) {
      const uint32_t at = rng.below(static_cast<uint32_t>(text.size()));
      if (rng.chance(1, 3)) {
        text.erase(at, 1 + rng.below(8));
      } else {
        text[at] = static_cast<char>(rng.below(256));
      }
      if (text.empty()) text = "x";
    }
    const Json answer = Json::parse(verbs_.handle(text, {0, 1, true}));
    ASSERT_TRUE(answer["ok"].is_boolean()) << text;
  }
}

}  // namespace
}  // namespace np::control
