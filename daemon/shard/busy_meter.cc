// SPDX-License-Identifier: Apache-2.0
#include "shard/busy_meter.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace np::shard {
namespace {

// "CPU-TIME WAITED-FOR-A-CPU TIMES" in nanoseconds. The first one may be some milliseconds old.
uint64_t waited_ns(std::string_view text) {
  const size_t blank = text.find(' ');
  uint64_t value = 0;
  if (blank == std::string_view::npos) return value;
  (void)std::from_chars(text.data() + blank + 1, text.data() + text.size(), value);
  return value;
}

}  // namespace

void BusyMeter::begin(Instant now) {
  schedstat_ = Fd(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  since_ = now;
  awake_ns_ = awake_ns();
}

uint64_t BusyMeter::awake_ns() const {
  uint64_t awake = thread_cpu_ns();
  if (!schedstat_.is_open()) return awake;
  char text[64];
  const ssize_t size = ::pread(schedstat_.get(), text, sizeof text, 0);
  if (size > 0) awake += waited_ns({text, static_cast<size_t>(size)});
  return awake;
}

uint32_t BusyMeter::measure(Instant now) {
  const uint64_t awake = awake_ns();
  const uint64_t spent = awake - std::min(awake, awake_ns_);
  const auto whole = static_cast<uint64_t>(std::max<int64_t>((now - since_).count(), 1));
  awake_ns_ = awake;
  since_ = now;
  constexpr uint64_t kAll = 1000;
  return static_cast<uint32_t>(std::min(kAll, spent * kAll / whole));
}

}  // namespace np::shard
