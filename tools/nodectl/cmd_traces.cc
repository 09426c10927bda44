// SPDX-License-Identifier: Apache-2.0
// traces, trace.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "client.h"
#include "commands.h"
#include "output.h"
#include "waterfall.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kNsPerUs = 1000;

std::string summary_time(const Json& trace) {
  return time_text(trace.value("start_unix_us", uint64_t{0}) * kNsPerUs);
}

void print_traces(const Json& traces, bool wide) {
  std::vector<std::string> head = {"TRACE", "DURATION", "SPANS", "STATUS", "SOURCE", "HOST"};
  if (wide) head.insert(head.end(), {"ROUTE", "BEGAN"});
  Table table(head);
  for (const Json& trace : traces) {
    const int status = trace.value("status", 0);
    std::vector<std::string> row = {
        trace.value("id", ""),
        duration_text(trace.value("duration_us", int64_t{0})),
        std::to_string(trace.value("spans", 0U)),
        (status == 0 ? "-" : std::to_string(status)) + (trace.value("error", false) ? " !" : ""),
        printable(trace.value("source", "")),
        printable(trace.value("host", ""))};
    if (wide) {
      row.insert(row.end(), {printable(trace.value("name", "")), summary_time(trace)});
    }
    table.add(row);
  }
  print(table.to_string());
}

}  // namespace

int run_traces(const Invocation& invocation) {
  Json answer;
  const Json request = {{"verb", "traces"},
                        {"service", invocation.service},
                        {"errors", invocation.errors_only},
                        {"min_duration_us", invocation.min_duration_us},
                        {"limit", invocation.limit}};
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  const Json& traces = answer["report"];
  if (invocation.output == Output::kJson) {
    print(traces.dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(traces));
  } else if (traces.empty()) {
    std::fprintf(stderr,
                 "No such traces are kept. Those that failed or took a second are, and as\n"
                 "many others as --trace-sampling of the daemon says.\n");
  } else {
    print_traces(traces, invocation.output == Output::kWide);
  }
  return kExitDone;
}

int run_trace(const Invocation& invocation) {
  Json answer;
  const Json request = {{"verb", "trace"}, {"id", invocation.trace_id}};
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  const Json& trace = answer["report"];
  if (invocation.output == Output::kJson) {
    print(trace.dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(trace));
  } else {
    print(waterfall_text(trace, invocation.output == Output::kWide));
  }
  return kExitDone;
}

}  // namespace np::nodectl
