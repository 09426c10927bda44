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
    Command{"uneject", np::nodectl::run_uneject},
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
