// SPDX-License-Identifier: Apache-2.0
// Mixer kinds and EgressRule: read in full even where they do not act yet.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

const std::string kApi = "config.istio.io/v1alpha2";

TEST(PolicyLoadMixer, UnknownAndWrongFieldsAreErrors) {
  Loaded got = load(object_of(kApi, "memquota",
                              "quotas:\n- name: requestcount\n  maxAmmount: 5\n"
                              "  validDuration: 1\n  overrides:\n  - dimensions: {a: 1}\n"));
  EXPECT_TRUE(got.says("f.yaml:6: memquota default/x: spec.quotas[0].name: ", "name.quota"));
  EXPECT_TRUE(got.says("f.yaml:7: memquota default/x: spec.quotas[0].maxAmmount: ", "maxAmount?"));
  EXPECT_TRUE(got.says("f.yaml:8: memquota default/x: ", "needs a unit"));
  EXPECT_TRUE(got.says("f.yaml:10: memquota default/x: ", "write it in quotes")) << got.text();
}

TEST(PolicyLoadMixer, EachKindIsChecked) {
  EXPECT_TRUE(load(object_of(kApi, "rule", "actions:\n- instances: [a]\n"))
                  .says("f.yaml:6: rule default/x: spec.actions[0].handler: ", "missing"));
  EXPECT_TRUE(
      load(object_of(kApi, "QuotaSpec", "rules:\n- quotas:\n  - charge: 0\n"))
          .says("f.yaml:7: QuotaSpec default/x: spec.rules[0].quotas[0].charge: ", "range"));
  EXPECT_TRUE(load(object_of(kApi, "QuotaSpecBinding", "services: [{}]\nquotaSpecs: []\n"))
                  .says("f.yaml:5: ", "one of name and service is required"));
  EXPECT_TRUE(load(object_of(kApi, "denier", "status: {code: x}\n")).says("f.yaml:5: ", "found x"));
  EXPECT_TRUE(load(object_of(kApi, "checknothing", "a: b\n")).says("f.yaml:5: ", "unknown field"));
  EXPECT_TRUE(load(object_of(kApi, "quota", "dimensions: {a: ''}\n")).says("f.yaml:5: ", "empty"));
  EXPECT_TRUE(
      load(object_of(kApi, "redisquota", "quotas: [{name: a.quota, rateLimitAlgorithm: LEAKY}]\n"))
          .says("f.yaml:5: ", "FIXED_WINDOW, ROLLING_WINDOW"));
}

TEST(PolicyLoadMixer, ASpecOfNothingIsLegalForCheckNothing) {
  Loaded got = load("apiVersion: " + kApi + "\nkind: checknothing\nmetadata: {name: x}\nspec:\n");
  EXPECT_FALSE(has_errors(got.diagnostics)) << got.text();
  got = load("apiVersion: " + kApi + "\nkind: checknothing\nmetadata: {name: x}\n");
  EXPECT_FALSE(has_errors(got.diagnostics)) << got.text();
}

TEST(PolicyLoadEgressRule, PlainProtocolsBecomeServices) {
  Loaded got =
      load(object_of(kApi, "EgressRule",
                     "destination: {service: \"*.example.com\"}\n"
                     "ports: [{port: 80, protocol: http}, {port: 3306, protocol: TCP}]\n"));
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  EXPECT_EQ(got.model.services[0].host, "*.example.com");
  EXPECT_TRUE(got.model.services[0].external);
  EXPECT_EQ(got.model.services[0].resolution, Service::Resolution::kNone);
  EXPECT_EQ(got.model.services[0].ports.at(1).protocol, Protocol::kTcp);
  got = load(object_of(kApi, "EgressRule",
                       "destination: {service: www.example.com}\nports: [{port: 80, protocol: "
                       "HTTP}]\n"));
  EXPECT_EQ(got.model.services.at(0).resolution, Service::Resolution::kDns);
  got =
      load(object_of(kApi, "EgressRule",
                     "destination: {service: 192.0.2.0/24}\nports: [{port: 80, protocol: tcp}]\n"));
  EXPECT_EQ(got.model.services.at(0).prefixes.size(), 1U) << got.text();
}

TEST(PolicyLoadEgressRule, Errors) {
  Loaded got = load(object_of(kApi, "EgressRule",
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
