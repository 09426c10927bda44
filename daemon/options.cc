// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "admin/host_guard.h"
#include "base/address.h"
#include "metrics/log_format.h"

namespace np {
namespace {

constexpr size_t kInstanceLengthMax = 32;
constexpr double kAllPercent = 100;
constexpr double kMillionthsPerPercent = 10'000;

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

std::string check_probes(const std::string& text) {
  if (text.empty() || text == "off" || SocketAddress::parse(text)) return "";
  return "found \"" + text + "\"; allowed: off, or an address and port, such as 127.0.0.1:16090";
}

// The text was checked while it was parsed. Not the neighbour of --admin's port: there the next
// daemon of this machine may have its pages.
ProbeAddress probe_address(const std::string& text, const std::string& admin) {
  constexpr uint32_t kAboveAdmin = 1000;
  if (text == "off") return {};
  if (!text.empty()) return {SocketAddress::parse(text), true};
  SocketAddress address = *SocketAddress::parse(admin);
  if (address.port + kAboveAdmin > UINT16_MAX) return {};
  address.port = static_cast<uint16_t>(address.port + kAboveAdmin);
  return {address, false};
}

uint32_t usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
}

// A second name for what comes as text and is kept in another form.
struct TelemetryText {
  std::string request_metrics = "on", tracing = "on", b3 = "on";
  std::string families = metrics::kAllFamilies;
  std::string log_filter = "all";
  int64_t log_slower_ms = 0;
  double log_percent = 100, trace_percent = 1;
  std::vector<std::string> zipkin, otlp;
};

const CLI::Validator& on_or_off() {
  static const CLI::Validator check = CLI::IsMember({"on", "off"});
  return check;
}

std::string check_log_format(const std::string& text) {
  const auto format = metrics::LogFormat::parse(text);
  return format ? "" : format.error().to_string();
}

std::string check_families(const std::string& text) {
  const auto choice = metrics::FamilyChoice::parse(text);
  return choice ? "" : choice.error().to_string();
}

std::string check_log_target(const std::string& text) {
  if (text == "off" || text == "stdout" || text.starts_with('/')) return "";
  return "off, stdout or the absolute path of a file";
}

CLI::Validator collector_of(metrics::ExporterOptions::Protocol protocol) {
  const auto check = [protocol](const std::string& url) {
    const auto collector = metrics::parse_collector(protocol, url);
    return collector ? std::string() : collector.error().to_string();
  };
  return {check, "URL"};
}

CLI::Option* add_duration(CLI::App& app, const char* name, int64_t& milliseconds,
                          const char* help) {
  static const std::map<std::string, int64_t> units = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  return app.add_option(name, milliseconds, help)
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::Range(int64_t{0}, kDurationMaxMs));
}

void define_log(CLI::App& app, TelemetryChoices& choices, TelemetryText& text) {
  app.add_option("--access-log", choices.access_log, "one line per request: off, stdout or FILE")
      ->capture_default_str()
      ->check(CLI::Validator(check_log_target, "TARGET"));
  app.add_option("--access-log-format", choices.access_log_format,
                 "default, json, or a line with Envoy's %OPERATORS%")
      ->capture_default_str()
      ->check(CLI::Validator(check_log_format, "FORMAT"));
  app.add_option("--access-log-filter", text.log_filter, "all, or failures only")
      ->capture_default_str()
      ->check(CLI::IsMember({"all", "failures"}));
  add_duration(app, "--access-log-slower-than", text.log_slower_ms,
               "only requests that took as long, e.g. 500ms");
  app.add_option("--access-log-sampling", text.log_percent, "percent of requests that are logged")
      ->capture_default_str()
      ->check(CLI::Range(0.0, kAllPercent));
}

void define_tracing(CLI::App& app, TelemetryText& text) {
  app.add_option("--request-metrics", text.request_metrics, "count by caller, service and route")
      ->capture_default_str()
      ->check(on_or_off());
  app.add_option("--metrics-families", text.families, "whose names /metrics uses")
      ->capture_default_str()
      ->check(CLI::Validator(check_families, "NAME,..."));
  app.add_option("--tracing", text.tracing, "trace headers, spans and `nodectl traces`")
      ->capture_default_str()
      ->check(on_or_off());
  app.add_option("--trace-sampling", text.trace_percent,
                 "percent of the traces that begin here to export")
      ->capture_default_str()
      ->check(CLI::Range(0.0, kAllPercent));
  app.add_option("--trace-b3", text.b3, "send x-b3-* beside traceparent")
      ->capture_default_str()
      ->check(on_or_off());
  app.add_option("--zipkin", text.zipkin, "post spans to this collector, as Zipkin v2 JSON")
      ->check(collector_of(metrics::ExporterOptions::Protocol::kZipkin));
  app.add_option("--otlp", text.otlp, "post spans to this collector, as OTLP/HTTP JSON")
      ->check(collector_of(metrics::ExporterOptions::Protocol::kOtlp));
}

