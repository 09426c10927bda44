// SPDX-License-Identifier: Apache-2.0
// The arithmetic of `nodectl top`, and that it fits a terminal of 80 columns.
#include "top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace np::nodectl {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

Json request(const std::string& host, const std::string& version, uint64_t status, uint64_t count,
             std::vector<uint64_t> buckets = {0, 0, 0}) {
  return {{"source", "page"},   {"host", host},       {"version", version}, {"route", "main"},
          {"object", "R ns/r"}, {"status", status},   {"flags", ""},        {"protocol", "http"},
          {"requests", count},  {"buckets", buckets}, {"retries", count},   {"delays", 0U},
          {"aborts", 0U}};
}

Json answer(const std::vector<Json>& requests) {
  return {{"instance", "node"},
          {"shards", 2U},
          {"duration_bounds_ms", {10, 100}},
          {"requests", requests},
          {"clusters", Json::array()},
          {"pods", Json::array()}};
}

TopTable table_of(const std::string& kind, const Json& before, const Json& after,
                  const std::string& sort = "", const std::string& ns = "") {
  TopOptions options;
  options.kind = kind;
  options.sort = sort;
  options.ns = ns;
  return top_table(options, before, after, 2.0);
}

constexpr const char* kReviews = "reviews.shop.svc.cluster.local";

TEST(TopView, RatesAreDifferences) {
  const Json before = answer({request(kReviews, "v1", 200, 100, {100, 0, 0})});
  const Json after = answer({request(kReviews, "v1", 200, 190, {100, 90, 0}),
                             request(kReviews, "v1", 503, 10, {10, 0, 0})});
  const TopTable table = table_of("services", before, after);
  ASSERT_EQ(table.rows.size(), 1U);
  const TopRow& row = table.rows[0];
  EXPECT_EQ(row.cells[0], "reviews.shop");
  EXPECT_DOUBLE_EQ(row.values[2], 50) << "100 more in 2 s";
  EXPECT_DOUBLE_EQ(row.values[3], 90) << "percent";
  EXPECT_DOUBLE_EQ(row.values[4], 50) << "10 below 10 ms, 90 up to 100 ms: the middle is the 40th";
  EXPECT_DOUBLE_EQ(row.values[6], 50) << "retries";
}

TEST(TopView, CountsThatGoBackAreNoRates) {
  const Json before = answer({request(kReviews, "v1", 200, 100, {100, 0, 0})});
  const Json after = answer({request(kReviews, "v1", 200, 5, {5, 0, 0})});
  EXPECT_DOUBLE_EQ(table_of("services", before, after).rows.at(0).values[2], 0);
}

TEST(TopView, SortsByAColumnOrByName) {
  const Json before = answer({});
  const Json after = answer({request("a.ns.svc.cluster.local", "v1", 200, 2),
                             request("b.ns.svc.cluster.local", "v1", 200, 8),
                             request("c.ns.svc.cluster.local", "v1", 200, 4)});
  const auto order = [&](const std::string& sort) {
    std::string names;
    for (const TopRow& row : table_of("services", before, after, sort).rows)
      names += row.cells[0][0];
    return names;
  };
  EXPECT_EQ(order(""), "bca");
  EXPECT_EQ(order("service"), "abc");
  EXPECT_EQ(order("ejected"), "abc") << "equal ones by name";
}

TEST(TopView, OneNamespace) {
  const Json after = answer(
      {request(kReviews, "v1", 200, 2), request("reviews.other.svc.cluster.local", "v1", 200, 2)});
  const TopTable table = table_of("services", answer({}), after, "", "shop");
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0].cells[0], "reviews");
}

