// SPDX-License-Identifier: Apache-2.0
// Mixer kinds and EgressRule.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

const std::string kMixerApi = "config.istio.io/v1alpha2";

TEST(PolicyLoadMixer, UnknownAndWrongFieldsAreErrors) {
  Loaded got = load(object_of(kMixerApi, "memquota",
                              "quotas:\n- name: requestcount\n  maxAmmount: 5\n"
                              "  validDuration: 1\n  overrides:\n  - dimensions: {a: 1}\n"));
  EXPECT_TRUE(got.says("f.yaml:6: memquota default/x: spec.quotas[0].name: ", "name.quota"));
  EXPECT_TRUE(got.says("f.yaml:7: memquota default/x: spec.quotas[0].maxAmmount: ", "maxAmount?"));
  EXPECT_TRUE(got.says("f.yaml:8: memquota default/x: ", "needs a unit"));
  EXPECT_TRUE(got.says("f.yaml:10: memquota default/x: ", "write it in quotes")) << got.text();
}

TEST(PolicyLoadMixer, EachKindIsChecked) {
  EXPECT_TRUE(load(object_of(kMixerApi, "rule", "actions:\n- instances: [a]\n"))
                  .says("f.yaml:6: rule default/x: spec.actions[0].handler: ", "missing"));
  EXPECT_TRUE(
      load(object_of(kMixerApi, "QuotaSpec", "rules:\n- quotas:\n  - charge: 0\n"))
          .says("f.yaml:7: QuotaSpec default/x: spec.rules[0].quotas[0].charge: ", "range"));
  EXPECT_TRUE(load(object_of(kMixerApi, "QuotaSpecBinding", "services: [{}]\nquotaSpecs: []\n"))
                  .says("f.yaml:5: ", "one of name and service is required"));
  EXPECT_TRUE(
      load(object_of(kMixerApi, "denier", "status: {code: x}\n")).says("f.yaml:5: ", "found x"));
  EXPECT_TRUE(
      load(object_of(kMixerApi, "checknothing", "a: b\n")).says("f.yaml:5: ", "unknown field"));
  EXPECT_TRUE(
      load(object_of(kMixerApi, "quota", "dimensions: {a: ''}\n")).says("f.yaml:5: ", "empty"));
  EXPECT_TRUE(load(object_of(kMixerApi, "redisquota",
                             "quotas: [{name: a.quota, rateLimitAlgorithm: LEAKY}]\n"))
                  .says("f.yaml:5: ", "FIXED_WINDOW, ROLLING_WINDOW"));
}

TEST(PolicyLoadMixer, ASpecOfNothingIsLegalForCheckNothing) {
  Loaded got =
      load("apiVersion: " + kMixerApi + "\nkind: checknothing\nmetadata: {name: x}\nspec:\n");
  EXPECT_FALSE(has_errors(got.diagnostics)) << got.text();
  got = load("apiVersion: " + kMixerApi + "\nkind: checknothing\nmetadata: {name: x}\n");
  EXPECT_FALSE(has_errors(got.diagnostics)) << got.text();
}

TEST(PolicyLoadMixer, ExpressionsAreReadAtOnce) {
  Loaded got = load(object_of(kMixerApi, "quota",
                              "dimensions:\n  a: source.labels[\"app\"] | \"x\"\n"
                              "  b: sourc.service\n  c: source.labels\n  d: source.ip ==\n"));
  EXPECT_TRUE(
      got.says("f.yaml:7: quota default/x: spec.dimensions.b: unknown attribute, at "
               "character 1: found sourc.service; allowed: the nearest are source.service",
               ""))
      << got.text();
  EXPECT_TRUE(
      got.says("f.yaml:8: quota default/x: spec.dimensions.c: a dimension is one value: "
               "found a map of strings",
               "source.labels[\"app\"]"));
  EXPECT_TRUE(
      got.says("f.yaml:9: quota default/x: spec.dimensions.d: a value is missing here, at "
               "character 13: found the end",
               ""));
  got = load(object_of(kMixerApi, "rule",
                       "match: source.name\nactions: [{handler: a.denier, instances: "
                       "[b.checknothing]}]\n"));
  EXPECT_TRUE(
      got.says("f.yaml:5: rule default/x: spec.match: a condition is needed here: found a "
               "value of type string",
               "== \"reviews\""));
  got = load(object_of(kMixerApi, "rule", "match: response.code == 200\nactions: []\n"));
  EXPECT_FALSE(has_errors(got.diagnostics));
  EXPECT_TRUE(got.says("f.yaml:5: rule default/x: spec.match: ", "response.code is not known"));
  got = load(object_of(kMixerApi, "rule", "match: ' '\nactions: []\n"));
  EXPECT_EQ(got.text(), "");
  EXPECT_FALSE(got.model.mixer.rules.at(0).match);
}

TEST(PolicyLoadMixer, WindowsOfMemquota) {
  const Loaded got = load(object_of(
      kMixerApi, "memquota",
      "quotas:\n- {name: a.quota, maxAmount: 5, validDuration: 1.5s, overrides: [{maxAmount: 2}]}\n"
      "- {name: b.quota, maxAmount: 5, validDuration: 0s}\n- {name: c.quota, validDuration: 2s}\n"
      "min_deduplication_duration: 250ms\n"));
  ASSERT_EQ(got.model.mixer.quota_handlers.size(), 1U) << got.text();
  const QuotaHandler& handler = got.model.mixer.quota_handlers[0];
  EXPECT_EQ(handler.deduplication, std::chrono::milliseconds(250));
  EXPECT_EQ(handler.limits[0].window.length, std::chrono::seconds(2));  // whole seconds, up
  EXPECT_EQ(handler.limits[0].window.tick, std::chrono::milliseconds(100));
  EXPECT_EQ(handler.limits[0].overrides[0].window.kind, QuotaWindow::Kind::kNever);
  EXPECT_TRUE(
      got.says("f.yaml:6: memquota default/x: spec.quotas[0].overrides[0]: ", "never comes back"));
  EXPECT_EQ(handler.limits[1].window.kind, QuotaWindow::Kind::kNever);
  EXPECT_TRUE(
      got.says("f.yaml:8: memquota default/x: spec.quotas[2]: ", "nothing is ever granted"));
}

