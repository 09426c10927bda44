// SPDX-License-Identifier: Apache-2.0
#include "kernel/acceleration_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/log.h"

namespace np::kernel {
namespace {

using Phase = control::AccelerationState::Phase;

[[noreturn]] void become_test(const std::string& program, int output) {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(output, STDOUT_FILENO);
  ::execl(program.c_str(), "nodeproxyd", "--test-acceleration", nullptr);
  ::_exit(127);
}

}  // namespace

AccelerationRun::~AccelerationRun() {
  kill_child();
}

Result<void> AccelerationRun::start() {
  if (state_.phase == Phase::kRunning) return ok();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_error(errno, "make a pipe");
  output_ = Fd(ends[0]);
  (void)::fcntl(output_.get(), F_SETFL, O_NONBLOCK);  // our end only: the test may wait for us
  const Fd input(ends[1]);
  child_ = ::fork();
  if (child_ < 0) {
    output_.reset();
    return system_error(errno, "start the self-test of acceleration");
  }
  if (child_ == 0) become_test(program_, input.get());
  text_.clear();
  deadline_ = monotonic_now() + kAccelerationRunMax;
  state_.phase = Phase::kRunning;
  return ok();
}

void AccelerationRun::on_readable() {
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t got = ::read(output_.get(), chunk.data(), chunk.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return finish("it ended without a report");
    text_.append(chunk.data(), static_cast<size_t>(got));
    if (text_.size() > kAccelerationReportBytesMax) return finish("its report has no end");
  }
}

void AccelerationRun::on_deadline() {
  finish("it did not end within " + std::to_string(kAccelerationRunMax / std::chrono::seconds(1)) +
         " s");
}

void AccelerationRun::on_exit(pid_t pid) {
  if (pid == child_) child_ = -1;  // what it wrote is still in the pipe
}

void AccelerationRun::finish(const std::string& problem) {
  auto report = control::parse_acceleration_report(text_);
  if (report) {
    state_.report = std::move(*report);
  } else {
    utsname name{};
    (void)::uname(&name);
    state_.report = {name.release, "the self-test failed: " + problem, {}};
  }
  output_.reset();
  deadline_ = kNever;
  state_.phase = Phase::kDone;
  kill_child();
  log_info("acceleration on Linux " + state_.report.release + ": " +
           control::verdict_of(state_.report));
}

void AccelerationRun::kill_child() {
  // Reaped by the supervisor as every child; until then its number is nobody else's.
  if (child_ > 0) ::kill(child_, SIGKILL);
}

}  // namespace np::kernel