TEST(TopView, EveryLineFitsWhateverTheNames) {
  const std::string longest(300, 'x');
  Json after = answer({request(longest + ".ns.svc.cluster.local", longest, 200, 4'000'000'000U)});
  after["instance"] = longest;
  after["pods"] = {{{"pod", "ns/" + longest}, {"open", 123'456'789U}, {"cpu_us", 999'999'999U}}};
  after["connections"] = {{{"client", longest}, {"pod", longest}, {"service", longest}}};
  for (const char* kind : {"services", "routes", "pods", "connections"}) {
    std::istringstream lines(top_text(table_of(kind, answer({}), after), 10));
    size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 80U) << line;
    EXPECT_EQ(count, 3U) << kind;
  }
}

TEST(TopView, HostileNamesStayText) {
  const Json after = answer({request("evil\x1b[2J.ns.svc.cluster.local", "\x07", 200, 1)});
  EXPECT_THAT(top_text(table_of("services", answer({}), after), 10), Not(HasSubstr("\x1b")));
}

TEST(TopView, SaysWhatIsLeftOut) {
  const Json after = answer({request("a.ns.svc.cluster.local", "v1", 200, 2),
                             request("b.ns.svc.cluster.local", "v1", 200, 8)});
  const TopTable table = table_of("services", answer({}), after);
  EXPECT_THAT(top_text(table, 1), HasSubstr("... and 1 more (--limit)"));
  EXPECT_EQ(top_json(table, 1)["rows"].size(), 1U);
  EXPECT_EQ(top_json(table, 9)["rows"][0]["service"], "b.ns");
  EXPECT_EQ(top_json(table, 9)["rows"][0]["req/s"], 4.0);
}

Json connection(const std::string& client, uint64_t start_ns, uint64_t age_ms, uint64_t bytes) {
  return {{"client", client},  {"dialled", "10.96.0.1:80"},
          {"pod", "ns/page"},  {"service", "web.ns"},
          {"state", "EST"},    {"start_ns", start_ns},
          {"age_ms", age_ms},  {"tx_bytes", bytes},
          {"rx_bytes", bytes}, {"requests", 3U},
          {"status_4xx", 2U},  {"route", "RouteRule ns/r, r"}};
}

Json connections(const std::vector<Json>& list) {
  return {{"instance", "node"}, {"connections", list}};
}

TEST(TopView, Connections) {
  const Json before = connections({connection("10.0.0.1:4711", 5, 500, 1000)});
  const Json after = connections(
      {connection("10.0.0.1:4711", 5, 2500, 4000), connection("10.0.0.1:4712", 9, 1500, 500)});
  const TopTable table = table_of("connections", before, after);
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.title, "node: 2 captured connections, over 2.0 s");
  const Json rows = top_json(table, 9)["rows"];
  EXPECT_EQ(rows[0]["client"], "ns/page:4711");
  EXPECT_EQ(rows[0]["byte/s"], 3000);
  EXPECT_EQ(rows[0]["bytes"], 8000);
  EXPECT_EQ(rows[0]["4xx"], 2);
  EXPECT_EQ(rows[0]["dialled"], "10.96.0.1:80");
  EXPECT_EQ(rows[0]["route"], "RouteRule ns/r, r");
  EXPECT_EQ(rows[1]["byte/s"], 500) << "begun since";
}

TEST(TopView, APortUsedAgainIsAnotherConnection) {
  const Json before = connections({connection("10.0.0.1:4711", 5, 500, 100)});
  const Json after = connections({connection("10.0.0.1:4711", 9, 100, 400)});
  EXPECT_EQ(top_json(table_of("connections", before, after), 1)["rows"][0]["byte/s"], 400);
}

TEST(TopView, AnOldConnectionThatWasMissedHasNoRate) {
  const Json after = connections({connection("10.0.0.1:4711", 5, 60'000, 1'000'000)});
  const TopTable table = table_of("connections", connections({}), after);
  EXPECT_EQ(top_json(table, 1)["rows"][0]["byte/s"], 0);
}

TEST(TopView, ConnectionsOfOneNamespaceAreSomeOfAll) {
  const Json after = connections({connection("10.0.0.1:4711", 5, 500, 100)});
  EXPECT_EQ(table_of("connections", after, after, "", "other").title,
            "node: 0 of 1 captured connections, namespace other, over 2.0 s");
}

TEST(TopView, PodsAreToldApartByTheirId) {
  const auto pod = [](uint64_t id, uint64_t requests) {
    return Json{{"id", id}, {"pod", "ns/web"}, {"requests", requests}};
  };
  Json before = answer({}), after = answer({});
  before["pods"] = {pod(1, 1000), pod(2, 10)};
  after["pods"] = {pod(1, 1000), pod(2, 30)};
  const TopTable table = table_of("pods", before, after);
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(top_json(table, 9)["rows"][0]["req/s"], 10);
  EXPECT_EQ(top_json(table, 9)["rows"][1]["req/s"], 0);
}

TEST(TopView, EjectedEndpointsStandByTheirVersion) {
  Json after = answer({request(kReviews, "v1", 200, 2), request(kReviews, "v2", 200, 2)});
  after["endpoints"] = {{{"service", std::string(kReviews) + ":80"},
                         {"address", "10.0.0.1:80"},
                         {"version", "v2"},
                         {"state", "ejected"}}};
  const Json rows = top_json(table_of("services", answer({}), after, "version"), 9)["rows"];
  EXPECT_EQ(rows[0]["ejected"], 0);
  EXPECT_EQ(rows[1]["ejected"], 1);
}

TEST(TopView, ARuleOfSeveralHostsSaysWhich) {
  const Json after = answer({request("a.ns.svc.cluster.local", "v1", 200, 2),
                             request("b.ns.svc.cluster.local", "v1", 200, 8)});
  const TopTable table = table_of("routes", answer({}), after);
  EXPECT_THAT(top_text(table, 9), HasSubstr("\nb.ns: R ns/r, main "));
  EXPECT_EQ(top_json(table, 9)["rows"][0]["rule"], "R ns/r, main");
  EXPECT_EQ(top_json(table, 9)["rows"][0]["host"], "b.ns.svc.cluster.local");
}

TEST(TopView, TheDomainInTheMiddleIsNoDomain) {
  const Json after = answer({request("web.ns.svc.cluster.local.evil.example", "v1", 200, 2)});
  EXPECT_EQ(table_of("services", answer({}), after).rows.at(0).cells[0],
            "web.ns.svc.cluster.local.evil.example");
}

TEST(TopView, TheWorstShareComesFirstAndNoneLast) {
  const Json before = answer({request("idle.ns.svc.cluster.local", "v1", 200, 5)});
  const Json after = answer({request("good.ns.svc.cluster.local", "v1", 200, 5),
                             request("bad.ns.svc.cluster.local", "v1", 500, 5),
                             request("idle.ns.svc.cluster.local", "v1", 200, 5)});
  const Json rows = top_json(table_of("services", before, after, "ok%"), 9)["rows"];
  EXPECT_EQ(rows[0]["service"], "bad.ns");
  EXPECT_EQ(rows[1]["service"], "good.ns");
  EXPECT_EQ(rows[2]["ok%"], Json()) << "no requests, no share";
  EXPECT_EQ(rows[2]["p99"], Json());
}

TEST(TopView, EveryKindKnowsTheUsualSorts) {
  for (const char* kind : {"services", "routes", "pods", "connections"}) {
    for (const char* sort : {"name", "rate", "requests"})
      EXPECT_TRUE(is_top_sort(kind, sort)) << kind;
    EXPECT_FALSE(is_top_sort(kind, "nonsense"));
  }
  EXPECT_TRUE(is_top_sort("connections", "age"));
  EXPECT_TRUE(is_top_sort("pods", "bytes"));
  EXPECT_FALSE(is_top_sort("services", "age"));
}

TEST(TopView, SurvivesWhatIsMissing) {
  for (const char* kind : {"services", "routes", "pods", "connections"}) {
    EXPECT_TRUE(table_of(kind, Json(), Json()).rows.empty()) << kind;
    EXPECT_TRUE(
        table_of(kind, {{"requests", 5}}, {{"requests", "x"}, {"pods", {1, 2}}}).rows.size() <= 2);
  }
}

}  // namespace
}  // namespace np::nodectl
