// SPDX-License-Identifier: Apache-2.0
// pod add, pod remove, pod list.
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "client.h"
#include "commands.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

std::string joined(const Json& texts) {
  std::string all;
  for (const Json& text : texts) all += (all.empty() ? "" : ",") + text.get<std::string>();
  return all;
}

std::string labels_text(const Json& labels) {
  std::string all;
  for (const auto& [name, value] : labels.items()) {
    all += (all.empty() ? "" : ",") + name + "=" + value.get<std::string>();
  }
  return all;
}

// A number of what the pod uses of the node; "-" when it was never attached.
std::string used(const Json& pod, const char* name) {
  const Json& use = pod["use"];
  return use.contains(name) ? std::to_string(use[name].get<uint64_t>()) : "-";
}

void print_pods(const Invocation& invocation, const Json& pods) {
  const bool wide = invocation.output == Output::kWide;
  std::vector<std::string> header = {"NAMESPACE", "NAME", "IP", "IFNAME", "CAPTURED", "STATUS"};
  if (wide)
    header.insert(header.end(),
                  {"HOOK", "CAPTURED-SINCE", "FLOWS", "WORK", "WAITED", "HELD", "LABELS"});
  Table table(std::move(header));
  const uint64_t now = wall_clock_ns();
  for (const Json& pod : pods) {
    const uint64_t since = pod.value("captured_since_unix_ns", uint64_t{0});
    std::vector<std::string> row = {pod.value("namespace", ""),
                                    pod.value("name", ""),
                                    joined(pod["ips"]),
                                    pod.value("ifname", ""),
                                    since == 0 ? "-" : age_text(since, now),
                                    pod.value("status", "")};
    if (wide) {
      row.insert(row.end(), {pod.value("hook", ""), time_text(since), used(pod, "flows_open"),
                             used(pod, "units"), used(pod, "turns_waited"),
                             used(pod, "receives_held"), labels_text(pod["labels"])});
    }
    table.add(std::move(row));
  }
  print(table.to_string());
}

int list_pods(const Invocation& invocation) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "pod-list"}}, answer)) return kExitFailed;
  if (invocation.output == Output::kJson) {
    print(answer["pods"].dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer["pods"]));
  } else if (answer["pods"].empty()) {
    std::fprintf(stderr, "No pods are registered.\n");
  } else {
    print_pods(invocation, answer["pods"]);
  }
  return kExitDone;
}

}  // namespace

int run_pod(const Invocation& invocation) {
  if (invocation.verb == "pod-list") return list_pods(invocation);
  Json request = {
      {"verb", invocation.verb}, {"namespace", invocation.ns}, {"name", invocation.pod_name}};
  if (invocation.verb == "pod-add") {
    request["ips"] = invocation.pod_ips;
    request["ifname"] = invocation.pod_ifname;
    request["labels"] = invocation.pod_labels;
  }
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  print_warnings(answer["warnings"]);
  print("pod/" + invocation.pod_name + (invocation.verb == "pod-add" ? " added\n" : " removed\n"));
  return kExitDone;
}

}  // namespace np::nodectl
