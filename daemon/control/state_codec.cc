// SPDX-License-Identifier: Apache-2.0
#include "control/state_codec.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace np::control {
namespace {

using Json = nlohmann::json;

// Raised when the layout changes in a way that an older reader would misread.
constexpr int kFormat = 1;

Json to_json(const policy::Object& object) {
  return {{"group", object.id.group},
          {"kind", object.id.kind},
          {"namespace", object.id.ns},
          {"name", object.id.name},
          {"api_version", object.api_version},
          {"text", object.text},
          {"file", object.file},
          {"line", object.line},
          {"sequence", object.sequence},
          {"generation", object.generation},
          {"created", object.created_unix_ns},
          {"changed", object.changed_unix_ns}};
}

policy::Object object_from(const Json& json) {
  policy::Object object;
  object.id = {json.at("group").get<std::string>(), json.at("kind").get<std::string>(),
               json.at("namespace").get<std::string>(), json.at("name").get<std::string>()};
  object.api_version = json.at("api_version").get<std::string>();
  object.text = json.at("text").get<std::string>();
  object.file = json.at("file").get<std::string>();
  object.line = json.at("line").get<int>();
  object.sequence = json.at("sequence").get<uint64_t>();
  object.generation = json.at("generation").get<uint64_t>();
  object.created_unix_ns = json.at("created").get<uint64_t>();
  object.changed_unix_ns = json.value("changed", object.created_unix_ns);
  return object;
}

Json to_json(const PodRegistration& pod) {
  Json ips = Json::array();
  for (const IpAddress& ip : pod.ips) ips.push_back(ip.to_string());
  return {{"namespace", pod.ns},  {"name", pod.name},     {"ips", std::move(ips)},
          {"ifname", pod.ifname}, {"labels", pod.labels}, {"detached", pod.detached}};
}

PodRegistration pod_from(const Json& json) {
  PodRegistration pod;
  pod.ns = json.at("namespace").get<std::string>();
  pod.name = json.at("name").get<std::string>();
  for (const Json& text : json.at("ips")) {
    const auto ip = IpAddress::parse(text.get<std::string>());
    if (ip) pod.ips.push_back(*ip);
  }
  pod.ifname = json.at("ifname").get<std::string>();
  pod.labels = json.at("labels").get<policy::Labels>();
  pod.detached = json.at("detached").get<bool>();
  return pod;
}

Json to_json(const GuardSettings& guard) {
  Json places = Json::array(), denied = Json::array(), limits = Json::array();
  for (const GuardPlace& place : guard.places) {
    places.push_back({{"ifname", place.ifname}, {"mode", place.mode}});
  }
  for (const IpPrefix& prefix : guard.denied) denied.push_back(prefix.to_string());
  for (const GuardLimit& limit : guard.limits) {
    limits.push_back({{"destination", limit.destination.to_string()},
                      {"rate", limit.rate},
                      {"burst", limit.burst},
                      {"sheds", limit.sheds}});
  }
  return {
      {"places", std::move(places)}, {"denied", std::move(denied)}, {"limits", std::move(limits)}};
}

GuardSettings guard_from(const Json& json) {
  GuardSettings guard;
  for (const Json& place : json.at("places")) {
    guard.places.push_back(
        {place.at("ifname").get<std::string>(), place.at("mode").get<std::string>()});
  }
  for (const Json& text : json.at("denied")) {
    const auto prefix = IpPrefix::parse(text.get<std::string>());
    if (prefix) guard.denied.push_back(*prefix);
  }
  for (const Json& limit : json.at("limits")) {
    const auto destination = SocketAddress::parse(limit.at("destination").get<std::string>());
    if (!destination) continue;
    guard.limits.push_back({*destination, limit.at("rate").get<uint32_t>(),
                            limit.at("burst").get<uint32_t>(), limit.at("sheds").get<bool>()});
  }
  return guard;
}

}  // namespace

std::string to_json_text(const SavedState& state) {
  Json json = {{"format", kFormat},
               {"generation", state.generation},
               {"next_sequence", state.next_sequence},
               {"objects", Json::array()},
               {"pods", Json::array()},
               {"guard", to_json(state.guard)}};
  for (const policy::Object& object : state.objects) json["objects"].push_back(to_json(object));
  for (const PodRegistration& pod : state.pods) json["pods"].push_back(to_json(pod));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<SavedState> parse_saved_state(std::string_view text) {
  const auto unreadable = [](const std::string& why) {
    return Error{ErrorCode::kUnsupported, "read the saved state", why,
                 "it was written by another version; move it away to start without policy"};
  };
  try {
    const Json json = Json::parse(text);
    const int format = json.at("format").get<int>();
    if (format != kFormat) return unreadable("format " + std::to_string(format) + " is not known");
    SavedState state;
    state.generation = json.at("generation").get<uint64_t>();
    state.next_sequence = json.at("next_sequence").get<uint64_t>();
    for (const Json& object : json.at("objects")) state.objects.push_back(object_from(object));
    for (const Json& pod : json.at("pods")) {
      PodRegistration registration = pod_from(pod);
      if (check_registration(registration)) state.pods.push_back(std::move(registration));
    }
    if (json.contains("guard")) state.guard = guard_from(json["guard"]);
    return state;
  } catch (const Json::exception& problem) {
    return unreadable(problem.what());
  }
}

}  // namespace np::control
