// SPDX-License-Identifier: Apache-2.0
// The part of doctor_view.h about policy: what loading and compiling complained of, and objects
// without effect.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/printable.h"
#include "control/doctor_view.h"
#include "control/resource_name.h"

namespace np::control {
namespace {

using Level = Check::Level;
using policy::Topic;

// "nodectl -n default delete routerule.config.istio.io reviews"
std::string command(const char* verb, const policy::ObjectId& id) {
  std::string text = "nodectl ";
  if (!id.ns.empty()) text += "-n " + shell_word(id.ns) + " ";
  return text + verb + " " + shell_word(resource_type(id)) + " " + shell_word(id.name);
}

struct Complaint {
  Topic topic = Topic::kOther;
  std::string message;
};

Check about(const policy::ObjectId& id, const Complaint& complaint) {
  Check check;
  check.area = "policy";
  check.level = complaint.topic == Topic::kUnserved ? Level::kFail : Level::kWarn;
  check.subject = id.to_string();
  check.found = complaint.message;
  switch (complaint.topic) {
    case Topic::kConflict:
      check.remedy = "let one object decide: change this one, or delete it";
      check.commands = {command("delete", id)};
      break;
    case Topic::kShadowed:
      check.remedy = "move it before the other, or narrow the other's match, or delete it";
      // An object with several rules is edited; one that is a single rule can go.
      check.commands = {command(id.kind == "RouteRule" ? "delete" : "describe", id)};
      break;
    case Topic::kUnserved:
    case Topic::kMissing:
      check.remedy = "apply what it names, or delete it";
      check.commands = {command("delete", id)};
      break;
    case Topic::kOther:
      check.commands = {command("describe", id)};
      break;
  }
  return check;
}

// By "KIND ns/name". Loading and compiling may say the same thing in other words: the compiler, who
// knows all of it, is heard.
using Complaints = std::map<std::string, std::vector<Complaint>>;

Complaints collect(const Controller& controller) {
  Complaints all;
  for (const policy::Finding& finding : controller.snapshot().findings) {
    const bool is_inactive = finding.level == policy::Finding::Level::kInactive;
    if (!is_inactive && finding.level != policy::Finding::Level::kWarning) continue;
    const char* head = is_inactive ? "it is inactive: " : "";
    all[finding.origin.to_string()].push_back({finding.topic, head + finding.message});
  }
  const Complaints compiled = all;
  for (const policy::Diagnostic& diagnostic : controller.diagnostics()) {
    if (diagnostic.level != policy::Diagnostic::Level::kWarning) continue;
    const auto same = compiled.find(diagnostic.object);
    const bool is_told =
        diagnostic.topic != Topic::kOther && same != compiled.end() &&
        std::any_of(same->second.begin(), same->second.end(),
                    [&diagnostic](const Complaint& one) { return one.topic == diagnostic.topic; });
    if (is_told) continue;
    const std::string field = diagnostic.field.empty() ? "" : diagnostic.field + ": ";
    all[diagnostic.object].push_back({diagnostic.topic, field + diagnostic.message});
  }
  return all;
}

// Nothing: the object is in effect, or inactive for a reason that is among the complaints.
std::optional<Check> without_effect(const policy::ObjectId& id, const ObjectStatus& status) {
  const bool is_refused = status.state == ObjectStatus::State::kRefused;
  if (!is_refused && status.state != ObjectStatus::State::kNotYetInEffect) return std::nullopt;
  Check check;
  check.area = "policy";
  check.level = is_refused ? Level::kFail : Level::kWarn;
  check.subject = id.to_string();
  check.found = std::string(to_text(status.state)) + ": " + status.reason;
  check.remedy = is_refused
                     ? "write it as this version accepts it and apply it, or delete it"
                     : "it has no effect in this version; delete it, or leave it for a later";
  check.commands = {command("delete", id)};
  return check;
}

}  // namespace

std::vector<Check> check_policy(const Controller& controller) {
  std::vector<Check> checks;
  const Complaints complaints = collect(controller);
  size_t quiet = 0;
  for (const policy::Object& object : controller.store().objects()) {
    const size_t before = checks.size();
    if (auto check = without_effect(object.id, controller.statuses().of(object.id))) {
      checks.push_back(std::move(*check));
    }
    const auto said = complaints.find(object.id.to_string());
    if (said != complaints.end()) {
      for (const Complaint& complaint : said->second) checks.push_back(about(object.id, complaint));
    }
    if (checks.size() == before) ++quiet;
  }
  Check all;
  all.area = "policy";
  all.subject = "objects";
  all.found = std::to_string(quiet) + " of " + std::to_string(controller.store().objects().size()) +
              " have nothing against them, generation " +
              std::to_string(controller.snapshot().generation);
  checks.push_back(std::move(all));
  return checks;
}

}  // namespace np::control
