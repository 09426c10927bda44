// SPDX-License-Identifier: Apache-2.0
// acceleration: what this kernel could do; acceleration test: look anew. The daemon has its
// supervisor look; when no daemon answers, root has `nodeproxyd --test-acceleration` do it.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "client.h"
#include "commands.h"
#include "control/acceleration.h"
#include "daemon_program.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr auto kLookEvery = std::chrono::milliseconds(100);
// Longer than the supervisor lets a test run.
constexpr auto kPatience = std::chrono::seconds(40);

void print_table(const Json& answer) {
  const std::string kernel = answer.value("kernel", "");
  std::string asked;
  for (const Json& object : answer["policies"]) {
    asked += (asked.empty() ? "" : ", ") + object.get<std::string>();
  }
  print("Acceleration: " + answer.value("text", "") + "\n");
  print("Kernel:       " + (kernel.empty() ? "<none>" : kernel) + "\n");
  print("Asked by:     " + (asked.empty() ? "<none>" : asked) + "\n");
  if (answer["results"].empty()) return;
  Table table({"CHECK", "RESULT", "SEEN"});
  for (const Json& result : answer["results"]) {
    table.add({result.value("name", ""), result.value("passed", false) ? "passed" : "failed",
               result.value("seen", "")});
  }
  print("\n" + table.to_string());
}

void print_answer(const Invocation& invocation, Json answer) {
  answer.erase("ok");
  if (invocation.output == Output::kJson) {
    print(answer.dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer));
  } else {
    print_table(answer);
  }
}

// In the form of the daemon's answer.
std::optional<Json> look_without_daemon() {
  const auto report =
      control::parse_acceleration_report(output_of(daemon_program(), {"--test-acceleration"}));
  if (!report) return std::nullopt;
  Json results = Json::array(), reasons = Json::array();
  for (const control::DangerResult& result : report->results) {
    results.push_back({{"name", result.name},
                       {"passed", result.passed},
                       {"promise", result.promise},
                       {"seen", result.seen}});
    if (!result.passed) reasons.push_back(result.name);
  }
  return Json{{"state", report->is_possible() ? "possible" : "refused"},
              {"text", control::verdict_of(*report)},
              {"asked", false},
              {"policies", Json::array()},
              {"kernel", report->release},
              {"reasons", std::move(reasons)},
              {"problem", report->problem},
              {"results", std::move(results)}};
}

std::optional<Json> wait_for_report(const Invocation& invocation) {
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    Json answer;
    if (!ask_or_complain(invocation.run_dir, {{"verb", "acceleration"}}, answer)) {
      return std::nullopt;
    }
    const std::string state = answer.value("state", "");
    if (state != "testing" && state != "untested") return answer;
    if (std::chrono::steady_clock::now() > limit) break;
    std::this_thread::sleep_for(kLookEvery);
  }
  complain("error: the daemon's self-test does not end; its log says more");
  return std::nullopt;
}

int test(const Invocation& invocation) {
  const auto asked = ask(invocation.run_dir, {{"verb", "acceleration-test"}});
  std::optional<Json> answer;
  if (asked && !asked->value("ok", false)) {
    complain("error: " + asked->value("error", "refused"));
    return kExitFailed;
  }
  if (asked) {
    answer = wait_for_report(invocation);
  } else if (asked.error().code == ErrorCode::kNotFound && ::geteuid() == 0) {
    answer = look_without_daemon();
    if (!answer) complain("error: cannot run nodeproxyd: put it beside nodectl or into PATH");
  } else {
    complain("error: " + asked.error().to_string());
  }
  if (!answer) return kExitFailed;
  const bool is_possible = answer->value("state", "") == "possible";
  print_answer(invocation, std::move(*answer));
  return is_possible ? kExitDone : kExitFailed;
}

}  // namespace

int run_acceleration(const Invocation& invocation) {
  if (invocation.verb == "acceleration-test") return test(invocation);
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "acceleration"}}, answer)) return kExitFailed;
  print_answer(invocation, std::move(answer));
  return kExitDone;
}

}  // namespace np::nodectl
