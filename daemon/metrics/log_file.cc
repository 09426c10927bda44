// SPDX-License-Identifier: Apache-2.0
#include "metrics/log_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace np::metrics {
namespace {

constexpr mode_t kMode = 0640;

// A named pipe is opened whether it has a reader or not: the daemon must not wait for one, nor need
// one to start.
Fd open_path(const std::string& path) {
  constexpr int kFlags = O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  Fd fd(::open(path.c_str(), O_WRONLY | kFlags, kMode));
  if (!fd.is_open() && errno == ENXIO) fd.reset(::open(path.c_str(), O_RDWR | kFlags, kMode));
  return fd;
}

}  // namespace

Result<std::unique_ptr<LogFile>> LogFile::open(const std::string& target) {
  const bool is_stdout = target == "stdout";
  Fd fd = is_stdout ? Fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)) : open_path(target);
  struct stat info {};
  if (!fd.is_open() || ::fstat(fd.get(), &info) != 0) {
    return system_error(errno, "open the access log " + target,
                        "its directory must exist and may be written by the daemon's first user");
  }
  return std::unique_ptr<LogFile>(new LogFile(std::move(fd), S_ISREG(info.st_mode)));
}

void LogFile::append(std::string_view line) {
  if (buffer_.size() + line.size() > kBufferBytesMax) {
    lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return;
  }
  buffer_.append(line);
  if (buffer_.size() >= kFlushBytes) flush();
}

// A pipe that is said to be writable takes PIPE_BUF bytes at once (pipe(7)).
size_t LogFile::writable(size_t wanted) const {
  if (is_regular_) return wanted;
  pollfd polled{fd_.get(), POLLOUT, 0};
  if (::poll(&polled, 1, 0) != 1 || (polled.revents & POLLOUT) == 0) return 0;
  return std::min<size_t>(wanted, PIPE_BUF);
}

void LogFile::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const size_t most = writable(buffer_.size() - done);
    if (most == 0) break;
    const ssize_t count = ::write(fd_.get(), buffer_.data() + done, most);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;  // a full disk: what comes until there is room again is lost
    done += static_cast<size_t>(count);
  }
  drop_written(done);
}

void LogFile::finish() {
  flush();
  const auto lines = std::count(buffer_.begin(), buffer_.end(), '\n');
  lost_.store(lost_.load(std::memory_order_relaxed) + static_cast<uint64_t>(lines),
              std::memory_order_relaxed);
  buffer_.clear();
}

void LogFile::drop_written(size_t bytes) {
  const auto lines = std::count(buffer_.begin(), buffer_.begin() + static_cast<long>(bytes), '\n');
  written_.store(written_.load(std::memory_order_relaxed) + static_cast<uint64_t>(lines),
                 std::memory_order_relaxed);
  buffer_.erase(0, bytes);
}

}  // namespace np::metrics
