// SPDX-License-Identifier: Apache-2.0
#include "control/doctor_view.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/printable.h"
#include "control/acceleration_view.h"
#include "control/overload_view.h"
#include "control/verbs.h"

namespace np::control {
namespace {

using Level = Check::Level;

constexpr std::string_view kMissingRow = "missing";

Check make(std::string area, Level level, std::string subject, std::string found,
           std::string remedy = {}, std::vector<std::string> commands = {}) {
  Check check;
  check.area = std::move(area);
  check.level = level;
  check.subject = std::move(subject);
  check.found = std::move(found);
  check.remedy = std::move(remedy);
  check.commands = std::move(commands);
  return check;
}

uint64_t counter(const std::vector<NamedCounter>& counters, std::string_view name) {
  const auto at =
      std::find_if(counters.begin(), counters.end(),
                   [name](const NamedCounter& candidate) { return candidate.name == name; });
  return at == counters.end() ? 0 : at->value;
}

// ---- pods -----------------------------------------------------------------------------------

std::string pod_add_command(const PodRegistration& pod) {
  std::string command = "nodectl -n " + shell_word(pod.ns) + " pod add " + shell_word(pod.name);
  for (size_t i = 0; i < pod.ips.size(); ++i) {
    command += (i == 0 ? " --ip " : ",") + pod.ips[i].to_string();
  }
  command += " --ifname " + shell_word(pod.ifname);
  std::string labels;
  for (const auto& [name, value] : pod.labels) {
    if (!labels.empty()) labels += ',';
    labels += name;
    labels += '=';
    labels += value;
  }
  return labels.empty() ? command : command + " -l " + shell_word(labels);
}

std::string pod_remove_command(const PodReport& pod) {
  return "nodectl -n " + shell_word(pod.ns) + " pod remove " + shell_word(pod.name);
}

// "2026-01-31T12:00:00Z"
std::string time_text(uint64_t unix_ns) {
  constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;
  const auto seconds = static_cast<time_t>(unix_ns / kNanosecondsPerSecond);
  tm broken{};
  ::gmtime_r(&seconds, &broken);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken)};
}

Check check_pod(const Controller& controller, const PodReport& pod) {
  const std::string subject = pod.ns + "/" + pod.name;
  if (pod.status == "captured") {
    return make("pods", Level::kOk, subject,
                "captured by " + pod.hook + " on " + pod.ifname + " since " +
                    time_text(pod.captured_since_unix_ns) + "; what it opened before goes direct");
  }
  const PodRegistration* known = controller.pods().find(pod.ns, pod.name);
  if (known == nullptr) {
    return make("pods", Level::kWarn, subject, "not captured: " + pod.status,
                "its calls go direct; only a pod with a veth of its own can be captured");
  }
  if (known->detached) {
    return make("pods", Level::kWarn, subject, "not captured: `nodectl detach --all` ended that",
                "restart nodeproxyd, then register the pod again", {pod_add_command(*known)});
  }
  const bool is_gone = pod.status.find(" is gone") != std::string::npos ||
                       pod.status.find(" not found") != std::string::npos;
  if (is_gone) {
    return make("pods", Level::kFail, subject, "not captured: " + pod.status,
                "forget the pod; if it came back, register it with its new interface",
                {pod_remove_command(pod)});
  }
  return make("pods", Level::kFail, subject, "not captured as it should be: " + pod.status,
              "register the pod again", {pod_add_command(*known)});
}

Json to_json(const Check& check) {
  return {{"area", check.area},   {"level", to_text(check.level)}, {"subject", check.subject},
          {"found", check.found}, {"remedy", check.remedy},        {"commands", check.commands}};
}

}  // namespace

