// SPDX-License-Identifier: Apache-2.0
// apply, create, replace, delete.
#include <nlohmann/json.hpp>

#include "client.h"
#include "commands.h"
#include "files.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

void print_results(const Json& results) {
  for (const Json& result : results) {
    std::string line = result.value("resource", "") + " " + result.value("outcome", "");
    const std::string note = result.value("note", "");
    if (!note.empty()) line += ": " + note;
    print(line + "\n");
  }
}

}  // namespace

int run_change(const Invocation& invocation) {
  Json request = {{"verb", invocation.verb},
                  {"namespace", invocation.ns},
                  {"ignore_not_found", invocation.ignore_not_found}};
  if (invocation.kind.empty()) {
    const auto inputs = read_inputs(invocation.files, invocation.recursive);
    if (!inputs) {
      complain("error: " + inputs.error().to_string());
      return kExitFailed;
    }
    request["files"] = Json::array();
    for (const InputFile& input : *inputs) {
      request["files"].push_back({{"name", input.name}, {"text", input.text}});
    }
  } else {
    request["kind"] = invocation.kind;
    request["names"] = invocation.names;
  }
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  print_warnings(answer["warnings"]);
  if (invocation.output == Output::kJson) {
    print(answer["results"].dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer["results"]));
  } else {
    print_results(answer["results"]);
  }
  return kExitDone;
}

}  // namespace np::nodectl
