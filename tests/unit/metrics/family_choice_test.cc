// SPDX-License-Identifier: Apache-2.0
// Which names /metrics tells: each set alone, and nothing twice.
#include "metrics/family_choice.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "metrics/exposition.h"
#include "metrics/series_store.h"
#include "reports.h"

namespace np::metrics {
namespace {

class FamilyChoiceTest : public ::testing::Test {
 protected:
  FamilyChoiceTest() {
    const Told told = answered_request();
    std::string name;
    write_series_name(told.report, told.texts, name);
    add(store.request(name).requests, 1);
    ClusterState cluster;
    cluster.name = told.texts.cluster;
    cluster.legacy_name = "out.reviews.default.svc.cluster.local|http";
    node.clusters = {cluster};
    PodState pod;
    pod.name = "default/client";
    node.pods = {pod};
  }
  // Names of families.
  std::set<std::string> told(const std::string& sets) const {
    const FamilyChoice choice = FamilyChoice::parse(sets).value();
    std::istringstream text(exposition(node, *telemetry, choice));
    std::set<std::string> names;
    for (std::string line, hash, type, name; std::getline(text, line);) {
      std::istringstream words(line);
      if (words >> hash >> type >> name && type == "TYPE") names.insert(name);
    }
    return names;
  }

  SeriesMemory memory;
  SeriesStore store{*memory, *memory};
  std::unique_ptr<Telemetry> telemetry = Telemetry::create({}, {&*memory}).value();
  NodeTotals node;
};

TEST_F(FamilyChoiceTest, EachSetTellsItsOwnNames) {
  const std::pair<const char*, const char*> members[] = {
      {"istio", "istio_requests_total"},
      {"istio-legacy", "istio_request_count"},
      {"envoy", "envoy_cluster_membership_healthy"},
      {"envoy-statsd",
       "envoy_cluster_out_reviews_default_svc_cluster_local_http_membership_healthy"},
      {"nodeproxy", "nodeproxy_pod_requests_total"}};
  std::set<std::string> all;
  size_t sum = 0;
  for (const auto& [set, member] : members) {
    const std::set<std::string> names = told(set);
    EXPECT_TRUE(names.contains(member)) << set;
    all.insert(names.begin(), names.end());
    sum += names.size();
  }
  EXPECT_EQ(all.size(), sum) << "no name is in two sets";
  EXPECT_EQ(all, told(kAllFamilies));
}

TEST_F(FamilyChoiceTest, SeveralSetsInAnyOrder) {
  const std::set<std::string> names = told("nodeproxy,istio");
  EXPECT_TRUE(names.contains("istio_requests_total"));
  EXPECT_TRUE(names.contains("nodeproxy_build_info"));
  EXPECT_FALSE(names.contains("istio_request_count"));
}

}  // namespace
}  // namespace np::metrics