std::vector<Check> check_daemon(const Controller& controller, const Seams& seams,
                                const DaemonInfo& info) {
  std::vector<Check> checks;
  checks.push_back(make("daemon", Level::kOk, "nodeproxyd",
                        "version " + info.version + ", instance " + info.instance + ", worker " +
                            std::to_string(::getpid()) + ", " + std::to_string(info.shards) +
                            (info.shards == 1 ? " shard" : " shards")));
  const std::string& listeners = controller.listener_problem();
  if (!listeners.empty()) {
    checks.push_back(make("daemon", Level::kFail, "gateway listeners", listeners,
                          "free the address (ss -ltnp says who has it), then apply the Gateway "
                          "again; a restart of nodeproxyd tries again, too"));
  }
  const uint64_t unexpected = g_unexpected_count.load(std::memory_order_relaxed);
  if (unexpected > 0) {
    checks.push_back(make("daemon", Level::kWarn, "unexpected events",
                          std::to_string(unexpected) + " so far: a fault of nodeproxyd's own",
                          "report it, with the lines of its log that say \"unexpected\""));
  }
  if (seams.attacher == nullptr) {
    checks.push_back(
        make("daemon", Level::kOk, "capture", "off: it was started so (--no-capture)"));
  }
  if (seams.counters == nullptr) return checks;
  for (const std::string& row : seams.counters->probe_report()) {
    const bool is_missing = row.starts_with(kMissingRow);
    const size_t text = row.find_first_not_of(' ', row.find(' '));
    const size_t colon = row.find(':');
    if (colon == std::string::npos) continue;
    const bool has_verdict = is_missing || row.starts_with("ok ") || row.starts_with("low ");
    const size_t begin = has_verdict ? text : 0;
    const size_t found = std::min(row.find_first_not_of(' ', colon + 1), row.size());
    checks.push_back(
        make("kernel", is_missing ? Level::kWarn : Level::kOk, row.substr(begin, colon - begin),
             row.substr(found),
             is_missing ? "nothing has to be done: what is said is used instead" : ""));
  }
  return checks;
}

std::vector<Check> check_node(const Controller& controller, const Seams& seams) {
  if (seams.inspector == nullptr) return {};
  auto inspected = seams.inspector->inspect();
  if (!inspected) {
    return {make("kernel", Level::kFail, "supervisor", inspected.error().to_string(),
                 "its log says more; a restart of nodeproxyd brings a new one")};
  }
  std::vector<Check> checks = std::move(inspected).value();
  const std::vector<PodReport> pods = controller.pods().reports(controller.model());
  for (Check& check : checks) {
    if (check.pod_id == 0) continue;
    for (const PodReport& pod : pods) {
      const PodRegistration* known = controller.pods().find(pod.ns, pod.name);
      if (pod.id == check.pod_id && known != nullptr) check.commands = {pod_add_command(*known)};
    }
  }
  return checks;
}

std::vector<Check> check_pods(const Controller& controller, const Seams& seams,
                              const std::vector<Check>& node) {
  std::vector<Check> checks;
  size_t elsewhere = 0;
  for (const PodReport& pod : controller.pods().reports(controller.model())) {
    const bool is_told = std::any_of(node.begin(), node.end(), [&pod](const Check& check) {
      return pod.id != 0 && check.pod_id == pod.id && check.level == Level::kFail;
    });
    if (pod.status == "not registered here") {
      ++elsewhere;
    } else if (!is_told && seams.attacher != nullptr) {
      checks.push_back(check_pod(controller, pod));
    }
  }
  if (elsewhere > 0) {
    checks.push_back(
        make("pods", Level::kOk, "elsewhere",
             std::to_string(elsewhere) +
                 " known pods were not registered here (nodectl pod add): other nodes'"));
  }
  if (seams.attacher == nullptr || seams.counters == nullptr) return checks;
  const uint64_t late = counter(seams.counters->counters(), "bypass_midflow");
  checks.push_back(make("pods", Level::kOk, "older connections",
                        late == 0 ? "none was seen that began before its pod or policy was known"
                                  : std::to_string(late) +
                                        " segments so far of connections that began before their "
                                        "policy: these go direct until they end"));
  return checks;
}

Json view_doctor(const Controller& controller, const Seams& seams, const DaemonInfo& info) {
  Json list = Json::array();
  const auto add = [&list](const std::vector<Check>& checks) {
    for (const Check& check : checks) list.push_back(to_json(check));
  };
  const std::vector<Check> node = check_node(controller, seams);
  add(check_daemon(controller, seams, info));
  add(check_overload(seams));
  add(node);
  add(check_pods(controller, seams, node));
  add(check_acceleration(controller, seams.acceleration));
  add(check_policy(controller));
  return {{"ok", true}, {"checks", std::move(list)}};
}

}  // namespace np::control
