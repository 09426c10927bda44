// SPDX-License-Identifier: Apache-2.0
// The command line is a contract: names, defaults, and clear refusals with exit code 2.
#include "options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

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
