// SPDX-License-Identifier: Apache-2.0
#include "control/explain_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/time.h"
#include "control/explain_parts.h"
#include "control/overload_view.h"

namespace np::control {
namespace {

using Way = policy::ExplainedCall::Way;

const char* to_text(CaptureVerdict::Outcome outcome) {
  switch (outcome) {
    case CaptureVerdict::Outcome::kCaptured:
      return "captured";
    case CaptureVerdict::Outcome::kDirect:
      return "direct";
    case CaptureVerdict::Outcome::kRefused:
      return "refused";
    case CaptureVerdict::Outcome::kDropped:
      break;
  }
  return "dropped";
}

Json not_captured(std::string reason) {
  return {{"verdict", "direct"}, {"reason", std::move(reason)}, {"steps", Json::array()}};
}

std::optional<PodState> state_of(uint32_t pod_id, PodAttacher& attacher) {
  for (PodState& state : attacher.list()) {
    if (state.pod_id == pod_id) return std::move(state);
  }
  return std::nullopt;
}

// The way of the first packet: the program on the pod's interface, then the maps that it reads.
Json capture_json(const policy::Explanation& explanation, const Seams& seams) {
  const policy::ExplainedCall& call = explanation.call;
  if (seams.probe == nullptr || seams.attacher == nullptr) {
    return not_captured("the daemon runs with --no-capture");
  }
  if (call.pod == nullptr) {
    return not_captured("only pods of this node are captured, and the caller is none");
  }
  const auto state = state_of(call.pod->id, *seams.attacher);
  if (!state) return not_captured("the pod is not registered here (nodectl pod add)");
  if (!state->problem.empty()) return not_captured(state->problem);
  if (state->ifindex == 0) return not_captured("interface " + state->ifname + " is gone");
  if (state->hook.empty()) return not_captured("no program is attached to " + state->ifname);
  Json steps = Json::array();
  steps.push_back("interface " + state->ifname + " (" + std::to_string(state->ifindex) +
                  "): np_pod_in is attached by " + state->hook);
  if (call.local.ip.is_unspecified() && call.way != Way::kCaptured) {
    Json json = not_captured("it is not known which address the name stands for");
    json["steps"] = std::move(steps);
    return json;
  }
  // A pod dials the address of its own family.
  IpAddress source = call.peer;
  for (const IpAddress& ip : call.pod->pod.ips) {
    if (ip.is_v4() == call.local.ip.is_v4()) source = ip;
  }
  const CaptureVerdict verdict = seams.probe->verdict(source, state->ifindex, call.local);
  for (const std::string& step : verdict.steps) steps.push_back(step);
  return {{"verdict", to_text(verdict.outcome)},
          {"counter", verdict.counter},
          {"reason", verdict.reason},
          {"since_unix_ns", state->captured_since_unix_ns},
          {"steps", std::move(steps)}};
}

}  // namespace

Json view_explanation(const Controller& controller, const Seams& seams,
                      const policy::QuestionText& text) {
  auto question = policy::read_question(text);
  if (!question) return refusal(question.error().to_string());
  policy::ExplainInput input;
  input.snapshot = controller.snapshot_pointer();
  input.model = &controller.model();
  input.question = std::move(question).value();
  input.now = monotonic_now();
  const auto explanation = policy::explain(input);
  Json json = explanation_json(*explanation, {seams.watch, seams.limits});
  if (std::string note = overload_note(seams); !note.empty()) json["overload"] = std::move(note);
  json["ok"] = true;
  json["live"] = true;
  json["generation"] = controller.snapshot().generation;
  if (explanation->call.way != Way::kGateway) json["capture"] = capture_json(*explanation, seams);
  return json;
}

}  // namespace np::control
