// SPDX-License-Identifier: Apache-2.0
// NodectlTest: the real nodectl against a real control thread whose data path is faked: what a
// person types, what they read, what the shell gets.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <thread>

#include "base/log.h"
#include "control/control_thread.h"
#include "tests/unit/control/fakes.h"

extern char** environ;

namespace np::control {

struct Ran {
  int exit_code = -1;
  std::string out;
  std::string error;
};

inline std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> chunk;
  ssize_t got = 0;
  while ((got = ::read(fd, chunk.data(), chunk.size())) > 0) {
    text.append(chunk.data(), static_cast<size_t>(got));
  }
  return text;
}

// Runs a program with `input` on standard input. Its output goes to files, so that it never waits
// for a reader.
inline Ran run(std::vector<std::string> arguments, const std::string& input = "") {
  const TemporaryDirectory scratch;
  const std::string in = scratch.path() + "/in";
  const std::string out = scratch.path() + "/out";
  const std::string error = scratch.path() + "/error";
  std::ofstream(in, std::ios::binary) << input;
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  constexpr int kWrite = O_WRONLY | O_CREAT | O_TRUNC;
  ::posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, out.c_str(), kWrite, 0600);
  ::posix_spawn_file_actions_addopen(&files, 2, error.c_str(), kWrite, 0600);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&files);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  Ran ran;
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ran.out = read_all(Fd(::open(out.c_str(), O_RDONLY)).get());
  ran.error = read_all(Fd(::open(error.c_str(), O_RDONLY)).get());
  return ran;
}

inline constexpr const char* kServices = R"(apiVersion: v1
kind: Service
metadata:
  name: reviews
spec:
  clusterIP: 10.96.0.10
  selector:
    app: reviews
  ports:
  - name: http
    port: 9080
---
apiVersion: v1
kind: Service
metadata:
  name: ratings
spec:
  clusterIP: 10.96.0.11
  selector:
    app: ratings
  ports:
  - name: http
    port: 9080
)";

inline constexpr const char* kRule = R"(apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata:
  name: reviews-default
spec:
  # everything goes to v1
  destination:
    name: reviews
  precedence: 1
  route:
  - labels:
      version: v1
)";

// Originating TLS comes later.
inline constexpr const char* kLater = R"(apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata:
  name: apis
spec:
  destination:
    service: "*.example.com"
  ports:
  - port: 443
    protocol: https
)";

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

class NodectlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    ControlOptions options;
    options.run_dir = directory_.path() + "/run";
    options.state_dir = directory_.path() + "/state";
    options.group = "";
    options.info = {"9.8.7", "test", 2, monotonic_now()};
    control_ = std::make_unique<ControlThread>(std::move(options), daemon_.seams());
    stop_.reset(::eventfd(0, EFD_CLOEXEC));
    auto started = control_->start();
    ASSERT_TRUE(started) << started.error().to_string();
    thread_ = std::thread([this] { EXPECT_TRUE(control_->run(stop_.get())); });
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }

  Ran nodectl(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.insert(arguments.begin(), {NP_NODECTL, "--run-dir", directory_.path() + "/run"});
    return run(std::move(arguments), input);
  }
  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = std::filesystem::path(directory_.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  void apply(const std::string& text) const {
    const Ran ran = nodectl({"apply", "-f", "-"}, text);
    ASSERT_EQ(ran.exit_code, 0) << ran.error;
  }

  TemporaryDirectory directory_;
  FakeDaemon daemon_;
  std::unique_ptr<ControlThread> control_;
  Fd stop_;
  std::thread thread_;
};

}  // namespace np::control
