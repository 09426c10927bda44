// SPDX-License-Identifier: Apache-2.0
// LogFile: where lines of the access log go: a file opened for appending (a rotation that copies
// and truncates needs no signal) or standard output. Bounded: a reader that does not read costs
// lines, which are counted, and nobody's time. Telemetry thread only; lost() from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace np::metrics {

class LogFile {
 public:
  static constexpr size_t kBufferBytesMax = size_t{1} << 20U;  // 1 MiB
  static constexpr size_t kFlushBytes = size_t{64} << 10U;     // 64 KiB

  // "stdout" or a path. Before the sandbox: later the worker may lack the right.
  static Result<std::unique_ptr<LogFile>> open(const std::string& target);

  // One line, with its newline.
  void append(std::string_view line);
  // What is held back, as far as the reader takes it.
  void flush();
  // flush(), and what is then still held back is lost.
  void finish();
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }
  uint64_t written() const { return written_.load(std::memory_order_relaxed); }

 private:
  LogFile(Fd fd, bool is_regular) : fd_(std::move(fd)), is_regular_(is_regular) {}
  // Bytes that can be written without waiting; 0: none now.
  size_t writable(size_t wanted) const;
  void drop_written(size_t bytes);

  Fd fd_;
  const bool is_regular_;
  std::string buffer_;
  std::atomic<uint64_t> lost_{0}, written_{0};  // lines
};

}  // namespace np::metrics