TEST(PolicyLoadMixer, WindowsOfRedisquota) {
  Loaded got = load(object_of(
      kMixerApi, "redisquota",
      "redisServerUrl: redis:6379\nquotas:\n- {name: a.quota, maxAmount: 5, validDuration: 1.5s, "
      "overrides: [{dimensions: {a: b}, maxAmount: 2}]}\n- {name: b.quota, maxAmount: 5, "
      "validDuration: 10s, rateLimitAlgorithm: ROLLING_WINDOW, bucketDuration: 500ms}\n"));
  ASSERT_EQ(got.model.mixer.quota_handlers.size(), 1U) << got.text();
  const QuotaHandler& handler = got.model.mixer.quota_handlers[0];
  EXPECT_EQ(handler.limits[0].window.kind, QuotaWindow::Kind::kFixed);
  EXPECT_EQ(handler.limits[0].window.length, std::chrono::milliseconds(1500));
  EXPECT_EQ(handler.limits[0].overrides[0].window.length, std::chrono::milliseconds(1500));
  EXPECT_EQ(handler.limits[1].window.kind, QuotaWindow::Kind::kRolling);
  EXPECT_EQ(handler.limits[1].window.tick, std::chrono::milliseconds(500));
  EXPECT_TRUE(
      got.says("f.yaml:5: redisquota default/x: spec.redisServerUrl: ", "no Redis is asked"));
  got = load(object_of(kMixerApi, "redisquota",
                       "quotas:\n- {name: b.quota, maxAmount: 5, validDuration: 1s, "
                       "rateLimitAlgorithm: ROLLING_WINDOW, bucketDuration: 1s}\n"
                       "- {name: c.quota, maxAmount: 5, validDuration: 1s, rateLimitAlgorithm: "
                       "ROLLING_WINDOW}\n"));
  EXPECT_TRUE(got.says("f.yaml:6: redisquota default/x: spec.quotas[0].bucketDuration: ",
                       "shorter than validDuration: found 1s"))
      << got.text();
  EXPECT_TRUE(got.says("f.yaml:7: redisquota default/x: spec.quotas[1]: ", "found none"));
}

TEST(PolicyLoadMixer, ClausesOfQuotaSpec) {
  Loaded got = load(object_of(kMixerApi, "QuotaSpec",
                              "rules:\n- match:\n  - clause:\n      request.path: {prefix: /a}\n"
                              "      request.pth: {exact: a}\n      request.size: {exact: '1'}\n"
                              "      api.operation: {exact: get}\n      source.name: {regex: "
                              "'('}\n  quotas: [{quota: a}]\n"));
  EXPECT_TRUE(got.says("f.yaml:9: ",
                       "unknown attribute: found request.pth; allowed: the nearest "
                       "are request.path"))
      << got.text();
  EXPECT_TRUE(got.says("f.yaml:10: ", "an attribute that is a string: found integer"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "it never matches"));
  EXPECT_TRUE(got.says("f.yaml:12: ", "not a legal regular expression"));
}

TEST(PolicyLoadEgressRule, PlainProtocolsBecomeServices) {
  Loaded got =
      load(object_of(kMixerApi, "EgressRule",
                     "destination: {service: \"*.example.com\"}\n"
                     "ports: [{port: 80, protocol: http}, {port: 3306, protocol: TCP}]\n"));
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  EXPECT_EQ(got.model.services[0].host, "*.example.com");
  EXPECT_TRUE(got.model.services[0].external);
  EXPECT_EQ(got.model.services[0].resolution, Service::Resolution::kNone);
  EXPECT_EQ(got.model.services[0].ports.at(1).protocol, Protocol::kTcp);
  got = load(object_of(kMixerApi, "EgressRule",
                       "destination: {service: www.example.com}\nports: [{port: 80, protocol: "
                       "HTTP}]\n"));
  EXPECT_EQ(got.model.services.at(0).resolution, Service::Resolution::kDns);
  got =
      load(object_of(kMixerApi, "EgressRule",
                     "destination: {service: 192.0.2.0/24}\nports: [{port: 80, protocol: tcp}]\n"));
  EXPECT_EQ(got.model.services.at(0).prefixes.size(), 1U) << got.text();
}

TEST(PolicyLoadEgressRule, Errors) {
  Loaded got = load(object_of(kMixerApi, "EgressRule",
                              "destination:\n  service: 192.0.2.0/24\n  name: a\nports:\n"
                              "- {port: 80, protocol: HTTP}\n- {port: 80, protocol: GOPHER}\n"
                              "useEgressProxy: true\n"));
  EXPECT_TRUE(got.says("f.yaml:7: ", "with `service` only"));
  EXPECT_TRUE(got.says("f.yaml:9: ", "CIDR block goes only with TCP"));
  EXPECT_TRUE(got.says("f.yaml:10: ", "found GOPHER"));
  EXPECT_TRUE(got.says("f.yaml:11: ", "must be false")) << got.text();
}

}  // namespace
}  // namespace np::policy
