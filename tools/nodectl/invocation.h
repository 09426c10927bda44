// SPDX-License-Identifier: Apache-2.0
// Invocation: one parsed command line. Filled by cli.cc, read by the commands. A plain value.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace np::nodectl {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

enum class Output : uint8_t { kTable, kWide, kYaml, kJson };

struct Invocation {
  std::string verb;
  std::string run_dir;
  std::string ns = "default";
  bool has_namespace = false;  // -n was given
  Output output = Output::kTable;

  std::vector<std::string> files;  // -f
  bool recursive = false;          // -R
  bool ignore_not_found = false;
  bool all_namespaces = false;  // -A
  std::string kind;
  std::vector<std::string> names;

  std::string pod_name;
  std::vector<std::string> pod_ips;
  std::string pod_ifname;
  std::map<std::string, std::string> pod_labels;

  std::string from, to;  // explain
  std::string method = "GET", path = "/";
  std::vector<std::string> headers;  // -H

  std::string service;
  std::string address;  // uneject
  std::string shell;
  std::string instance;  // doctor
  bool all = false;      // detach --all

  uint64_t window_us = 30'000'000;  // flows reset

  std::string sort;  // top
  uint64_t interval_us = 2'000'000;
  uint32_t count = 0;  // refreshes; 0: until it is ended, or one when it is no terminal
  bool is_batch = false;

  std::string guard_ifname, guard_mode;       // guard attach, detach
  std::vector<std::string> guard_sources;     // guard deny add, del
  std::string guard_destination, guard_rate;  // guard limit; empty: list
  bool guard_keeps = false;

  std::string trace_id;
  uint64_t min_duration_us = 0;  // traces
  bool errors_only = false;
  uint32_t limit = 20;
  bool has_limit = false;  // --limit was given
};

// Parses argv. When there is nothing to run (--help, wrong usage) `exit_code` is the answer and
// what there is to say has been printed.
struct ParseOutcome {
  bool has_command = false;
  int exit_code = kExitDone;
  Invocation invocation;
};
ParseOutcome parse_command_line(int argc, const char* const* argv);

// What completion offers: each verb, and whether a KIND or a file follows it.
struct VerbInfo {
  const char* name;
  const char* what;
  bool takes_kind;
  bool takes_files;
};
const std::vector<VerbInfo>& verb_infos();

}  // namespace np::nodectl
