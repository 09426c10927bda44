// SPDX-License-Identifier: Apache-2.0
// `nodectl explain -f` over the samples: what a person reads, without a daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kColumns = 80;
const std::string kSamples = NP_SOURCE_DIR "/tests/support/samples/";

struct Ran {
  int exit_code = -1;
  std::string text;  // both streams
};

// `arguments` as a shell reads them.
Ran explain(const std::string& arguments) {
  const std::string command = std::string(NP_NODECTL) + " explain " + arguments + " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  Ran ran;
  char chunk[4096];
  for (size_t got = 0; (got = std::fread(chunk, 1, sizeof(chunk), pipe)) > 0;) {
    ran.text.append(chunk, got);
  }
  const int status = ::pclose(pipe);
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

void expect_narrow(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Warning: ")) continue;  // of the loader, on stderr
    EXPECT_LE(line.size(), kColumns) << line;
    EXPECT_FALSE(line.ends_with(' ')) << '"' << line << '"';
  }
}

// Without line breaks and the blanks of columns.
std::string one_line(const std::string& text) {
  std::istringstream words(text);
  std::string out;
  for (std::string word; words >> word;) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string old(const std::string& name) {
  return "-f " + kSamples + "istio-v1alpha2/" + name + ".yaml ";
}

TEST(NodectlExplain, TheDelayOfTheLab) {
  const std::string files =
      "-n istio-system " + old("route-rule-all-v1") + old("route-rule-ratings-test-delay");
  Ran ran = explain("--from reviews --to ratings:9080 -H 'cookie: user=jason' " + files);
  ASSERT_EQ(ran.exit_code, 0) << ran.text;
  expect_narrow(ran.text);
  for (const char* part : {"1 matches", "RouteRule istio-system/ratings-test-delay",
                           "(route-rule-ratings-test-delay.yaml:1)",
                           "100 % of such requests wait 7 s", "subset v1", "assumed"}) {
    EXPECT_THAT(ran.text, HasSubstr(part));
  }
  EXPECT_THAT(ran.text, Not(HasSubstr("details"))) << "nothing is assumed that plays no part";

  ran = explain("--from reviews --to ratings:9080 " + files);
  EXPECT_THAT(ran.text, HasSubstr("header cookie is absent"));
  EXPECT_THAT(ran.text, HasSubstr("2 matches"));
  EXPECT_THAT(ran.text, HasSubstr("wants        every request"));
  EXPECT_THAT(ran.text, Not(HasSubstr("wait 7 s")));
}

TEST(NodectlExplain, AWeightedSplitAndATwinOfTodaysApi) {
  Ran ran = explain("--from productpage --to reviews:9080 " + old("route-rule-reviews-50-v3"));
  EXPECT_THAT(ran.text, HasSubstr("one of 2, drawn for each request"));
  EXPECT_THAT(ran.text, HasSubstr("50 %"));
  // Its subsets are not defined in that file, and the answer says so.
  ran = explain("--from productpage --to reviews:9080 -f " + kSamples +
                "istio-networking/virtual-service-reviews-50-v3.yaml");
  EXPECT_THAT(ran.text, HasSubstr("unknown host or subset: 503"));
  EXPECT_THAT(ran.text, HasSubstr("no DestinationRule defines subset v1"));
  ran = explain("--from productpage --to reviews:9080 -f " + kSamples +
                "istio-networking/virtual-service-reviews-50-v3.yaml -f " + kSamples +
                "istio-networking/destination-rule-all.yaml");
  EXPECT_THAT(ran.text, HasSubstr("subset v3"));
  expect_narrow(ran.text);
}

// Who else claims the host, and what of it is in effect.
TEST(NodectlExplain, Conflicts) {
  const std::string path = ::testing::TempDir() + "np_explain_conflicts.yaml";
  std::ofstream(path) << R"(apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - {name: other, match: [{port: 8080}], route: [{destination: {host: web, subset: v1}}]}
  - {name: all, route: [{destination: {host: web, subset: v1}}]}
  - {name: late, match: [{uri: {prefix: /late}}], route: [{destination: {host: web}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: web-old}
spec: {destination: {name: web}, route: [{labels: {version: v3}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: DestinationPolicy
metadata: {name: web-cb}
spec:
  destination: {name: web, labels: {version: v1}}
  circuitBreaker: {simpleCb: {maxConnections: 1}}
)";
  const Ran ran = explain("--from x --to web:80 --path /late -f " + path);
  ASSERT_EQ(ran.exit_code, 0) << ran.text;
  expect_narrow(ran.text);
  for (const char* part :
       {"decides      VirtualService default/web: routes",
        "rule other is not asked here: it is for port 8080", "rule late is never reached",
        "inactive     RouteRule default/web-old", "RouteRules have no effect there",
        "inactive     DestinationPolicy default/web-cb"}) {
    EXPECT_THAT(one_line(ran.text), HasSubstr(one_line(part)));
  }
  std::remove(path.c_str());
}

// What is counted only is told, and changes nothing.
TEST(NodectlExplain, Shadows) {
  const std::string path = ::testing::TempDir() + "np_explain_shadow.yaml";
  std::ofstream(path) << R"(apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {name: few}
spec:
  host: web
  limits: {maxConnections: 3, mode: shadow}
  faults: [{name: s, abort: {status: 500}, mode: shadow}]
)";
  const std::string text = one_line(explain("--from x --to web:80 -f " + path).text);
  EXPECT_THAT(text, HasSubstr("1 fault in shadow mode: counted, not injected fault none"));
  EXPECT_THAT(text, HasSubstr("in shadow connections 3, per caller's workload: counted, not "
                              "enforced, by TrafficPolicy default/few limits none"));
  std::remove(path.c_str());
}

// Opaque bytes; and the address that a client would dial, not that of a pod.
TEST(NodectlExplain, AConnection) {
  const std::string path = ::testing::TempDir() + "np_explain_tcp.yaml";
  std::ofstream(path) << R"(apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 10.96.0.77, selector: {app: db}, ports: [{name: tcp-db, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, labels: {app: db}}
status: {podIP: 10.1.0.77}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db]
  tcp:
  - match: [{sourceLabels: {app: other}}]
    route: [{destination: {host: db}}]
  - route: [{destination: {host: db}}]
)";
  const std::string text = one_line(explain("--from web --to db:5432 -f " + path).text);
  for (const char* part : {"CONNECTION opaque bytes", "dialled as 10.96.0.77:5432", "protocol tcp",
                           "caller's label app is web, wanted: other", "2 matches",
                           "10.1.0.77:5432 default/db-1, weight 1 of 1"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("RETRIES")));
  std::remove(path.c_str());
}

TEST(NodectlExplain, DirectoriesLabelsAndFormats) {
  const std::string directory = "-f " + kSamples + "istio-networking";
  const Ran wide =
      explain("--from app=productpage,version=v1 --to reviews:9080 -o wide " + directory);
  ASSERT_EQ(wide.exit_code, 0) << wide.text;
  EXPECT_THAT(wide.text, HasSubstr("with app=productpage,version=v1"));
  const Ran json = explain("--from x --to reviews:9080 -o json 2>/dev/null " + directory);
  EXPECT_THAT(json.text, HasSubstr("\"outcome\": \"forward\""));
  const Ran yaml = explain("--from x --to reviews:9080 -o yaml " + directory);
  EXPECT_THAT(yaml.text, HasSubstr("outcome: \"forward\""));
}

TEST(NodectlExplain, WhatNothingCoversAndWhatIsWrong) {
  Ran ran = explain("--from a --to other:80 " + old("route-rule-reviews-v3"));
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.text, HasSubstr("nodeproxy does nothing to it"));
  EXPECT_THAT(ran.text, HasSubstr("no service is known for host other"));
  ran = explain("--from a --to reviews:99999 " + old("route-rule-reviews-v3"));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.text, HasSubstr("allowed: HOST:PORT"));
  ran = explain("--from a --to reviews:80 -f /nonexistent");
  EXPECT_EQ(ran.exit_code, 1);
  ran = explain("--to reviews:80");
  EXPECT_EQ(ran.exit_code, 2);
  ran = explain("--from a --to reviews:9080 -H 'bad name: x' " + old("route-rule-reviews-v3"));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.text, HasSubstr("'name: value'"));
}

}  // namespace
