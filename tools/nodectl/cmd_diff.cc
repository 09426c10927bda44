// SPDX-License-Identifier: Apache-2.0
// diff: what apply would change.
#include <nlohmann/json.hpp>

#include "client.h"
#include "commands.h"
#include "files.h"
#include "output.h"
#include "unified_diff.h"

namespace np::nodectl {

using Json = nlohmann::json;

int run_diff(const Invocation& invocation) {
  const auto inputs = read_inputs(invocation.files, invocation.recursive);
  if (!inputs) {
    complain("error: " + inputs.error().to_string());
    return kExitUsage;
  }
  Json request = {{"verb", "diff"}, {"namespace", invocation.ns}, {"files", Json::array()}};
  for (const InputFile& input : *inputs) {
    request["files"].push_back({{"name", input.name}, {"text", input.text}});
  }
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitUsage;
  bool differs = false;
  for (const Json& object : answer["objects"]) {
    const std::string name = object.value("namespace", "") + "/" + object.value("resource", "");
    const std::string text = unified_diff("in-effect/" + name, object.value("stored", ""),
                                          "given/" + name, object.value("given", ""));
    if (text.empty()) continue;
    differs = true;
    print(text);
  }
  return differs ? kExitFailed : kExitDone;
}

}  // namespace np::nodectl
