// SPDX-License-Identifier: Apache-2.0
// np_load: the project's load generator. Prints one JSON object.
//   np_load --target 127.0.0.1:8080 --rate 2000 --connections 32 --duration 10
// With --warm-up it says "measuring" on stderr when the counted part begins.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "load_generator.h"

namespace np::bench {

std::string LoadReport::to_json() const {
  nlohmann::json status = nlohmann::json::object();
  for (const auto& [code, count] : by_status) status[std::to_string(code)] = count;
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000.0; };
  const nlohmann::json report = {
      {"sent", sent},
      {"completed", completed()},
      {"status", status},
      {"errors",
       {{"connect", connect_errors},
        {"reset", reset_errors},
        {"truncated", truncated_errors},
        {"timeout", timeout_errors},
        {"unanswered_close", unanswered_closes}}},
      {"connections_opened", connections_opened},
      {"body_bytes", body_bytes},
      {"seconds", seconds},
      {"requests_per_second", seconds > 0 ? static_cast<double>(completed()) / seconds : 0},
      {"latency_us",
       {{"min", us(latency.min())},
        {"p50", us(latency.quantile(0.50))},
        {"p90", us(latency.quantile(0.90))},
        {"p99", us(latency.quantile(0.99))},
        {"p999", us(latency.quantile(0.999))},
        {"max", us(latency.max())}}},
  };
  return report.dump(2);
}

}  // namespace np::bench

int main(int argc, char** argv) {
  np::bench::LoadOptions options;
  std::string target = "127.0.0.1:8080";
  double duration_s = 10;
  double timeout_s = 30;
  double spin_us = 0;
  double warm_up_s = 0;
  CLI::App app{"np_load: HTTP/1.1 load, open or closed loop; prints JSON"};
  app.add_option("--target", target, "address and port")->capture_default_str();
  app.add_option("--host", options.host, "Host header")->capture_default_str();
  app.add_option("--method", options.method)->capture_default_str();
  app.add_option("--path", options.path)->capture_default_str();
  app.add_option("-H,--header", options.headers, "'name: value', repeatable");
  app.add_option("--body", options.body_bytes, "request body in bytes");
  app.add_option("-c,--connections", options.connections)->capture_default_str();
  app.add_option("--rate", options.rate, "requests per second; 0: closed loop");
  app.add_option("--requests", options.requests, "stop after so many; 0: by duration");
  app.add_option("--duration", duration_s, "seconds")->capture_default_str();
  app.add_option("--timeout", timeout_s, "seconds per request")->capture_default_str();
  app.add_option("--spin-us", spin_us, "busy-wait before a due instant");
  app.add_option("--warm-up", warm_up_s, "seconds of the same load before anything is counted");
  app.add_flag("--poisson", options.poisson, "open loop: exponential gaps, not equal ones");
  app.add_option("--seed", options.seed, "of --poisson")->capture_default_str();
  app.add_flag("--close", options.new_connection_each, "a new connection for each request");
  CLI11_PARSE(app, argc, argv);
  const auto address = np::SocketAddress::parse(target);
  if (!address) {
    std::fprintf(stderr, "np_load: --target %s: not an address and port\n", target.c_str());
    return 2;
  }
  options.target = *address;
  options.duration = np::Duration(static_cast<int64_t>(duration_s * 1e9));
  options.timeout = np::Duration(static_cast<int64_t>(timeout_s * 1e9));
  options.spin = np::Duration(static_cast<int64_t>(spin_us * 1e3));
  options.warm_up = np::Duration(static_cast<int64_t>(warm_up_s * 1e9));
  if (warm_up_s > 0) {
    options.on_measuring = [] {
      std::fputs("measuring\n", stderr);
      std::fflush(stderr);
    };
  }
  np::bench::LoadGenerator generator(options);
  std::puts(generator.run().to_json().c_str());
  return 0;
}
