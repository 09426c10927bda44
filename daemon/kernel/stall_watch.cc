// SPDX-License-Identifier: Apache-2.0
#include "kernel/stall_watch.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace np::kernel {
namespace {

// A stall is found within 1/8 of the limit after it is as long as that.
constexpr int kLooksPerLimit = 8;
constexpr Duration kIntervalMin = std::chrono::milliseconds(10);
constexpr Duration kIntervalMax = std::chrono::milliseconds(250);
// Between two looks of ours: then it was we who did not run.
constexpr int kIntervalsUntilAsleep = 3;

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "123 (np-shard-0) R 1 ...": what is behind the name.
char state_of(const std::string& stat) {
  const size_t end = stat.rfind(") ");
  return end == std::string::npos || end + 2 >= stat.size() ? '?' : stat[end + 2];
}

const char* name_of_state(char state) {
  switch (state) {
    case 'R':
      return "running";
    case 'S':
      return "sleeping";
    case 'D':
      return "in the kernel, not to be interrupted";
    case 'T':
      return "stopped by a signal";
    case 't':
      return "stopped by a debugger";
    default:
      return "unknown";
  }
}

}  // namespace

StallWatch::StallWatch(Duration limit)
    : limit_(limit), interval_(std::clamp(limit / kLooksPerLimit, kIntervalMin, kIntervalMax)) {}

std::optional<StallWatch::Stall> StallWatch::look(const LifePage& page, Instant now) {
  const bool was_asleep = now - latest_look_ > kIntervalsUntilAsleep * interval_;
  const bool begins = !is_begun_ || was_asleep;
  latest_look_ = now;
  is_begun_ = true;
  std::optional<Stall> worst;
  for (uint32_t shard = 0; shard < LifePage::kShards; ++shard) {
    const uint64_t progress_ns = read_word(page.shards[shard].progress_ns);
    Seen& seen = seen_[shard];
    if (begins || progress_ns == 0 || progress_ns != seen.progress_ns) {
      seen = {progress_ns, now};
      continue;
    }
    const Duration length = now - seen.since;
    if (length >= limit_ && (!worst || length > worst->length)) worst = Stall{shard, length};
  }
  return worst;
}

std::string describe_shard_thread(pid_t worker, uint32_t shard) {
  const std::string name = "np-shard-" + std::to_string(shard);
  std::error_code failed;
  const std::filesystem::path tasks = "/proc/" + std::to_string(worker) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, failed)) {
    if (first_line(task.path() / "comm") != name) continue;
    const char state = state_of(first_line(task.path() / "stat"));
    std::string text = name + ", state " + state + " (" + name_of_state(state) + ")";
    const std::string where = first_line(task.path() / "wchan");
    if (!where.empty() && where != "0") text += ", in " + where;
    return text;
  }
  return name + ", not found";
}

}  // namespace np::kernel
