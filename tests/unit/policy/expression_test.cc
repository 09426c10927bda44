// SPDX-License-Identifier: Apache-2.0
// The expression language of Mixer: what parses, what it means, and what is said about mistakes.
#include <gtest/gtest.h>

#include "policy/attribute_view.h"
#include "tests/unit/policy/allocation_count.h"

namespace np::policy {
namespace {

// A request of reviews-v3 to ratings, changed by the tests as they need.
class Request {
 public:
  Request() {
    pod.name = "reviews-v3";
    pod.ns = "istio-system";
    pod.labels = {{"app", "reviews"}, {"version", "v3"}};
    pod.service = "reviews.istio-system.svc.cluster.local";
    caller.pod = &pod;
    caller.ip = IpAddress::parse("10.1.0.3").value();
    destination.service = "ratings.istio-system.svc.cluster.local";
    destination.ns = "istio-system";
    destination.port = 9080;
    destination.labels = {{"app", "ratings"}};
    request.method = "GET";
    request.scheme = "http";
    request.authority = "ratings:9080";
    request.path = "/ratings/0";
  }

  AttributeView view() {
    request.fields = fields;
    AttributeView out;
    out.request = &request;
    out.caller = &caller;
    out.destination = &destination;
    out.request_id = "r-1";
    out.request_size = 12;
    return out;
  }
  // The value as text; "error" when it cannot be decided; what is wrong when it does not parse.
  std::string value(const std::string& text) {
    ExpressionProblem problem;
    const auto expression = parse_expression(text, problem);
    if (!expression) return problem.message;
    const AttributeView attributes = view();
    const auto got = evaluate(*expression, attributes, arena);
    if (!got) return "error";
    return std::string(text_of(*got, arena));
  }

