// SPDX-License-Identifier: Apache-2.0
// Hooks, and the worker's signs of life.
#include "kernel/node_checks.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/time.h"
#include "kernel/hook_chain.h"
#include "kernel/sysctl.h"

namespace np::kernel {

namespace {

using control::Check;
using Level = Check::Level;

constexpr const char* kRestart = "restart nodeproxyd";
constexpr Duration kBeatPeriod = std::chrono::milliseconds(300);  // it beats every 250 ms or sooner
constexpr double kStartSeconds = 5;                               // a worker needs less than one

std::string describe(const std::vector<ChainEntry>& chain) {
  std::string text;
  for (const ChainEntry& entry : chain) text += (text.empty() ? "" : ", ") + to_text(entry);
  return text.empty() ? "nothing" : text;
}

// How a program of ours stands in a chain.
struct Standing {
  bool is_attached = false;
  bool is_current = false;  // not what an earlier start left there
  std::vector<ChainEntry> ahead;
  std::vector<ChainEntry> xdp;
};

Standing standing_of(const std::vector<ChainEntry>& chain, const char* name, uint32_t id) {
  Standing standing;
  for (const ChainEntry& entry : chain) {
    if (entry.kind == ChainEntry::Kind::kXdp) {
      standing.xdp.push_back(entry);
      continue;
    }
    if (entry.name != name) {
      standing.ahead.push_back(entry);
      continue;
    }
    standing.is_attached = true;
    standing.is_current = id == 0 || entry.program_id == id;
    return standing;
  }
  standing.ahead.clear();
  return standing;
}

// Nothing: the program is where it should be.
std::string problem_of(const Standing& standing, const std::string& name, const std::string& side) {
  if (!standing.is_attached) return name + " is not attached to " + side;
  if (!standing.ahead.empty()) {
    return "on " + side + " " + describe(standing.ahead) + " runs before " + name;
  }
  if (!standing.is_current) return side + " has another " + name + " than the one that is pinned";
  return "";
}

Check hook_check(Level level, std::string subject, std::string found) {
  Check check;
  check.level = level;
  check.area = "hooks";
  check.subject = std::move(subject);
  check.found = std::move(found);
  return check;
}

void check_pod(const NodeView& view, const PodRecord& pod, Checks& checks) {
  const std::string subject = pod.request.name + " on " + pod.request.ifname;
  const std::vector<ChainEntry> in = read_chain(pod.ifindex, HookSide::kIngress);
  const std::vector<ChainEntry> out = read_chain(pod.ifindex, HookSide::kEgress);
  const Standing standing_in = standing_of(in, "np_pod_in", view.program(Program::kPodIn));
  const Standing standing_out = standing_of(out, "np_pod_out", view.program(Program::kPodOut));
  const std::string problem_in = problem_of(standing_in, "np_pod_in", "ingress");
  const std::string problem_out = problem_of(standing_out, "np_pod_out", "egress");
  if (problem_in.empty() && problem_out.empty()) {
    checks.push_back(
        hook_check(Level::kOk, subject, "ingress: " + describe(in) + "; egress: " + describe(out)));
  }
  for (const std::string& problem : {problem_in, problem_out}) {
    if (problem.empty()) continue;
    Check check = hook_check(Level::kFail, subject, problem);
    check.remedy = "register the pod again (nodectl pod add): our programs come to the head";
    check.pod_id = pod.request.pod_id;
    checks.push_back(std::move(check));
  }
  if (standing_in.xdp.empty()) return;
  Check check = hook_check(Level::kWarn, subject,
                           describe(standing_in.xdp) + " sees the pod's packets first");
  check.remedy = "XDP halves a pod's throughput, and what it drops is never captured";
  check.commands = {"ip link set dev " + pod.request.ifname + " xdp off"};
  checks.push_back(std::move(check));
}

void check_one(const std::string& subject, const std::vector<ChainEntry>& chain, const char* name,
               uint32_t id, Checks& checks) {
  const std::string problem = problem_of(standing_of(chain, name, id), name, "it");
  if (problem.empty()) {
    checks.push_back(hook_check(Level::kOk, subject, describe(chain)));
    return;
  }
  Check check = hook_check(Level::kFail, subject, problem);
  check.remedy = std::string(kRestart) + ": it attaches " + name + " anew, at the head";
  checks.push_back(std::move(check));
}

struct WorkerProcess {
  char state = ' ';  // of /proc/PID/stat: "T" is stopped; a blank: there is no such worker
  double age_seconds = 0;
};

// Nobody shall be told to kill a process that is none of ours: the number is the worker's to write.
WorkerProcess look_at_worker(uint32_t pid) {
  constexpr size_t kStartTime = 19;  // proc(5): field 22, counted from the state
  const std::string directory = "/proc/" + std::to_string(pid);
  WorkerProcess worker;
  std::ifstream cmdline(directory + "/cmdline");
  std::string name;
  std::getline(cmdline, name, '\0');
  if (name != "nodeproxyd") return worker;
  std::ifstream file(directory + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t end = text.rfind(')');  // the name before it may hold anything
  if (end == std::string::npos) return worker;
  std::istringstream fields(text.substr(end + 1));
  fields >> worker.state;
  uint64_t ticks = 0;
  std::string skipped;
  for (size_t i = 1; i < kStartTime; ++i) fields >> skipped;
  fields >> ticks;
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  worker.age_seconds = static_cast<double>(now.tv_sec) -
                       static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return worker;
}

std::string seconds_text(uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f s", static_cast<double>(ns) / 1e9);
  return text;
}

Check life_check(Level level, std::string subject, std::string found, std::string remedy = {}) {
  Check check;
  check.level = level;
  check.area = "heartbeat";
  check.subject = std::move(subject);
  check.found = std::move(found);
  check.remedy = std::move(remedy);
  return check;
}

// A worker that was stopped until now answers before its shards have had their turn.
bool beats_within_its_period(const NodeView& view) {
  const int map = view.map(Map::kLive);
  np_live live{};
  const uint32_t zero = 0;
  if (map < 0) return false;
  std::this_thread::sleep_for(kBeatPeriod);
  return map_lookup(map, &zero, &live) == 0 && live.heartbeat_ns > view.live.heartbeat_ns;
}

void check_heartbeat(const NodeView& view, Checks& checks) {
  const uint64_t now = to_ns(monotonic_now());
  const uint64_t beat = view.live.heartbeat_ns;
  const uint64_t age = now > beat ? now - beat : 0;
  const uint32_t pid = view.live.daemon_pid;
  const std::string worker = "worker " + std::to_string(pid);
  const std::string since = beat == 0 ? "no sign of life ever"
                                      : "the last sign of life was " + seconds_text(age) + " ago";
  if (beat != 0 && age <= view.config.hb_timeout_ns) {
    checks.push_back(life_check(Level::kOk, worker, since));
    return;
  }
  const std::string effect = "; new connections follow their fail mode";
  const WorkerProcess process = look_at_worker(pid);
  const char state = process.state;
  if (state == ' ' || state == 'Z') {
    checks.push_back(life_check(Level::kFail, "worker", "there is none: " + since + effect,
                                "start nodeproxyd; its log says why it ended"));
    return;
  }
  const bool is_stopped = state == 'T' || state == 't';
  if (!is_stopped && process.age_seconds < kStartSeconds) {
    checks.push_back(life_check(Level::kWarn, worker, "it is starting: " + since + effect,
                                "ask again in a few seconds"));
    return;
  }
  if (!is_stopped && beats_within_its_period(view)) {
    checks.push_back(life_check(Level::kOk, worker, "it beats again, after " + seconds_text(age)));
    return;
  }
  Check check = life_check(Level::kFail, worker,
                           (is_stopped ? "it is stopped: " : "it hangs: ") + since + effect);
  if (!is_stopped) check.remedy = "end it: its supervisor starts another at once";
  check.commands = {std::string(is_stopped ? "kill -CONT " : "kill -KILL ") + std::to_string(pid)};
  checks.push_back(std::move(check));
}

void check_flags(const NodeView& view, Checks& checks) {
  const uint32_t flags = view.live.flags;
  if ((flags & NP_LIVE_KILLSWITCH) != 0) {
    checks.push_back(life_check(Level::kWarn, "killswitch",
                                "it is set: every new connection goes direct",
                                "`nodectl detach` sets it; " + std::string(kRestart)));
  }
  if ((flags & NP_LIVE_DRAIN) != 0) {
    checks.push_back(life_check(Level::kWarn, "drain",
                                "the daemon is leaving: new connections follow their fail mode",
                                "start nodeproxyd when it has ended"));
  }
  if ((flags & NP_LIVE_OVERLOAD) != 0) {
    checks.push_back(life_check(
        Level::kWarn, "overload", "the daemon sheds load: new connections follow their fail mode",
        "see area overload; where that is ok, raise its limit of open files (LimitNOFILE, ulimit "
        "-n) or take pods off this node"));
  }
}

void check_listeners(const NodeView& view, Checks& checks) {
  const int map = view.map(Map::kListeners);
  if (map < 0) return;
  size_t filled = 0;
  for (uint32_t slot = 0; slot < NP_LISTENERS_MAX; ++slot) {
    uint64_t cookie = 0;
    if (map_lookup(map, &slot, &cookie) == 0) ++filled;
  }
  const size_t wanted = std::max<size_t>(view.listeners, 1);
  const std::string found = std::to_string(filled) + " of " +
                            std::to_string(std::max(filled, wanted)) + " slots have a listener";
  if (filled >= wanted) {
    checks.push_back(life_check(Level::kOk, "listeners", found));
    return;
  }
  checks.push_back(life_check(Level::kFail, "listeners",
                              found + "; new connections of the others follow their fail mode",
                              view.by_supervisor ? kRestart : "start nodeproxyd"));
}

}  // namespace

void check_hooks(const NodeView& view, Checks& checks) {
  for (const PodRecord& pod : view.pods) {
    if (pod.is_attached) check_pod(view, pod, checks);
  }
  if (view.np0_ifindex == 0) {
    Check check = hook_check(Level::kFail, view.names.np0, "the interface is not there");
    check.remedy = std::string(kRestart) + ": it makes interface and namespace anew";
    checks.push_back(std::move(check));
  } else {
    check_one(view.names.np0 + " ingress", read_chain(view.np0_ifindex, HookSide::kIngress),
              "np_ret_in", view.program(Program::kRetIn), checks);
  }
  if (view.proxy_netns >= 0) {
    check_one("namespace " + view.names.instance, read_lookup_chain(view.proxy_netns), "np_pick",
              view.program(Program::kPick), checks);
  }
}

void check_life(const NodeView& view, Checks& checks) {
  check_heartbeat(view, checks);
  check_listeners(view, checks);
  check_flags(view, checks);
}

Checks check_kernel() {
  Checks checks;
  utsname name{};
  ::uname(&name);
  Check release;
  release.area = "kernel";
  release.subject = "release";
  release.found = std::string("Linux ") + name.release + (has_tcx() ? ", with tcx" : ", no tcx");
  checks.push_back(std::move(release));
  const std::optional<std::string> disabled = read_sysctl("kernel/io_uring_disabled");
  if (!disabled || *disabled != "2") return checks;
  Check ring;
  ring.level = Level::kFail;
  ring.area = "kernel";
  ring.subject = "kernel.io_uring_disabled";
  ring.found = "it is 2: the next worker cannot start";
  ring.commands = {"sysctl -w kernel.io_uring_disabled=0"};
  checks.push_back(std::move(ring));
  return checks;
}

Checks check_node(const NodeView& view) {
  Checks checks = check_kernel();
  if (view.pin_root.empty()) {
    Check nothing;
    nothing.area = "pins";
    nothing.subject = view.names.pin_base;
    nothing.found = "nothing is pinned: no traffic is captured";
    checks.push_back(std::move(nothing));
    return checks;
  }
  const bool is_elsewhere = !view.by_supervisor && view.np0_ifindex == 0;
  if (is_elsewhere) {
    Check check =
        hook_check(Level::kFail, view.names.np0, "the interface is not in this network namespace");
    check.remedy = "ask again in the node's own namespace; if this is it, start nodeproxyd";
    checks.push_back(std::move(check));
  } else {
    check_hooks(view, checks);
  }
  if (!is_elsewhere) check_guards(view, checks);
  check_pins(view, checks);
  if (view.config.abi == NP_ABI_VERSION) check_life(view, checks);
  if (!is_elsewhere) check_settings(view, checks);
  return checks;
}

std::vector<std::string> inspect_instance(const std::string& instance, const std::string& bpffs) {
  std::vector<std::string> lines;
  Result<NodeView> view = view_pins(instance, bpffs);
  Checks checks;
  if (view) {
    checks = check_node(*view);
  } else {
    Check check;
    check.level = Level::kFail;
    check.area = "pins";
    check.subject = instance;
    check.found = view.error().to_string();
    check.remedy = "nodectl doctor --instance NAME says whose state is meant";
    checks.push_back(std::move(check));
  }
  for (const Check& check : checks) lines.push_back(to_line(check));
  return lines;
}

}  // namespace np::kernel
