// SPDX-License-Identifier: Apache-2.0
// How a trace is drawn, whatever its spans say.
#include "waterfall.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

Json span(const char* id, const char* parent, const char* service, int64_t start,
          int64_t duration) {
  return {{"id", id},       {"parent", parent},        {"service", service},
          {"name", "rule"}, {"kind", "SERVER"},        {"start_unix_us", start},
          {"error", false}, {"duration_us", duration}, {"tags", {{"http.status_code", "200"}}}};
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

TEST(Waterfall, DrawsATreeInOrderOfTime) {
  Json late = span("d", "a", "details", 600, 100);
  Json failed = span("c", "b", "ratings", 200, 300);
  failed["error"] = true;
  failed["tags"]["fault.delay_ms"] = "7000";
  failed["tags"]["response_flags"] = "DI";
  failed["tags"]["nodeproxy.object"] = "RouteRule default/slow";
  const Json trace = {
      {"id", "abc"},
      {"spans",
       {span("a", "", "page", 0, 1000), span("b", "a", "reviews", 100, 500), failed, late}}};
  const auto drawn = lines(waterfall_text(trace, false));
  ASSERT_EQ(drawn.size(), 7U);
  EXPECT_EQ(drawn[0], "Trace abc: 1.0ms, 4 spans, 1 in error (x)");
  EXPECT_TRUE(drawn[2].starts_with("page "));
  EXPECT_TRUE(drawn[3].starts_with("  reviews "));
  EXPECT_TRUE(drawn[4].starts_with("    ratings "));
  EXPECT_NE(drawn[4].find("|     xxxxxxxx"), std::string::npos) << drawn[4];
  EXPECT_EQ(drawn[5], "      flags DI, delay of 7000 ms injected, by RouteRule default/slow");
  EXPECT_TRUE(drawn[6].starts_with("  details "));
  for (const std::string& line : drawn) EXPECT_LE(line.size(), 80U) << line;
}

TEST(Waterfall, ShowsEverySpanOnceWhateverTheParentsSay) {
  // A circle, itself as parent, a parent that is not kept, an id that comes twice.
  const Json trace = {
      {"id", "abc"},
      {"spans",
       {span("a", "b", "one", 0, 10), span("b", "a", "two", 1, 10), span("c", "c", "three", 2, 10),
        span("d", "gone", "four", 3, 10), span("d", "", "five", 4, 10)}}};
  const std::string drawn = waterfall_text(trace, false);
  for (const char* service : {"one", "two", "three", "four", "five"}) {
    EXPECT_NE(drawn.find(service), std::string::npos) << drawn;
  }
}

TEST(Waterfall, HostileTextStaysText) {
  Json evil = span("a", "", "\x1b[31mred\x07", 0, 10);
  evil["tags"]["user_agent"] = "a\nforged line";
  const std::string drawn = waterfall_text({{"id", "\x1b]0;x"}, {"spans", {evil}}}, true);
  EXPECT_EQ(drawn.find('\x1b'), std::string::npos);
  EXPECT_EQ(drawn.find("\nforged"), std::string::npos);
}

TEST(Waterfall, SurvivesWhatIsMissing) {
  EXPECT_EQ(waterfall_text(Json::object(), false), "no spans\n");
  EXPECT_NE(waterfall_text({{"spans", {Json::object()}}}, true).find("1 span"), std::string::npos);
}

TEST(Output, Durations) {
  EXPECT_EQ(duration_text(0), "0us");
  EXPECT_EQ(duration_text(999), "999us");
  EXPECT_EQ(duration_text(1500), "1.5ms");
  EXPECT_EQ(duration_text(6'010'000), "6.01s");
}

}  // namespace
}  // namespace np::nodectl
