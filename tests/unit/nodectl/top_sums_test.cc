// SPDX-License-Identifier: Apache-2.0
// The arithmetic of `nodectl top`.
#include "top_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

Json request(const std::string& version, uint64_t status, const std::string& flags,
             uint64_t count) {
  return {{"host", "web"},      {"version", version}, {"status", status}, {"flags", flags},
          {"protocol", "http"}, {"requests", count},  {"delays", count},  {"aborts", count},
          {"retries", count},   {"buckets", {count}}};
}

RequestSums growth(const std::vector<Json>& before, const std::vector<Json>& after) {
  const auto sums = request_sums({{"requests", before}}, {{"requests", after}},
                                 [](const Json&) { return PairOfNames("all", ""); });
  return sums.empty() ? RequestSums{} : sums.begin()->second;
}

TEST(TopSums, OnlyWhatHasGrown) {
  const RequestSums sums =
      growth({request("v1", 200, "", 10)}, {request("v1", 200, "", 15), request("v2", 200, "", 3)});
  EXPECT_EQ(sums.requests, 8);
  EXPECT_EQ(sums.delays, 8);
  EXPECT_EQ(sums.aborts, 8);
  EXPECT_EQ(sums.retries, 8);
  EXPECT_EQ(sums.buckets, std::vector<uint64_t>{8});
}

TEST(TopSums, WhatGoesBackCountsNothing) {
  const RequestSums sums = growth({request("v1", 200, "", 10), request("v2", 200, "", 1)},
                                  {request("v1", 200, "", 4), request("v2", 200, "", 2)});
  EXPECT_EQ(sums.requests, 1);
  EXPECT_EQ(sums.buckets, std::vector<uint64_t>{1});
}

// A second row of the same name must not stand for the first one's past.
TEST(TopSums, RowsWithTheSameNamesAreOne) {
  const RequestSums sums = growth({request("v1", 200, "", 1000), request("v1", 200, "", 10)},
                                  {request("v1", 200, "", 1001), request("v1", 200, "", 10)});
  EXPECT_EQ(sums.requests, 1);
}

TEST(TopSums, NamesThatLookTheSameAreNot) {
  const RequestSums sums = growth({request("\x01", 200, "", 1000), request("\x02", 200, "", 10)},
                                  {request("\x01", 200, "", 1001), request("\x02", 200, "", 10)});
  EXPECT_EQ(sums.requests, 1);
}

TEST(TopSums, StatusesAndLimits) {
  const RequestSums sums = growth(
      {}, {request("", 200, "", 1), request("", 404, "", 2), request("", 429, "RL", 4),
           request("", 503, "DI,UO", 8), request("", 503, "UOX", 16), request("", 0, "DC", 32)});
  EXPECT_EQ(sums.requests, 63);
  EXPECT_EQ(sums.client_errors, 6);
  EXPECT_EQ(sums.failures, 56) << "5xx, and without a whole answer";
  EXPECT_EQ(sums.refused, 12) << "whole flags alone";
}

TEST(TopSums, ConnectionsOfTcpAreNoRequests) {
  Json tcp = request("v1", 0, "", 5);
  tcp["protocol"] = "tcp";
  EXPECT_EQ(growth({}, {tcp}).requests, 0);
}

TEST(TopSums, EjectedEndpointsByVersion) {
  const auto endpoint = [](const char* address, const char* version, const char* state) {
    return Json{{"service", "web.ns.svc.cluster.local:80"},
                {"address", address},
                {"version", version},
                {"state", state}};
  };
  const auto ejected = ejected_endpoints(
      {{"endpoints",
        {endpoint("10.0.0.1:80", "v1", "ejected"), endpoint("10.0.0.2:80", "v1", "ejected"),
         endpoint("10.0.0.2:80", "v1", "ejected"), endpoint("10.0.0.3:80", "v2", "in service")}}});
  ASSERT_EQ(ejected.size(), 1U);
  EXPECT_EQ(ejected.at({"web.ns.svc.cluster.local", "v1"}), 2);
}

TEST(TopSums, Quantiles) {
  const std::vector<double> bounds = {10, 100};
  EXPECT_LT(quantile_ms(bounds, {0, 0, 0}, 0.5), 0);
  EXPECT_DOUBLE_EQ(quantile_ms(bounds, {10, 0, 0}, 0.5), 5);
  EXPECT_DOUBLE_EQ(quantile_ms(bounds, {5, 5, 0}, 1.0), 100);
  EXPECT_TRUE(std::isinf(quantile_ms(bounds, {0, 0, 1}, 0.99)));
}

}  // namespace
}  // namespace np::nodectl
