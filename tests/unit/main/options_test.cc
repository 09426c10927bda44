// SPDX-License-Identifier: Apache-2.0
// The command line is a contract: names, defaults, and clear refusals with exit code 2.
#include "options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

namespace np {
namespace {

std::variant<Options, EarlyExit> parse(std::vector<std::string> arguments, unsigned uid = 0) {
  arguments.insert(arguments.begin(), "nodeproxyd");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return parse_options(static_cast<int>(argv.size()), argv.data(), uid);
}

TEST(Options, DefaultsForRoot) {
  const auto parsed = parse({});
  const auto& options = std::get<Options>(parsed);
  EXPECT_EQ(options.instance, "nodeproxy");
  EXPECT_EQ(options.run_dir, "/run/nodeproxy");
  EXPECT_EQ(options.state_dir, "/var/lib/nodeproxy");
  EXPECT_EQ(options.admin, "127.0.0.1:15090");
  EXPECT_TRUE(options.capture);
  EXPECT_EQ(options.drain_time, std::chrono::seconds(30));
  EXPECT_GE(options.workers, 1U);
  EXPECT_EQ(options.worker_link, -1);
}

TEST(Options, WithoutRootTheDirectoriesAreTheUsers) {
  ::setenv("XDG_RUNTIME_DIR", "/run/user/1000", 1);
  ::setenv("XDG_STATE_HOME", "/home/me/.state", 1);
  const auto parsed = parse({"--no-capture", "--instance", "mine"}, 1000);
  const auto& options = std::get<Options>(parsed);
  EXPECT_EQ(options.run_dir, "/run/user/1000/mine");
  EXPECT_EQ(options.state_dir, "/home/me/.state/mine");
  EXPECT_FALSE(options.capture);
}

TEST(Options, AllFlagsOfTheContract) {
  const auto parsed =
      parse({"--run-dir", "/r", "--state-dir", "/s", "--admin", "[::1]:99", "--workers", "3",
             "--instance", "two", "--drain-time", "1m", "--hook", "clsact"});
  const auto& options = std::get<Options>(parsed);
  EXPECT_EQ(options.run_dir, "/r");
  EXPECT_EQ(options.state_dir, "/s");
  EXPECT_EQ(options.admin, "[::1]:99");
  EXPECT_EQ(options.workers, 3U);
  EXPECT_EQ(options.drain_time, std::chrono::minutes(1));
  EXPECT_EQ(options.hook, "clsact");
}

std::string probes_of(const std::vector<std::string>& arguments) {
  const auto parsed = parse(arguments);
  const ProbeAddress& probes = std::get<Options>(parsed).probes;
  if (!probes.bind) return "off";
  return probes.bind->to_string() + (probes.is_asked_for ? " asked for" : "");
}

TEST(Options, ProbesHaveAnAddressOfTheirOwn) {
  EXPECT_EQ(probes_of({}), "127.0.0.1:16090");
  EXPECT_EQ(probes_of({"--admin", "[::1]:993"}), "[::1]:1993");
  EXPECT_EQ(probes_of({"--admin", "127.0.0.1:65000"}), "off") << "there is no such port";
  EXPECT_EQ(probes_of({"--probes", "10.0.0.1:8080"}), "10.0.0.1:8080 asked for");
  EXPECT_EQ(probes_of({"--probes", "off"}), "off");
}

TEST(Options, NamesOfTheAdminPages) {
  const auto parsed = parse({"--admin-name", "node-1.example", "--admin-name", "node-1"});
  EXPECT_EQ(std::get<Options>(parsed).admin_names,
            (std::vector<std::string>{"node-1.example", "node-1"}));
  for (const char* wrong : {"a:80", "a/b", "", ".a", "*"}) {
    const auto refused = std::get<EarlyExit>(parse({"--admin-name", wrong}));
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_NE(refused.message.find("found \"" + std::string(wrong) + "\"; allowed: a host name"),
              std::string::npos)
        << refused.message;
  }
}

TEST(Options, FamiliesOfMetrics) {
  const auto all = parse({});
  EXPECT_EQ(std::get<Options>(all).telemetry.families, metrics::FamilyChoice{});
  const auto two = parse({"--metrics-families", "nodeproxy,istio"});
  EXPECT_EQ(std::get<Options>(two).telemetry.families,
            (metrics::FamilyChoice{true, false, false, false, true}));
  for (const auto& [wrong, found] :
       std::map<std::string, std::string>{{"istio,linkerd", "linkerd"},
                                          {"istio,", ""},
                                          {"all", "all"},
                                          {"istio, envoy", " envoy"}}) {
    const auto refused = std::get<EarlyExit>(parse({"--metrics-families", wrong}));
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_NE(refused.message.find("found \"" + found + "\"; allowed: some of istio,"),
              std::string::npos)
        << refused.message;
  }
}

TEST(Options, TelemetryByDefault) {
  const auto parsed = parse({});
  const TelemetryChoices& choices = std::get<Options>(parsed).telemetry;
  EXPECT_TRUE(choices.request_metrics);
  EXPECT_EQ(choices.access_log, "off");
  EXPECT_TRUE(choices.tracing);
  EXPECT_EQ(choices.trace_per_million, 10'000U);
  EXPECT_TRUE(choices.trace_b3);
  EXPECT_TRUE(choices.collectors.empty());
}

TEST(Options, TelemetryAsAsked) {
  const auto parsed = parse({"--request-metrics",
                             "off",
                             "--access-log",
                             "/var/log/a.log",
                             "--access-log-format",
                             "json",
                             "--access-log-filter",
                             "failures",
                             "--access-log-slower-than",
                             "250ms",
                             "--access-log-sampling",
                             "12.5",
                             "--trace-sampling",
                             "0.01",
                             "--trace-b3",
                             "off",
                             "--zipkin",
                             "http://zipkin:9411",
                             "--otlp",
                             "http://[::1]/v1/traces",
                             "--otlp",
                             "http://other:4318"});
  const TelemetryChoices& choices = std::get<Options>(parsed).telemetry;
  EXPECT_FALSE(choices.request_metrics);
  EXPECT_EQ(choices.access_log, "/var/log/a.log");
  EXPECT_EQ(choices.access_log_format, "json");
  EXPECT_TRUE(choices.access_log_failures_only);
  EXPECT_EQ(choices.access_log_slower_than, std::chrono::milliseconds(250));
  EXPECT_EQ(choices.access_log_per_million, 125'000U);
  EXPECT_EQ(choices.trace_per_million, 100U);
  EXPECT_FALSE(choices.trace_b3);
  ASSERT_EQ(choices.collectors.size(), 3U);
  EXPECT_EQ(choices.collectors[0].protocol, metrics::ExporterOptions::Protocol::kZipkin);
  EXPECT_EQ(choices.collectors[2].host, "other");
}

TEST(Options, RefusesTelemetryThatCannotBe) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--access-log", "relative.log"},    {"--access-log-format", "%NO_SUCH_THING%"},
      {"--access-log-filter", "some"},     {"--access-log-sampling", "101"},
      {"--trace-sampling", "-1"},          {"--tracing", "maybe"},
      {"--zipkin", "https://zipkin:9411"}, {"--otlp", "collector:4318"},
  };
  for (const auto& arguments : wrong) {
    const auto parsed = parse(arguments);
    ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed)) << arguments[0];
    EXPECT_EQ(std::get<EarlyExit>(parsed).exit_code, 2) << arguments[0];
  }
}

