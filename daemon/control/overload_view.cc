// SPDX-License-Identifier: Apache-2.0
#include "control/overload_view.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/memory_text.h"

namespace np::control {
namespace {

using Level = Check::Level;

std::string seconds_text(Duration duration) {
  constexpr int64_t kMsPerSecond = 1000;
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (ms % kMsPerSecond != 0) return std::to_string(ms) + "ms";
  return std::to_string(ms / kMsPerSecond) + "s";
}

std::string memory_text(const OverloadStatus& status) {
  return memory_use_text(status.memory_used_bytes, status.memory_limit_bytes,
                         status.memory_limit_source);
}

const char* effect_of(MemoryStage stage) {
  switch (stage) {
    case MemoryStage::kNormal:
      return "";
    case MemoryStage::kDrain:
      return "; connections are not kept alive";
    case MemoryStage::kRefuse:
      return "; new requests get 503 (flag OM), nothing is accepted";
    case MemoryStage::kReset:
      return "; new requests get 503 (flag OM), nothing is accepted, the largest exchanges are "
             "ended";
  }
  return "";
}

Check check_memory(const OverloadStatus& status) {
  Check check;
  check.area = "overload";
  check.subject = "memory";
  check.found = memory_text(status) + effect_of(status.stage);
  if (status.memory_thresholds == "off") check.found += "; --overload-memory is off";
  if (status.stage == MemoryStage::kNormal) return check;
  check.level = status.stage == MemoryStage::kDrain ? Level::kWarn : Level::kFail;
  check.remedy =
      "raise the limit (--memory-limit, or the memory limit of the DaemonSet), or take pods off "
      "this node; these commands show who has the most connections and buffers";
  check.commands = {"nodectl top connections", "nodectl top pods"};
  return check;
}

Check check_load(const OverloadStatus& status) {
  Check check;
  check.area = "overload";
  check.subject = "load";
  if (status.lag_limit <= Duration::zero()) {
    check.found = "not looked at (--overload-lag 0s)";
    return check;
  }
  const std::string limit = " (--overload-lag " + seconds_text(status.lag_limit) + ")";
  if (status.late_shards == 0) {
    check.found = "the loops of all shards are in time" + limit;
    return check;
  }
  check.level = Level::kWarn;
  check.found = std::to_string(status.late_shards) +
                (status.late_shards == 1 ? " shard runs late" : " shards run late") + limit +
                "; new connections go to others, and are refused when all are late";
  check.remedy =
      "give the daemon more CPU (its cgroup's limit, --workers), or take pods off this node";
  check.commands = {"nodectl top pods"};
  return check;
}

Check check_watchdog(const OverloadStatus& status) {
  Check check;
  check.area = "overload";
  check.subject = "watchdog";
  if (status.watchdog <= Duration::zero()) check.found = "off (--watchdog 0s)";
  if (status.watchdog > Duration::zero()) {
    check.found = "no worker had to be replaced (--watchdog " + seconds_text(status.watchdog) + ")";
  }
  if (status.watchdog_aborts == 0) return check;
  check.level = Level::kWarn;
  check.found = std::to_string(status.watchdog_aborts) +
                " so far: workers that were aborted and replaced because a shard hung";
  check.remedy =
      "report it with the lines of the daemon's log that say \"watchdog\", and the core "
      "(coredumpctl); a worker that somebody stopped by a signal is no fault";
  return check;
}

}  // namespace

Json view_overload(const Seams& seams) {
  if (seams.overload == nullptr) return nullptr;
  const OverloadStatus status = seams.overload->overload();
  return {{"memory_stage", name_of(status.stage)},
          {"memory_used_bytes", status.memory_used_bytes},
          {"memory_limit_bytes", status.memory_limit_bytes},
          {"memory_limit_source", status.memory_limit_source},
          {"memory_thresholds", status.memory_thresholds},
          {"memory_stage_seconds",
           std::chrono::duration_cast<std::chrono::seconds>(status.stage_age).count()},
          {"late_shards", status.late_shards},
          {"requests_refused", status.requests_refused},
          {"requests_ended", status.requests_ended},
          {"connections_shed", status.connections_shed},
          {"watchdog_aborts", status.watchdog_aborts},
          {"text", memory_text(status) + ", stage " + name_of(status.stage)}};
}

std::vector<Check> check_overload(const Seams& seams) {
  if (seams.overload == nullptr) return {};
  const OverloadStatus status = seams.overload->overload();
  return {check_memory(status), check_load(status), check_watchdog(status)};
}

std::string overload_note(const Seams& seams) {
  if (seams.overload == nullptr) return {};
  const OverloadStatus status = seams.overload->overload();
  if (status.stage >= MemoryStage::kRefuse) {
    return "a new request gets 503 now, flag OM: memory is nearly used up (nodectl doctor)";
  }
  return {};
}

}  // namespace np::control
