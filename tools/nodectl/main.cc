// SPDX-License-Identifier: Apache-2.0
// nodectl: parses the command line and runs one command.
#include <array>
#include <string_view>

#include "commands.h"
#include "invocation.h"

namespace {

using np::nodectl::Invocation;

struct Command {
  std::string_view verb;
  int (*run)(const Invocation&);
};

constexpr std::array kCommands = {
    Command{"apply", np::nodectl::run_change},
    Command{"create", np::nodectl::run_change},
    Command{"replace", np::nodectl::run_change},
    Command{"delete", np::nodectl::run_change},
    Command{"get", np::nodectl::run_get},
    Command{"describe", np::nodectl::run_describe},
    Command{"diff", np::nodectl::run_diff},
    Command{"validate", np::nodectl::run_validate},
    Command{"pod-add", np::nodectl::run_pod},
    Command{"pod-remove", np::nodectl::run_pod},
    Command{"pod-list", np::nodectl::run_pod},
    Command{"status", np::nodectl::run_status},
    Command{"endpoints", np::nodectl::run_endpoints},
    Command{"explain", np::nodectl::run_explain},
    Command{"uneject", np::nodectl::run_uneject},
    Command{"doctor", np::nodectl::run_doctor},
    Command{"top", np::nodectl::run_top},
    Command{"traces", np::nodectl::run_traces},
    Command{"trace", np::nodectl::run_trace},
    Command{"flows", np::nodectl::run_flows},
    Command{"flows-reset", np::nodectl::run_flows_reset},
    Command{"guard-attach", np::nodectl::run_guard},
    Command{"guard-detach", np::nodectl::run_guard},
    Command{"guard-list", np::nodectl::run_guard},
    Command{"guard-status", np::nodectl::run_guard},
    Command{"guard-deny-add", np::nodectl::run_guard},
    Command{"guard-deny-del", np::nodectl::run_guard},
    Command{"guard-deny-list", np::nodectl::run_guard},
    Command{"guard-limit", np::nodectl::run_guard},
    Command{"acceleration", np::nodectl::run_acceleration},
    Command{"acceleration-test", np::nodectl::run_acceleration},
    Command{"drain", np::nodectl::run_drain},
    Command{"detach", np::nodectl::run_detach},
    Command{"completion", np::nodectl::run_completion},
};

}  // namespace

int main(int argc, char** argv) {
  const auto outcome = np::nodectl::parse_command_line(argc, argv);
  if (!outcome.has_command) return outcome.exit_code;
  for (const Command& command : kCommands) {
    if (command.verb == outcome.invocation.verb) return command.run(outcome.invocation);
  }
  return np::nodectl::kExitUsage;
}