TEST(Options, OverloadByDefault) {
  const auto parsed = parse({});
  const OverloadChoices& choices = std::get<Options>(parsed).overload;
  EXPECT_EQ(choices.memory_limit_bytes, 0U) << "the cgroup's";
  ASSERT_TRUE(choices.memory.has_value());
  EXPECT_EQ(choices.memory->percent, (std::array<uint32_t, 3>{92, 95, 98}));
  EXPECT_EQ(choices.lag, std::chrono::milliseconds(500));
  EXPECT_EQ(choices.watchdog, std::chrono::seconds(2));
}

TEST(Options, OverloadAsAsked) {
  const auto parsed = parse({"--memory-limit", "512Mi", "--overload-memory", "50,60,100",
                             "--overload-lag", "0s", "--watchdog", "1500ms"});
  const OverloadChoices& choices = std::get<Options>(parsed).overload;
  EXPECT_EQ(choices.memory_limit_bytes, 512U * 1024 * 1024);
  EXPECT_EQ(choices.memory->percent, (std::array<uint32_t, 3>{50, 60, 100}));
  EXPECT_EQ(choices.lag, Duration::zero());
  EXPECT_EQ(choices.watchdog, std::chrono::milliseconds(1500));
  const auto off = parse({"--overload-memory", "off", "--watchdog", "0s"});
  EXPECT_FALSE(std::get<Options>(off).overload.memory.has_value());
  EXPECT_EQ(std::get<Options>(off).overload.watchdog, Duration::zero());
}

