// SPDX-License-Identifier: Apache-2.0
#include "overload/memory_watch.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "base/memory_text.h"

namespace np::overload {
namespace {

constexpr size_t kFileBytesMax = 8192;  // of memory.stat, the longest of them

std::string read_again(const Fd& file) {
  std::array<char, kFileBytesMax> text;
  const ssize_t size = file.is_open() ? ::pread(file.get(), text.data(), text.size(), 0) : 0;
  return {text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

// The second number of /proc/self/statm, in pages.
uint64_t resident_bytes(const std::string& statm) {
  const size_t second = statm.find(' ');
  uint64_t pages = 0;
  if (second == std::string::npos) return 0;
  std::from_chars(statm.data() + second + 1, statm.data() + statm.size(), pages);
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

Fd open_to_read(const std::string& path) {
  return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

const char* effect_of(MemoryStage stage) {
  switch (stage) {
    case MemoryStage::kNormal:
      return "everything is served again";
    case MemoryStage::kDrain:
      return "connections are not kept alive, idle ones are closed";
    case MemoryStage::kRefuse:
      return "new requests get 503, nothing is accepted";
    case MemoryStage::kReset:
      return "the exchanges that hold most are ended";
  }
  return "";
}

}  // namespace

Result<std::unique_ptr<MemoryWatch>> MemoryWatch::create(const MemoryWatchOptions& options) {
  MemoryLimit limit;
  if (options.limit_bytes != 0) {
    limit.bytes = options.limit_bytes;
    limit.source = "--memory-limit";
  } else {
    limit = find_memory_limit(options.files);
  }
  std::unique_ptr<MemoryWatch> watch(new MemoryWatch(options, std::move(limit)));
  const std::string statm = options.files.proc + "/self/statm";
  watch->statm_ = open_to_read(statm);
  if (!watch->statm_.is_open()) return system_error(errno, "open " + statm);
  if (const MemoryLimit& found = watch->limit_; !found.directory.empty()) {
    const char* const usage = found.is_v1 ? "/memory.usage_in_bytes" : "/memory.current";
    // Not there: the process's own memory is all that is known then.
    watch->usage_ = open_to_read(found.directory + usage);
    watch->stat_ = open_to_read(found.directory + "/memory.stat");
  }
  (void)watch->look(monotonic_now());
  return watch;
}

MemoryWatch::MemoryWatch(const MemoryWatchOptions& options, MemoryLimit limit)
    : thresholds_(options.thresholds),
      limit_(std::move(limit)),
      life_(options.life),
      gate_(options.thresholds.value_or(MemoryThresholds())) {
  state_.limit_bytes = limit_.bytes;
  state_.limit_source = limit_.source;
  state_.thresholds = thresholds_;
}

MemoryWatch::~MemoryWatch() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  stop_wanted_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MemoryWatch::start() {
  log_info("memory limit: " +
           (limit_.bytes == 0 ? "none found" : bytes_text(limit_.bytes) + ", " + limit_.source) +
           (thresholds_ ? "" : "; its thresholds are off"));
  trend_ = {};  // what the process was built from is no trend
  thread_ = std::thread(&MemoryWatch::run, this);
}

void MemoryWatch::run() {
  (void)::pthread_setname_np(::pthread_self(), "np-memory");
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    lock.unlock();
    const Duration pause = look(monotonic_now());
    lock.lock();
    (void)stop_wanted_.wait_for(lock, pause, [this] { return is_stopping_; });
  }
}

uint64_t MemoryWatch::used_bytes() const {
  const uint64_t resident = resident_bytes(read_again(statm_));
  if (!usage_.is_open()) return resident;
  return std::max(resident, working_set(read_again(usage_), read_again(stat_), limit_.is_v1));
}

// Where it may gain something now, and was not done just before.
bool MemoryWatch::wants_trim(uint64_t used, Instant now) const {
  if (!thresholds_ || now < trim_at_) return false;
  return gate_.stage() > MemoryStage::kNormal ||
         gate_.would_rise(used, trend_.used_after(kLookAhead), limit_.bytes);
}

void MemoryWatch::trim(Instant now) {
  const Instant begin = monotonic_now();
  (void)::malloc_trim(0);
  trim_takes_ = monotonic_now() - begin;
  const bool is_pressing = gate_.stage() == MemoryStage::kReset;
  trim_at_ = now + std::max(is_pressing ? kTrimEveryAtReset : kTrimEvery, kTrimShare * trim_takes_);
}

// While a trim runs nobody looks, and the shards go on: it must not end at the limit.
bool MemoryWatch::may_fill_up(uint64_t soon) const {
  constexpr uint64_t kAll = 100;
  return thresholds_ && soon >= limit_.bytes / kAll * thresholds_->percent.back();
}

Duration MemoryWatch::look(Instant now) {
  uint64_t used = used_bytes();
  trend_.on_sample(used, now);
  const uint64_t rises = trend_.used_after(kLookAhead) - used;
  const bool is_trimmed = wants_trim(used, now);
  if (is_trimmed) {
    const uint64_t soon = trend_.used_after(kLookAhead + std::max(trim_takes_, kTrimTakes));
    if (may_fill_up(soon)) decide(used, soon, now, false);
    trim(now);
    used = used_bytes();
  }
  decide(used, used + rises, now, is_trimmed);
  return pause_after(used);
}

// `soon`: what will be in use by the time that the shards have acted on this.
void MemoryWatch::decide(uint64_t used, uint64_t soon, Instant now, bool is_trimmed) {
  const MemoryStage before = gate_.stage();
  const MemoryStage stage = thresholds_ ? gate_.look(used, soon, limit_.bytes, now) : before;
  constexpr uint64_t kKibibyte = 1024;
  const uint64_t excess = gate_.excess(used, limit_.bytes) / kKibibyte;
  // What was ended counts as used until the next trim: none are ended again for it.
  const bool is_news = is_trimmed || stage != before || stage < MemoryStage::kReset;
  if (is_news) ++looks_;
  signal_.publish({stage, looks_, static_cast<uint32_t>(std::min<uint64_t>(excess, UINT32_MAX))});
  MemoryState told;
  {
    const std::lock_guard lock(mutex_);
    state_.used_bytes = used;
    state_.bytes_per_second = trend_.rate();
    state_.stage = stage;
    if (stage != before) state_.since = now;
    told = state_;
  }
  if (stage == before) return;
  count(stage);
  tell(before, told);
}

Duration MemoryWatch::pause_after(uint64_t used) const {
  constexpr uint64_t kAll = 100;
  const uint32_t first = thresholds_ ? thresholds_->percent.front() : kAll;
  const uint64_t near = limit_.bytes / kAll * (first - std::min(first, kNearPercent));
  const uint64_t soon = std::max(used, trend_.used_after(kLookAhead + kLookFar));
  const bool is_near = thresholds_ && limit_.bytes != 0 && soon >= near;
  return is_near ? kLookNear : kLookFar;
}

void MemoryWatch::count(MemoryStage begun) const {
  if (life_ == nullptr) return;
  uint64_t& counter = life_->stages_begun[static_cast<size_t>(begun)];
  write_word(counter, read_word(counter) + 1);
}

void MemoryWatch::tell(MemoryStage before, const MemoryState& now) const {
  constexpr uint64_t kWorthTelling = uint64_t{1} << 20;
  const uint64_t rising = now.bytes_per_second < kWorthTelling ? 0 : now.bytes_per_second;
  const std::string text =
      "memory: " + memory_use_text(now.used_bytes, now.limit_bytes, now.limit_source) +
      (rising == 0 ? "" : ", rising by " + bytes_text(rising) + "/s") + ": stage \"" +
      name_of(before) + "\" becomes \"" + name_of(now.stage) + "\", " + effect_of(now.stage);
  if (now.stage > before) {
    log_warn(text);
  } else {
    log_info(text);
  }
}

MemoryState MemoryWatch::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

}  // namespace np::overload
