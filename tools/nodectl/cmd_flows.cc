// SPDX-License-Identifier: Apache-2.0
// flows, flows reset.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "client.h"
#include "commands.h"
#include "output.h"
#include "top_cells.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kUsPerMs = 1000;
constexpr uint64_t kMsPerSecond = 1000;

// Those of the namespace that was asked for, the oldest first.
Json chosen(const Json& connections, const Invocation& invocation) {
  const std::string prefix = invocation.ns + "/";
  Json list = Json::array();
  for (const Json& one : connections) {
    if (invocation.has_namespace && !one.value("pod", "").starts_with(prefix)) continue;
    list.push_back(one);
  }
  std::stable_sort(list.begin(), list.end(), [](const Json& a, const Json& b) {
    return a.value("start_ns", uint64_t{0}) < b.value("start_ns", uint64_t{0});
  });
  return list;
}

void print_flows(const Json& flows, bool is_wide) {
  std::vector<std::string> head = {"POD",   "CLIENT", "DIALLED", "SERVICE",
                                   "STATE", "AGE",    "SENT",    "RECEIVED"};
  if (is_wide) head.insert(head.end(), {"REQUESTS", "FAILURES", "RETRIES", "ROUTE"});
  Table table(head);
  for (const Json& flow : flows) {
    const auto number = [&flow](const char* name) { return flow.value(name, uint64_t{0}); };
    const auto bytes = [&](const char* name) {
      return bytes_text(static_cast<double>(number(name)));
    };
    const auto text = [&flow](const char* name) { return printable(flow.value(name, "")); };
    std::vector<std::string> row = {text("pod"),       text("client"),
                                    text("dialled"),   text("service"),
                                    text("state"),     lasting_text(number("age_ms")),
                                    bytes("tx_bytes"), bytes("rx_bytes")};
    if (is_wide) {
      row.insert(row.end(), {std::to_string(number("requests")), std::to_string(number("failures")),
                             std::to_string(number("retries")), text("route")});
    }
    table.add(std::move(row));
  }
  print(table.to_string());
}

}  // namespace

int run_flows(const Invocation& invocation) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "connections"}}, answer)) return kExitFailed;
  const Json flows = chosen(answer["report"]["connections"], invocation);
  if (invocation.output == Output::kJson) {
    print(flows.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(flows));
  } else if (flows.empty()) {
    std::fprintf(stderr, "No captured connections are open.\n");
  } else {
    print_flows(flows, invocation.output == Output::kWide);
  }
  return kExitDone;
}

int run_flows_reset(const Invocation& invocation) {
  Json answer;
  const Json request = {{"verb", "flows-reset"}, {"window_ms", invocation.window_us / kUsPerMs}};
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  const uint64_t window_ms = answer.value("window_ms", uint64_t{0});
  print("for " + std::to_string(window_ms / kMsPerSecond) +
        "s, connections that began before their policy are reset when they send; new ones are "
        "captured\n");
  return kExitDone;
}

}  // namespace np::nodectl
