// SPDX-License-Identifier: Apache-2.0
// status, drain, detach.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "client.h"
#include "commands.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

void print_value(const std::string& name, const std::string& value) {
  constexpr size_t kColumn = 14;
  std::string text = name + ":";
  text.append(text.size() < kColumn ? kColumn - text.size() : 1, ' ');
  print(text + value + "\n");
}

void print_status(const Json& status) {
  const uint64_t uptime = status.value("uptime_seconds", uint64_t{0});
  print_value("Version", status.value("version", ""));
  print_value("Instance", status.value("instance", ""));
  print_value("PID", std::to_string(status.value("pid", 0)));
  print_value("Uptime", age_text(0, uptime * kNanosecondsPerSecond));
  print_value("Generation", std::to_string(status.value("generation", uint64_t{0})));
  print_value("Objects", std::to_string(status.value("objects", uint64_t{0})));
  print_value("Pods", std::to_string(status.value("pods", uint64_t{0})));
  print_value("Shards", std::to_string(status.value("shards", 0U)));
  print_value("Capture", status.value("capture", false) ? "on" : "off (--no-capture)");
  print_value("Acceleration", status.value("acceleration", ""));
  if (const auto load = status.find("overload"); load != status.end() && load->is_object()) {
    print_value("Memory", load->value("text", ""));
    const uint64_t late = load->value("late_shards", uint64_t{0});
    print_value("Load", late == 0 ? "in time" : std::to_string(late) + " shards run late");
    const uint64_t aborts = load->value("watchdog_aborts", uint64_t{0});
    if (aborts > 0) print_value("Watchdog", std::to_string(aborts) + " workers replaced");
  }
  const std::string problem = status.value("listener_problem", "");
  if (!problem.empty()) print_value("Listeners", problem);
  const uint64_t unexpected = status.value("unexpected", uint64_t{0});
  if (unexpected > 0) print_value("Unexpected", std::to_string(unexpected) + " (see the log)");
  if (!status["probe"].empty()) print("Probe:\n");
  for (const Json& line : status["probe"]) print("  " + line.get<std::string>() + "\n");
  if (status["counters"].empty()) return;
  Table counters({"COUNTER", "VALUE"});
  for (const auto& [name, value] : status["counters"].items()) {
    counters.add({name, std::to_string(value.get<uint64_t>())});
  }
  print("\n" + counters.to_string());
}

void print_manual_detach() {
  std::fprintf(stderr,
               "To stop capturing without a daemon, as root:\n"
               "  rm -r /sys/fs/bpf/nodeproxy/v*/links   # Linux 6.6 and later: programs detach\n"
               "  tc qdisc del dev VETH clsact           # before: once per pod's interface\n"
               "With --instance NAME the pins are below /sys/fs/bpf/NAME.\n");
}

}  // namespace

int run_status(const Invocation& invocation) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "status"}}, answer)) return kExitFailed;
  answer.erase("ok");
  if (invocation.output == Output::kJson) {
    print(answer.dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer));
  } else {
    print_status(answer);
  }
  return kExitDone;
}

int run_drain(const Invocation& invocation) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "drain"}}, answer)) return kExitFailed;
  print("draining: the daemon ends when its connections have, or after --drain-time\n");
  return kExitDone;
}

int run_detach(const Invocation& invocation) {
  auto answer = ask(invocation.run_dir, {{"verb", "detach"}});
  if (!answer) {
    complain("error: " + answer.error().to_string());
    print_manual_detach();
    return kExitFailed;
  }
  if (!answer->value("ok", false)) {
    complain("error: " + answer->value("error", "refused"));
    return kExitFailed;
  }
  print("detached: new connections of every pod go direct\n");
  return kExitDone;
}

}  // namespace np::nodectl
