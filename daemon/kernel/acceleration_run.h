// SPDX-License-Identifier: Apache-2.0
// AccelerationRun: runs the self-test of acceleration in a process of its own (`nodeproxyd
// --test-acceleration`) and keeps what it reported. Owns that process and the pipe from it. Driven
// by the supervisor's loop, which never waits for it; single-threaded.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "control/acceleration.h"

namespace np::kernel {

// A run takes less than 5 s even where every check waits for its whole patience.
inline constexpr Duration kAccelerationRunMax = std::chrono::seconds(30);
// A report has some 2 KiB; a process that prints more is not what we started.
inline constexpr size_t kAccelerationReportBytesMax = 64 * 1024;

class AccelerationRun {
 public:
  // `program` is executed with the one argument "--test-acceleration".
  explicit AccelerationRun(std::string program = "/proc/self/exe") : program_(std::move(program)) {}
  ~AccelerationRun();
  AccelerationRun(const AccelerationRun&) = delete;
  AccelerationRun& operator=(const AccelerationRun&) = delete;

  // One that runs already goes on.
  Result<void> start();
  // To be polled for reading; -1: nothing runs.
  int fd() const { return output_.get(); }
  void on_readable();
  // kNever: nothing runs. Then on_deadline() gives the run up.
  Instant deadline() const { return deadline_; }
  void on_deadline();
  // A child was reaped.
  void on_exit(pid_t pid);

  const control::AccelerationState& state() const { return state_; }

 private:
  void finish(const std::string& problem);
  void kill_child();

  std::string program_;
  pid_t child_ = -1;
  Fd output_;
  std::string text_;
  Instant deadline_ = kNever;
  control::AccelerationState state_;
};

}  // namespace np::kernel