  Pod pod;
  CallerView caller;
  DestinationAttributes destination;
  RequestView request;
  std::vector<Field> fields;
  Arena arena;
};

std::string problem_of(const std::string& text) {
  ExpressionProblem problem;
  if (parse_expression(text, problem)) return "none";
  return std::to_string(problem.position) + ": " + problem.message + ": " + problem.found + "; " +
         problem.allowed;
}

TEST(Expression, LiteralsAndEquality) {
  Request request;
  EXPECT_EQ(request.value(R"("a\"b\\c\x41\u00e9\n")"), "a\"b\\cA\u00e9\n");
  EXPECT_EQ(request.value("`raw\\n`"), "raw\\n");
  EXPECT_EQ(request.value("12"), "12");
  EXPECT_EQ(request.value("-3 == -3"), "true");
  EXPECT_EQ(request.value("20ms == 0.02s"), "true");
  EXPECT_EQ(request.value("1h30m == \"90m\""), "true");  // a text is a duration where one is needed
  EXPECT_EQ(request.value("true != false"), "true");
  EXPECT_EQ(request.value("(\"a\" == \"a\") == (1 == 2)"), "false");
  EXPECT_EQ(request.value("destination.port == 9080"), "true");
}

TEST(Expression, BindsAsInGo) {
  Request request;
  // | before ==, == before &&, && before ||.
  EXPECT_EQ(request.value("source.user | \"x\" == \"x\""), "true");
  EXPECT_EQ(request.value("1 == 1 || 1 == 2 && 1 == 3"), "true");
  EXPECT_EQ(request.value("(1 == 1 || 1 == 2) && 1 == 3"), "false");
  EXPECT_EQ(request.value("1 == 2 || 2 == 3 || 3 == 3"), "true");
}

TEST(Expression, MissingAttributes) {
  Request request;
  EXPECT_EQ(request.value("source.user"), "error");
  EXPECT_EQ(request.value("source.user == \"x\""), "error");
  EXPECT_EQ(request.value("source.user | \"unknown\""), "unknown");
  EXPECT_EQ(request.value("source.user | response.code | 7"), "both sides must have one type");
  EXPECT_EQ(request.value("source.user | source.serviceAccount | source.name"), "reviews-v3");
  EXPECT_EQ(request.value("source.user | source.serviceAccount"), "error");
  // An alternative stands for what is missing itself, not for an error within an operation.
  EXPECT_EQ(request.value("(source.user == \"x\") | true"), "error");
  // && and || decide as soon as they can.
  EXPECT_EQ(request.value("1 == 2 && source.user == \"x\""), "false");
  EXPECT_EQ(request.value("1 == 1 || source.user == \"x\""), "true");
  EXPECT_EQ(request.value("source.user == \"x\" || 1 == 1"), "error");
}

TEST(Expression, MissingKeysInsideAndOutsideAChain) {
  Request request;
  EXPECT_EQ(request.value("request.headers[\"x-user\"] == \"\""), "true");
  EXPECT_EQ(request.value("request.headers[\"x-user\"]"), "");
  EXPECT_EQ(request.value("request.headers[\"x-user\"] | \"nobody\""), "nobody");
  EXPECT_EQ(request.value("source.labels[\"track\"] | source.labels[\"version\"]"), "v3");
  // The last alternative is where the chain ends: a missing key is empty again.
  EXPECT_EQ(request.value("source.labels[\"track\"] | source.labels[\"zone\"]"), "");
  request.fields = {{"x-user", ""}};
  EXPECT_EQ(request.value("request.headers[\"x-user\"] | \"nobody\""), "");
  request.caller.pod = nullptr;  // a missing map
  EXPECT_EQ(request.value("source.labels[\"app\"] == \"\""), "error");
  EXPECT_EQ(request.value("source.labels[\"app\"] | source.service | \"unknown\""), "unknown");
  EXPECT_EQ(request.value("source.labels | emptyStringMap()"), "");
  EXPECT_EQ(request.value("(source.labels | emptyStringMap())[\"app\"]"), "");
  EXPECT_EQ(request.value("(source.labels | emptyStringMap())[\"app\"] | \"none\""), "none");
  EXPECT_EQ(request.value("request.auth.claims[\"sub\"] | \"none\""), "none");
}

TEST(Expression, TheSamplesDimensions) {
  Request request;
  EXPECT_EQ(request.value("source.labels[\"app\"] | source.service | \"unknown\""), "reviews");
  EXPECT_EQ(request.value("destination.labels[\"app\"] | destination.service | \"unknown\""),
            "ratings");
  EXPECT_EQ(request.value("destination.labels[\"version\"] | \"unknown\""), "unknown");
  request.pod.labels.clear();
  EXPECT_EQ(request.value("source.labels[\"app\"] | source.service | \"unknown\""),
            "reviews.istio-system.svc.cluster.local");
}

TEST(Expression, Attributes) {
  Request request;
  request.pod.service_account = "bookinfo-reviews";
  request.destination.ip = IpAddress::parse("10.1.0.4");
  request.destination.name = "ratings-v1";
  request.request.query = "key=abc";
  request.fields = {{"Referer", "http://a/"}, {"User-Agent", "curl"}, {"a", "1"}, {"A", "2"},
                    {"cookie", "x=1"},        {"Cookie", "y=2"}};
  EXPECT_EQ(request.value("source.ip"), "10.1.0.3");
  EXPECT_EQ(request.value("source.uid"), "kubernetes://reviews-v3.istio-system");
  EXPECT_EQ(request.value("source.namespace"), "istio-system");
  EXPECT_EQ(request.value("source.serviceAccount"), "bookinfo-reviews");
  EXPECT_EQ(request.value("destination.ip == ip(\"10.1.0.4\")"), "true");
  EXPECT_EQ(request.value("destination.name"), "ratings-v1");
  EXPECT_EQ(request.value("destination.uid | \"-\""), "-");
  EXPECT_EQ(request.value("request.path"), "/ratings/0?key=abc");
  EXPECT_EQ(request.value("request.headers[\":path\"]"), "/ratings/0?key=abc");
  EXPECT_EQ(request.value("request.headers[\":method\"]"), "GET");
  EXPECT_EQ(request.value("request.host"), "ratings:9080");
  EXPECT_EQ(request.value("request.id"), "r-1");
  EXPECT_EQ(request.value("request.size"), "12");
  EXPECT_EQ(request.value("request.referer"), "http://a/");
  EXPECT_EQ(request.value("request.useragent"), "curl");
  EXPECT_EQ(request.value("request.api_key"), "abc");
  EXPECT_EQ(request.value("request.headers[\"a\"]"), "1,2");
  EXPECT_EQ(request.value("request.url_path"), "/ratings/0");
  EXPECT_EQ(request.value("request.cookies[\"y\"]"), "2");
  EXPECT_EQ(request.value("request.cookies[\"X\"] | \"none\""), "none");  // case counts
  EXPECT_EQ(request.value("request.headers[\"cookie\"]"), "x=1; y=2");
  // Two joined values at once.
  EXPECT_EQ(request.value("request.headers[\"a\"] == request.headers[\"cookie\"]"), "false");
  EXPECT_EQ(request.value("connection.mtls"), "false");
  EXPECT_EQ(request.value("context.protocol"), "http");
}

TEST(Expression, Functions) {
  Request request;
  EXPECT_EQ(request.value("match(request.path, \"/ratings/*\")"), "true");
  EXPECT_EQ(request.value("match(request.path, \"*/0\")"), "true");
  EXPECT_EQ(request.value("match(request.path, \"/ratings\")"), "false");
  EXPECT_EQ(request.value("\"^/ra.*[0-9]$\".matches(request.path)"), "true");
  EXPECT_EQ(request.value("\"tings\".matches(request.path)"), "true");  // anywhere, as in Mixer
  EXPECT_EQ(request.value("request.path.matches(\"^tings\")"), "false");
  EXPECT_EQ(request.value("request.path.startsWith(\"/ratings\")"), "true");
  EXPECT_EQ(request.value("destination.service.endsWith(\".local\")"), "true");
  EXPECT_EQ(request.value("request.headers[\"x\"].startsWith(\"a\")"), "false");
  EXPECT_EQ(request.value("conditional(source.ip == ip(\"10.1.0.3\"), \"a\", source.user)"), "a");
  EXPECT_EQ(request.value("conditional(false, \"a\", source.user)"), "error");
  EXPECT_EQ(request.value("conditional(false, \"a\", source.user) | \"b\""), "b");
  EXPECT_EQ(request.value("ip(request.headers[\"x-real-ip\"]) == source.ip"), "error");
  request.fields = {{"x-real-ip", "10.1.0.3"}};
  EXPECT_EQ(request.value("ip(request.headers[\"x-real-ip\"]) == source.ip"), "true");
  EXPECT_EQ(request.value("timestamp(\"2018-01-02T15:04:05Z\")"), "1514905445000000000");
  EXPECT_EQ(request.value("timestamp(\"2018-01-02T16:04:05.5+01:00\")"), "1514905445500000000");
  EXPECT_EQ(request.value("timestamp(\"1969-12-31T23:59:59Z\")"), "-1000000000");
  EXPECT_EQ(request.value("timestamp(\"2000-02-29T00:00:00Z\")"), "951782400000000000");
}

TEST(Expression, MistakesNamePlaceAndRemedy) {
  EXPECT_EQ(problem_of("sourc.labels[\"app\"]"),
            "0: unknown attribute: sourc.labels; the nearest are source.labels, source.name, "
            "source.user");
  EXPECT_EQ(problem_of("request.paht == \"/\""),
            "0: unknown attribute: request.paht; the nearest are request.path, request.host, "
            "request.id");
  EXPECT_EQ(problem_of("source.ip == \"10.0.0.1\""),
            "10: both sides must have one type: IP address and string; ");
  EXPECT_EQ(problem_of("1 == 1 &&"),
            "9: a value is missing here: the end; an attribute, a literal, "
            "a function or an expression in parentheses");
  EXPECT_EQ(problem_of("source.name source.ip"),
            "12: an operator is missing here: source; == != && || |, or the end");
  EXPECT_EQ(problem_of("\"open"), "0: a text without its closing quote: \"open; ");
  EXPECT_EQ(problem_of("(1 == 1"), "7: expected ): the end; ");
  EXPECT_EQ(problem_of("source.name && true"),
            "0: a boolean is needed here: a value of type string; ");
  EXPECT_EQ(problem_of("source.name[\"a\"]"),
            "11: a map of strings is needed here: a value of type string; ");
  EXPECT_EQ(problem_of("source.labels == destination.labels"),
            "14: maps cannot be compared: a map of strings; one entry of it, for example "
            "request.headers[\"x-user\"]");
  EXPECT_EQ(problem_of("size(request.path)"),
            "0: unknown function: size; match, ip, timestamp, "
            "emptyStringMap, conditional");
  EXPECT_EQ(problem_of("startsWith(request.path)"),
            "0: this function is written behind a value and a dot: startsWith; "
            "\"regex\".matches(value), value.startsWith(\"a\")");
  EXPECT_EQ(problem_of("request.path.contains(\"a\")"),
            "13: unknown function behind a value: contains; matches, startsWith, endsWith");
  EXPECT_EQ(problem_of("match(request.path)"), "0: match takes another number of values: 1; 2");
  EXPECT_EQ(problem_of("match(request.path, \"a*b\")"),
            "20: a pattern has one star, at its start or at its end: a*b; \"text\", \"start*\", "
            "\"*end\"");
  EXPECT_EQ(problem_of("source.ip == ip(\"10.0.0\")"), "16: not an IP address: 10.0.0; ");
  EXPECT_EQ(problem_of("timestamp(\"2018-02-30T00:00:00Z\") == request.time").substr(0, 31),
            "10: not a timestamp of RFC 3339");
  EXPECT_EQ(problem_of("\"(\".matches(request.path)").substr(0, 38),
            "4: not a legal regular expression: mis");
  EXPECT_EQ(problem_of("request.path.matches(source.name)"),
            "13: the regular expression must be written out: a value; \"regex\".matches(value)");
  EXPECT_EQ(problem_of("!true").substr(0, 29), "0: not part of an expression:");
  EXPECT_EQ(problem_of("1.5 == 1").substr(0, 28), "0: not a number or duration:");
  EXPECT_EQ(problem_of("\"\\q\"").substr(0, 22), "1: not a legal escape:");
  EXPECT_EQ(problem_of(""),
            "0: a value is missing here: the end; an attribute, a literal, a "
            "function or an expression in parentheses");
}

TEST(Expression, LimitsHold) {
  EXPECT_EQ(problem_of(std::string(40, '(') + "1" + std::string(40, ')')).substr(0, 37),
            "32: operations are nested too deeply:");
  std::string deep = "true";
  for (int i = 0; i < 40; ++i) deep += " == true";
  EXPECT_NE(problem_of(deep).find("nested too deeply"), std::string::npos);
  EXPECT_EQ(problem_of("\"" + std::string(5000, 'a') + "\""),
            "0: the expression is too long: 5002 bytes; up to 4096");
  // Chains of one kind are flat.
  std::string flat = "1 == 1";
  for (int i = 0; i < 300; ++i) flat += " || 1 == 1";
  EXPECT_EQ(problem_of(flat), "none");
}

TEST(Expression, EvaluatesWithoutHeapUse) {
  Request request;
  request.caller.ip = IpAddress::parse("fd00:6e70:244:1111:2222:3333:4444:5555").value();
  request.fields = {{"a", "1"}, {"A", "2"}};
  ExpressionProblem problem;
  const auto dimension =
      parse_expression("source.labels[\"track\"] | source.user | request.headers[\"a\"]", problem);
  const auto test = parse_expression(
      "\"^/ratings\".matches(request.path) && request.headers[\"a\"] == \"1,2\"", problem);
  const auto ip = parse_expression("source.ip", problem);
  ASSERT_TRUE(dimension && test && ip);
  const AttributeView attributes = request.view();
  uint64_t before = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 10) before = allocation_count();
    request.arena.reset();
    ASSERT_EQ(text_of(*evaluate(*dimension, attributes, request.arena), request.arena), "1,2");
    ASSERT_EQ(evaluate_condition(*test, attributes, request.arena), true);
    ASSERT_EQ(text_of(*evaluate(*ip, attributes, request.arena), request.arena).size(), 38U);
  }
  EXPECT_EQ(allocation_count(), before);
}

}  // namespace
}  // namespace np::policy
