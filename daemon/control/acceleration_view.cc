// SPDX-License-Identifier: Apache-2.0
#include "control/acceleration_view.h"

#include <nlohmann/json.hpp>

#include "base/log.h"

namespace np::control {
namespace {

using Phase = AccelerationState::Phase;

constexpr const char* kNoCapture = "the daemon runs with --no-capture";

std::vector<std::string> who_asks(const policy::Model& model) {
  std::vector<std::string> objects;
  for (const policy::HostTraffic& traffic : model.traffic) {
    if (traffic.asks_acceleration) objects.push_back(traffic.origin.to_string());
  }
  return objects;
}

// The verdict, whether or not somebody asks for it.
std::string verdict(const AccelerationHost* host, const AccelerationState& state) {
  if (host == nullptr) return std::string("refused: ") + kNoCapture;
  if (state.phase == Phase::kRunning) return "being tested";
  if (state.phase == Phase::kUntested) return "not tested yet";
  return verdict_of(state.report);
}

std::string state_name(const AccelerationHost* host, const AccelerationState& state) {
  if (host == nullptr) return "refused";
  if (state.phase == Phase::kRunning) return "testing";
  if (state.phase == Phase::kUntested) return "untested";
  return state.report.is_possible() ? "possible" : "refused";
}

AccelerationState state_of(AccelerationHost* host) {
  return host == nullptr ? AccelerationState{} : host->state();
}

}  // namespace

std::string acceleration_text(const Controller& controller, AccelerationHost* host) {
  if (!controller.asks_acceleration()) return "off";
  return verdict(host, state_of(host));
}

Json view_acceleration(const Controller& controller, AccelerationHost* host) {
  const AccelerationState state = state_of(host);
  const std::vector<std::string> policies = who_asks(controller.model());
  Json results = Json::array(), reasons = Json::array();
  for (const DangerResult& result : state.report.results) {
    results.push_back({{"name", result.name},
                       {"passed", result.passed},
                       {"promise", result.promise},
                       {"seen", result.seen}});
    if (!result.passed) reasons.push_back(result.name);
  }
  return {{"ok", true},
          {"state", state_name(host, state)},
          {"text", verdict(host, state)},
          {"asked", !policies.empty()},
          {"policies", policies},
          {"kernel", state.report.release},
          {"reasons", std::move(reasons)},
          {"problem", host == nullptr ? kNoCapture : state.report.problem},
          {"results", std::move(results)}};
}

Json test_acceleration(AccelerationHost* host, const Peer& peer) {
  if (host == nullptr) return refusal(std::string("acceleration: ") + kNoCapture);
  log_info("acceleration: self-test asked by uid " + std::to_string(peer.uid));
  const Result<void> started = host->start();
  if (!started) return refusal(started.error().to_string());
  return {{"ok", true}};
}

std::vector<Check> check_acceleration(const Controller& controller, AccelerationHost* host) {
  const std::vector<std::string> policies = who_asks(controller.model());
  if (policies.empty()) return {};
  const AccelerationState state = state_of(host);
  const bool is_refused =
      host == nullptr || (state.phase == Phase::kDone && !state.report.is_possible());
  Check check;
  check.area = "acceleration";
  check.subject = host == nullptr || state.report.release.empty()
                      ? "sockmap"
                      : "sockmap on Linux " + state.report.release;
  check.found = verdict(host, state);
  if (is_refused) {
    check.level = Check::Level::kWarn;
    check.remedy =
        "nothing is broken: bytes take the usual way. Take `acceleration: sockmap` out of ";
    for (size_t i = 0; i < policies.size(); ++i) check.remedy += (i > 0 ? ", " : "") + policies[i];
    if (host != nullptr) {
      check.remedy += ", or use a kernel that passes";
      check.commands = {"nodectl acceleration"};
    }
  }
  return {check};
}

}  // namespace np::control
