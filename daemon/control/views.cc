// SPDX-License-Identifier: Apache-2.0
#include "control/views.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "control/acceleration_view.h"
#include "control/resource_name.h"

namespace np::control {
namespace {

// ---- objects --------------------------------------------------------------------------------

// The kinds that a comma-separated text names; nothing when one of them is unknown.
bool find_kinds(const std::string& text, std::vector<const policy::KindInfo*>& kinds,
                std::string& unknown) {
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    if (part == "all") {
      for (const policy::KindInfo& kind : policy::known_kinds()) kinds.push_back(&kind);
      continue;
    }
    const policy::KindInfo* kind = policy::find_kind(part);
    if (kind == nullptr) {
      unknown = part;
      return false;
    }
    kinds.push_back(kind);
  }
  return true;
}

bool is_of(const policy::Object& object, const policy::KindInfo& kind) {
  return object.id.kind == kind.kind && object.id.group == kind.group;
}

Json describe(const policy::Object& object, const ObjectStatus& status) {
  return {{"resource", resource_name(object.id)},
          {"group", object.id.group},
          {"kind", object.id.kind},
          {"namespace", object.id.ns},
          {"name", object.id.name},
          {"api_version", object.api_version},
          {"text", object.text},
          {"file", object.file},
          {"line", object.line},
          {"generation", object.generation},
          {"sequence", object.sequence},
          {"created_unix_ns", object.created_unix_ns},
          {"status", to_text(status)},
          {"reason", status.reason},
          {"warnings", status.warnings},
          {"hosts", status.hosts}};
}

bool asks_acceleration(const policy::Model& model, const policy::ObjectId& id) {
  return std::any_of(model.traffic.begin(), model.traffic.end(), [&id](const auto& traffic) {
    return traffic.asks_acceleration && traffic.origin.to_string() == id.to_string();
  });
}

std::string not_found(const policy::KindInfo& kind, const std::string& name) {
  return resource_type({std::string(kind.group), std::string(kind.kind), "", ""}) + " \"" + name +
         "\" not found";
}

}  // namespace

std::string unknown_kind(std::string_view text) {
  return "the daemon has no resource type \"" + std::string(text) + "\"";
}

Json view_objects(const Controller& controller, const ObjectQuery& query,
                  AccelerationHost* acceleration) {
  std::vector<const policy::KindInfo*> kinds;
  std::string unknown;
  if (!find_kinds(query.kind, kinds, unknown)) return refusal(unknown_kind(unknown));
  Json list = Json::array();
  Json missing = Json::array();
  std::set<std::string> found;
  for (const policy::KindInfo* kind : kinds) {
    for (const policy::Object& object : controller.store().objects()) {
      if (!is_of(object, *kind)) continue;
      const bool in_namespace =
          query.all_namespaces || !kind->namespaced || object.id.ns == query.ns;
      if (!in_namespace) continue;
      const bool named = query.names.empty() ||
                         std::count(query.names.begin(), query.names.end(), object.id.name) > 0;
      if (!named) continue;
      found.insert(object.id.name);
      list.push_back(describe(object, controller.statuses().of(object.id)));
      if (asks_acceleration(controller.model(), object.id)) {
        list.back()["acceleration"] = acceleration_text(controller, acceleration);
      }
    }
  }
  for (const std::string& name : query.names) {
    if (!found.contains(name)) missing.push_back(not_found(*kinds.front(), name));
  }
  return {{"ok", true}, {"objects", std::move(list)}, {"missing", std::move(missing)}};
}

Json view_pods(const Controller& controller, CounterSource* counters) {
  std::map<uint32_t, std::vector<NamedCounter>> use;
  if (counters != nullptr) use = counters->pod_use();
  Json list = Json::array();
  for (const PodReport& pod : controller.pods().reports(controller.model())) {
    Json ips = Json::array();
    for (const IpAddress& ip : pod.ips) ips.push_back(ip.to_string());
    Json used = Json::object();
    for (const NamedCounter& one : use[pod.id]) used[one.name] = one.value;
    list.push_back({{"namespace", pod.ns},
                    {"name", pod.name},
                    {"ips", std::move(ips)},
                    {"ifname", pod.ifname},
                    {"labels", pod.labels},
                    {"hook", pod.hook},
                    {"captured_since_unix_ns", pod.captured_since_unix_ns},
                    {"use", std::move(used)},
                    {"status", pod.status}});
  }
  return {{"ok", true}, {"pods", std::move(list)}};
}

}  // namespace np::control
