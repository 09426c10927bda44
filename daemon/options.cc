// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/address.h"

namespace np {
namespace {

constexpr size_t kInstanceLengthMax = 32;
constexpr int64_t kDrainTimeMaxMs = 24 * 3600 * 1000L;

std::string environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string default_run_dir(const std::string& instance, bool root) {
  return (root ? "/run" : environment("XDG_RUNTIME_DIR", "/tmp")) + "/" + instance;
}

std::string default_state_dir(const std::string& instance, bool root) {
  if (root) return "/var/lib/" + instance;
  return environment("XDG_STATE_HOME", environment("HOME", "/tmp") + "/.local/state") + "/" +
         instance;
}

// The instance becomes a namespace name, a directory of the bpf file system and part of link names.
std::string check_instance(const std::string& name) {
  const bool good = !name.empty() && name.size() <= kInstanceLengthMax &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
                    });
  return good ? "" : "1 to 32 of a-z, 0-9 and '-'";
}

std::string check_admin(const std::string& text) {
  return SocketAddress::parse(text) ? "" : "not an address and port, such as 127.0.0.1:15090";
}

uint32_t usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
}

void define(CLI::App& app, Options& options, bool& no_capture, int64_t& drain_ms) {
  app.set_version_flag("--version", std::string("nodeproxyd ") + kVersion);
  app.set_config("--config", "", "options as NAME=VALUE lines; the command line wins");
  app.add_option("--instance", options.instance, "name of this daemon on the node")
      ->capture_default_str()
      ->check(CLI::Validator(check_instance, "NAME"));
  app.add_option("--run-dir", options.run_dir, "control socket; default /run/INSTANCE");
  app.add_option("--state-dir", options.state_dir, "accepted objects; default /var/lib/INSTANCE");
  app.add_option("--admin", options.admin, "address of /livez and /readyz")
      ->capture_default_str()
      ->check(CLI::Validator(check_admin, "IP:PORT"));
  app.add_option("--workers", options.workers, "shard threads; default: one per usable CPU")
      ->check(CLI::Range(1U, kWorkersMax));
  app.add_flag("--no-capture", no_capture, "gateways only: no eBPF, no root");
  const std::map<std::string, int64_t> units = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  app.add_option("--drain-time", drain_ms, "how long SIGTERM waits for open requests, e.g. 30s")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::Range(int64_t{0}, kDrainTimeMaxMs));
  app.add_option("--hook", options.hook, "where pod traffic is taken: tcx (Linux 6.6) or clsact")
      ->check(CLI::IsMember({"tcx", "clsact"}));
  app.add_option("--log-level", options.log_level)
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  app.add_option("--worker-link", options.worker_link)->group("");  // between our own processes
}

}  // namespace

std::variant<Options, EarlyExit> parse_options(int argc, char** argv, unsigned effective_uid) {
  Options options;
  bool no_capture = false;
  int64_t drain_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(options.drain_time).count();
  CLI::App app{"nodeproxyd: node-level service proxy"};
  define(app, options, no_capture, drain_ms);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    std::ostringstream text;
    app.exit(success, text, text);
    return EarlyExit{0, text.str()};
  } catch (const CLI::ParseError& error) {
    constexpr int kWrongUsage = 2;
    return EarlyExit{kWrongUsage, "nodeproxyd: " + std::string(error.what()) + "\n"};
  }
  const bool root = effective_uid == 0;
  options.capture = !no_capture;
  options.drain_time = std::chrono::milliseconds(drain_ms);
  if (options.run_dir.empty()) options.run_dir = default_run_dir(options.instance, root);
  if (options.state_dir.empty()) options.state_dir = default_state_dir(options.instance, root);
  if (options.workers == 0) options.workers = std::min(usable_cpus(), kWorkersMax);
  options.arguments.assign(argv + 1, argv + argc);
  return options;
}

}  // namespace np
