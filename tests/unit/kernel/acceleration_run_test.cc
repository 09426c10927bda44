// SPDX-License-Identifier: Apache-2.0
// The self-test runs beside the supervisor's loop: whatever its process does, there is a report.
#include "kernel/acceleration_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>

#include "base/log.h"

namespace np::kernel {
namespace {

using Phase = control::AccelerationState::Phase;
using ::testing::HasSubstr;

class AccelerationRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    char directory[] = "/tmp/np-acceleration-run-XXXXXX";
    ASSERT_NE(::mkdtemp(directory), nullptr);
    program_ = std::string(directory) + "/test";
  }
  void TearDown() override {
    run_.reset();
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::unlink(program_.c_str());
    ::rmdir(program_.substr(0, program_.rfind('/')).c_str());
  }
  // A program that gets the supervisor's one argument.
  void start(const std::string& script) {
    std::ofstream(program_) << "#!/bin/sh\n" << script << "\n";
    ::chmod(program_.c_str(), 0700);
    run_ = std::make_unique<AccelerationRun>(program_);
    ASSERT_TRUE(run_->start().has_value());
  }
  // As the supervisor's loop.
  const control::AccelerationState& finish() {
    while (run_->state().phase == Phase::kRunning) {
      pollfd one{run_->fd(), POLLIN, 0};
      EXPECT_EQ(::poll(&one, 1, 10'000), 1);
      if (one.revents == 0) break;
      run_->on_readable();
    }
    EXPECT_EQ(run_->fd(), -1);
    EXPECT_EQ(run_->deadline(), kNever);
    return run_->state();
  }

  std::string program_;
  std::unique_ptr<AccelerationRun> run_;
};

TEST_F(AccelerationRunTest, NothingRunsUnasked) {
  const AccelerationRun run;
  EXPECT_EQ(run.state().phase, Phase::kUntested);
  EXPECT_EQ(run.fd(), -1);
  EXPECT_EQ(run.deadline(), kNever);
}

TEST_F(AccelerationRunTest, KeepsTheReport) {
  start(
      "[ $# = 1 ] && [ $1 = --test-acceleration ] || exit 1\n"
      "printf 'release\\t6.1\\ndanger\\torder\\tpassed\\tp\\ts\\n"
      "danger\\tsplice\\tfailed\\tp\\ts\\n'");
  const control::AccelerationState& state = finish();
  EXPECT_EQ(state.phase, Phase::kDone);
  EXPECT_EQ(state.report.release, "6.1");
  ASSERT_EQ(state.report.results.size(), 2U);
  EXPECT_EQ(control::verdict_of(state.report), "refused: splice");
}

TEST_F(AccelerationRunTest, AProcessThatSaysNothingIsARefusal) {
  for (const char* script : {"exit 0", "kill -9 $$", "echo nonsense", "printf 'release\\t6.1'"}) {
    start(script);
    const control::AccelerationState& state = finish();
    EXPECT_FALSE(state.report.is_possible());
    EXPECT_THAT(state.report.problem, HasSubstr("it ended without a report")) << script;
    EXPECT_FALSE(state.report.release.empty());
  }
}

TEST_F(AccelerationRunTest, AProcessThatNeverStopsTalkingIsEnded) {
  start("exec yes");
  EXPECT_THAT(finish().report.problem, HasSubstr("has no end"));
}

TEST_F(AccelerationRunTest, AHangingProcessIsGivenUp) {
  start("exec sleep 1000");
  EXPECT_LT(run_->deadline(), kNever);
  EXPECT_TRUE(run_->start().has_value());  // the one that runs goes on
  run_->on_deadline();
  EXPECT_THAT(finish().report.problem, HasSubstr("did not end within 30 s"));
  int status = 0;
  const pid_t ended = ::waitpid(-1, &status, 0);
  EXPECT_TRUE(ended > 0 && WIFSIGNALED(status));
  run_->on_exit(ended);
}

TEST_F(AccelerationRunTest, CanBeAskedAgain) {
  start("exit 0");
  finish();
  std::ofstream(program_) << "#!/bin/sh\nprintf 'release\\t6.1\\ndanger\\ta\\tpassed\\tp\\ts\\n'\n";
  ASSERT_TRUE(run_->start().has_value());
  EXPECT_TRUE(finish().report.is_possible());
}

}  // namespace
}  // namespace np::kernel