uint32_t per_million(double percent) {
  return static_cast<uint32_t>(std::lround(percent * kMillionthsPerPercent));
}

// The text was checked while it was parsed.
void take_telemetry(const TelemetryText& text, TelemetryChoices& choices) {
  choices.request_metrics = text.request_metrics == "on";
  choices.families = metrics::FamilyChoice::parse(text.families).value();
  choices.tracing = text.tracing == "on";
  choices.trace_b3 = text.b3 == "on";
  choices.access_log_failures_only = text.log_filter == "failures";
  choices.access_log_slower_than = std::chrono::milliseconds(text.log_slower_ms);
  choices.access_log_per_million = per_million(text.log_percent);
  choices.trace_per_million = per_million(text.trace_percent);
  using Protocol = metrics::ExporterOptions::Protocol;
  for (const std::string& url : text.zipkin) {
    choices.collectors.push_back(metrics::parse_collector(Protocol::kZipkin, url).value());
  }
  for (const std::string& url : text.otlp) {
    choices.collectors.push_back(metrics::parse_collector(Protocol::kOtlp, url).value());
  }
}

void define_admin(CLI::App& app, Options& options, std::string& probes) {
  app.add_option("--admin", options.admin, "address of the dashboard, /metrics, /livez and /readyz")
      ->capture_default_str()
      ->check(CLI::Validator(check_admin, "IP:PORT"));
  app.add_option("--admin-name", options.admin_names,
                 "host name by which it may be asked, beside its address; repeatable")
      ->allow_extra_args(false)
      ->check(CLI::Validator(admin::check_host_name, "NAME"));
  app.add_option("--probes", probes,
                 "another address of /livez and /readyz, that no busy page delays; "
                 "default: port 1000 above --admin's; off: none")
      ->check(CLI::Validator(check_probes, "IP:PORT"));
}

void define(CLI::App& app, Options& options, bool& no_capture, int64_t& drain_ms) {
  app.set_version_flag("--version", std::string("nodeproxyd ") + kVersion);
  app.set_config("--config", "", "options as NAME=VALUE lines; the command line wins");
  app.add_option("--instance", options.instance, "name of this daemon on the node")
      ->capture_default_str()
      ->check(CLI::Validator(check_instance, "NAME"));
  app.add_option("--run-dir", options.run_dir, "control socket; default /run/INSTANCE");
  app.add_option("--state-dir", options.state_dir, "accepted objects; default /var/lib/INSTANCE");
  app.add_option("--workers", options.workers, "shard threads; default: one per usable CPU")
      ->check(CLI::Range(1U, kWorkersMax));
  app.add_flag("--no-capture", no_capture, "gateways only: no eBPF, no root");
  add_duration(app, "--drain-time", drain_ms, "how long SIGTERM waits for open requests, e.g. 30s");
  app.add_option("--hook", options.hook, "where pod traffic is taken: tcx (Linux 6.6) or clsact")
      ->check(CLI::IsMember({"tcx", "clsact"}));
  app.add_option("--log-level", options.log_level)
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  app.add_flag("--inspect", options.inspect)->group("");  // for `nodectl doctor`
  app.add_flag("--test-acceleration", options.test_acceleration)->group("");  // the same
  app.add_option("--worker-link", options.worker_link)->group("");  // between our own processes
}

}  // namespace

std::variant<Options, EarlyExit> parse_options(int argc, char** argv, unsigned effective_uid) {
  Options options;
  bool no_capture = false;
  int64_t drain_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(options.drain_time).count();
  CLI::App app{"nodeproxyd: node-level service proxy"};
  TelemetryText telemetry;
  std::string probes;
  define(app, options, no_capture, drain_ms);
  define_admin(app, options, probes);
  define_log(app, options.telemetry, telemetry);
  define_tracing(app, telemetry);
  define_overload(app, options.overload);
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
  take_telemetry(telemetry, options.telemetry);
  options.probes = probe_address(probes, options.admin);
  options.drain_time = std::chrono::milliseconds(drain_ms);
  if (options.run_dir.empty()) options.run_dir = default_run_dir(options.instance, root);
  if (options.state_dir.empty()) options.state_dir = default_state_dir(options.instance, root);
  if (options.workers == 0) options.workers = std::min(usable_cpus(), kWorkersMax);
  options.arguments.assign(argv + 1, argv + argc);
  return options;
}

}  // namespace np
