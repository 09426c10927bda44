// SPDX-License-Identifier: Apache-2.0
// The daemon's command line and configuration file. Read once at start, by the supervisor; the
// worker is started with the same arguments plus --worker-link. Values are checked here: whoever
// receives an Options may rely on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "metrics/exporter.h"
#include "metrics/family_choice.h"
#include "overload_options.h"

namespace np {

inline constexpr const char* kVersion = "0.1.0";
inline constexpr uint32_t kWorkersMax = 64;  // one np_counters block per shard

// Who may use the control socket besides root (ruling 8.13).
inline constexpr const char* kControlGroup = "nodeproxy";

// What is told about requests, and to whom.
struct TelemetryChoices {
  bool request_metrics = true;
  metrics::FamilyChoice families;
  std::string access_log = "off";  // "off", "stdout" or a path
  std::string access_log_format = "default";
  bool access_log_failures_only = false;
  Duration access_log_slower_than{};  // zero: any
  uint32_t access_log_per_million = 1'000'000;
  bool tracing = true;
  uint32_t trace_per_million = 10'000;  // of traces that begin here
  bool trace_b3 = true;                 // x-b3-* beside traceparent
  std::vector<metrics::ExporterOptions> collectors;
};

struct ProbeAddress {
  std::optional<SocketAddress> bind;
  bool is_asked_for = false;  // else: may be given up when somebody has it
};

struct Options {
  std::string instance = "nodeproxy";  // names the proxy namespace and the pin root (ruling 8.11)
  std::string run_dir;                 // control socket
  std::string state_dir;               // accepted objects
  std::string admin = "127.0.0.1:15090";
  std::vector<std::string> admin_names;  // by which the admin pages may be asked
  ProbeAddress probes;
  uint32_t workers = 0;  // shard threads; 0: one per CPU this process may use
  bool capture = true;
  Duration drain_time = std::chrono::seconds(30);
  std::string hook;       // "tcx", "clsact", or "" for the best this kernel has
  std::string log_level;  // "" leaves it to NP_LOG
  TelemetryChoices telemetry;
  bool test_acceleration = false;  // print what the self-test of this kernel found, and end
  OverloadChoices overload;
  bool inspect = false;                // print what the kernel holds of the instance, and end
  int worker_link = -1;                // set by the supervisor for its worker
  std::vector<std::string> arguments;  // as given, for the worker's command line
};

// Stop with `exit_code` after printing `message` to stdout (0) or stderr.
struct EarlyExit {
  int exit_code = 0;
  std::string message;
};

// Parses argv; `effective_uid` decides the default directories (without root: XDG directories).
std::variant<Options, EarlyExit> parse_options(int argc, char** argv, unsigned effective_uid);

}  // namespace np
