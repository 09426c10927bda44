// SPDX-License-Identifier: Apache-2.0
#include "metrics/series_name.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using Label = SeriesLabel;

std::string name_of(const Told& told) {
  std::string name = "what was there before";
  write_series_name(told.report, told.texts, name);
  return name;
}

TEST(SeriesName, ReadsBackWhatWasWritten) {
  const std::string text = name_of(answered_request());
  const SeriesName name = read_series_name(text);
  EXPECT_EQ(name[Label::kSourceWorkload], "productpage");
  EXPECT_EQ(name[Label::kSourceNamespace], "default");
  EXPECT_EQ(name[Label::kSourceApp], "productpage");
  EXPECT_EQ(name[Label::kSourceVersion], "v1");
  EXPECT_EQ(name[Label::kSourceService], "productpage.default.svc.cluster.local");
  EXPECT_EQ(name[Label::kHost], "reviews.default.svc.cluster.local");
  EXPECT_EQ(name[Label::kCluster], "outbound|9080|v2|reviews.default.svc.cluster.local");
  EXPECT_EQ(name[Label::kLegacyCluster], "out.reviews.default.svc.cluster.local|http|version=v2");
  EXPECT_EQ(name[Label::kWorkload], "reviews");
  EXPECT_EQ(name[Label::kApp], "reviews");
  EXPECT_EQ(name[Label::kVersion], "v2");
  EXPECT_EQ(name[Label::kRoute], "reviews-v2");
  EXPECT_EQ(name[Label::kObject], "VirtualService default/reviews");
  EXPECT_EQ(name[Label::kStatus], "200");
  EXPECT_EQ(name[Label::kFlags], "");
  EXPECT_EQ(name[Label::kProtocol], "http");
  EXPECT_EQ(name[Label::kLocal], "1");
}

TEST(SeriesName, AnAbortedRequestIsOfTheSubsetItWasMeantFor) {
  Told told = answered_request();
  told.report.sent = {};
  told.report.delay = std::chrono::seconds(7);
  told.report.status = told.report.fault_status = 555;
  told.texts.flags = "FI";
  told.texts.endpoint_pod = told.texts.endpoint_app = told.texts.endpoint_version = {};
  const std::string text = name_of(told);
  const SeriesName name = read_series_name(text);
  EXPECT_EQ(name[Label::kFlags], "DI,FI");
  EXPECT_EQ(name[Label::kStatus], "555");
  EXPECT_EQ(name[Label::kVersion], "v2");
  EXPECT_EQ(name[Label::kWorkload], "reviews");
  EXPECT_EQ(name[Label::kLocal], "");
}

TEST(SeriesName, StatusesThatNobodyKnowsShareOneName) {
  Told told = answered_request();
  for (const auto& [status, name] : std::map<uint16_t, std::string>{
           {299, "200"}, {404, "404"}, {499, "499"}, {555, "500"}, {999, "900"}, {0, "0"}}) {
    told.report.status = status;
    EXPECT_EQ(read_series_name(name_of(told))[Label::kStatus], name) << status;
  }
}

TEST(SeriesName, AGatewayIsTheSource) {
  const std::string text = name_of(refused_at_gateway());
  const SeriesName name = read_series_name(text);
  EXPECT_EQ(name[Label::kSourceWorkload], "ingress");
  EXPECT_EQ(name[Label::kSourceNamespace], "istio-system");
  EXPECT_EQ(name[Label::kWorkload], "unknown");
  EXPECT_EQ(name[Label::kStatus], "404");
}

TEST(SeriesName, NothingIsKnownOfTheCaller) {
  const std::string text = name_of(Told());
  EXPECT_EQ(read_series_name(text)[Label::kSourceWorkload], "unknown");
  EXPECT_EQ(read_series_name(text)[Label::kProtocol], "http");
}

TEST(SeriesName, ALabelCannotBeTwo) {
  Told told = answered_request();
  told.texts.source_workload =
      "a\x1f"
      "b";
  const std::string text = name_of(told);
  EXPECT_EQ(read_series_name(text)[Label::kSourceWorkload], "a?b");
  EXPECT_EQ(read_series_name(text)[Label::kSourceNamespace], "default");
}

TEST(SeriesName, OverflowIsASingleLabel) {
  const SeriesName name = read_series_name(kOverflow);
  EXPECT_EQ(name.labels[0], kOverflow);
  for (size_t i = 1; i < kSeriesLabels; ++i) EXPECT_EQ(name.labels[i], "");
}

TEST(SeriesName, PartsOfNames) {
  EXPECT_EQ(name_part("istio-system/ingress"), "ingress");
  EXPECT_EQ(name_part("ingress"), "ingress");
  EXPECT_EQ(namespace_part("istio-system/ingress"), "istio-system");
  EXPECT_EQ(namespace_part("ingress"), "");
  EXPECT_EQ(first_label("ratings.default.svc.cluster.local"), "ratings");
  EXPECT_EQ(namespace_of("ratings.default.svc.cluster.local"), "default");
  EXPECT_EQ(first_label("api.example.com"), "api.example.com");
  EXPECT_EQ(namespace_of("api.example.com"), "");
  EXPECT_EQ(namespace_of("ratings.svc.cluster.local"), "");
}

}  // namespace
}  // namespace np::metrics
