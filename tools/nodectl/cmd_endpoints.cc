// SPDX-License-Identifier: Apache-2.0
// endpoints, uneject.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "client.h"
#include "commands.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

// "in 14m52s"; "now" when its time is over and the next sweep brings it back.
std::string until_text(const Json& endpoint) {
  const uint64_t until_ns = endpoint.value("until_unix_ns", uint64_t{0});
  if (until_ns == 0) return "";
  const uint64_t now_ns = wall_clock_ns();
  return until_ns > now_ns ? "in " + age_text(now_ns, until_ns) : "next sweep";
}

void print_endpoints(const Json& endpoints, bool wide) {
  std::vector<std::string> head = {"SERVICE", "SUBSET", "ADDRESS", "POD",
                                   "WEIGHT",  "STATE",  "UNTIL",   "REASON"};
  if (wide) head.insert(head.end(), {"EJECTIONS", "SINCE", "FAILURES"});
  Table table(head);
  for (const Json& endpoint : endpoints) {
    std::vector<std::string> row = {endpoint.value("service", ""),
                                    endpoint.value("subset", ""),
                                    endpoint.value("address", ""),
                                    endpoint.value("pod", ""),
                                    std::to_string(endpoint.value("weight", 0U)),
                                    endpoint.value("state", ""),
                                    until_text(endpoint),
                                    endpoint.value("reason", "")};
    if (wide) {
      std::string failures;
      for (const Json& failure : endpoint.value("failures", Json::array())) {
        failures += (failures.empty() ? "" : ", ") + failure.get<std::string>();
      }
      const uint64_t since_ns = endpoint.value("since_unix_ns", uint64_t{0});
      row.insert(row.end(), {std::to_string(endpoint.value("ejections", 0U)),
                             since_ns == 0 ? "" : time_text(since_ns), failures});
    }
    table.add(row);
  }
  print(table.to_string());
}

}  // namespace

int run_endpoints(const Invocation& invocation) {
  Json answer;
  const Json request = {
      {"verb", "endpoints"}, {"service", invocation.service}, {"namespace", invocation.ns}};
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  if (invocation.output == Output::kJson) {
    print(answer["endpoints"].dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer["endpoints"]));
  } else if (answer["endpoints"].empty()) {
    std::fprintf(stderr, "No services are known.\n");
  } else {
    print_endpoints(answer["endpoints"], invocation.output == Output::kWide);
  }
  return kExitDone;
}

int run_uneject(const Invocation& invocation) {
  Json answer;
  const Json request = {{"verb", "uneject"},
                        {"service", invocation.service},
                        {"address", invocation.address},
                        {"namespace", invocation.ns}};
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  print("endpoint/" + invocation.address + " unejected\n");
  return kExitDone;
}

}  // namespace np::nodectl