TEST(Options, RefusesOverloadThatCannotBe) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--memory-limit", "0"},
      {"--memory-limit", "512MB"},
      {"--memory-limit", "-1Mi"},
      {"--overload-memory", "92,95"},
      {"--overload-memory", "95,92,98"},
      {"--overload-memory", "92,95,101"},
      {"--overload-memory", "0,1,2"},
      {"--overload-memory", "92,95,98,99"},
      {"--overload-memory", "92 95 98"},
      {"--overload-memory", ""},
      {"--overload-lag", "500"},
      {"--watchdog", "50ms"},
      {"--watchdog", "25h"},
      {"--watchdog", "soon"},
  };
  for (const auto& arguments : wrong) {
    const auto parsed = parse(arguments);
    ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed)) << arguments[0] << " " << arguments[1];
    const EarlyExit& refused = std::get<EarlyExit>(parsed);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_NE(refused.message.find(arguments[0]), std::string::npos) << refused.message;
  }
}

TEST(Options, ConfigurationFileAndCommandLineWins) {
  const std::string path = ::testing::TempDir() + "/nodeproxyd.conf";
  std::ofstream(path) << "workers=4\ninstance=from-file\n";
  const auto parsed = parse({"--config", path, "--workers", "2"});
  const auto& options = std::get<Options>(parsed);
  EXPECT_EQ(options.workers, 2U);
  EXPECT_EQ(options.instance, "from-file");
}

TEST(Options, RefusesWithExitCodeTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--workers", "0"},     {"--workers", "65"},      {"--workers", "many"},
      {"--drain-time", "30"}, {"--hook", "xdp"},        {"--instance", "A/B"},
      {"--instance", ""},     {"--admin", "localhost"}, {"--no-such-flag"},
      {"positional"},         {"--drain-time", "-1s"},  {"--config", "/no/such/file"},
  };
  for (const auto& arguments : wrong) {
    const auto parsed = parse(arguments);
    ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed)) << arguments[0];
    EXPECT_EQ(std::get<EarlyExit>(parsed).exit_code, 2) << arguments[0];
    EXPECT_FALSE(std::get<EarlyExit>(parsed).message.empty());
  }
}

TEST(Options, HelpAndVersionAreNoErrors) {
  for (const char* flag : {"--help", "--version"}) {
    const auto parsed = parse({flag});
    ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed));
    EXPECT_EQ(std::get<EarlyExit>(parsed).exit_code, 0);
    EXPECT_NE(std::get<EarlyExit>(parsed).message.find("nodeproxyd"), std::string::npos);
  }
}

}  // namespace
}  // namespace np
