// SPDX-License-Identifier: Apache-2.0
#include "control/pod_registry.h"

#include <net/if.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

constexpr size_t kNameCharactersMax = 253;
constexpr size_t kNamespaceCharactersMax = 63;
constexpr size_t kLabelCharactersMax = 63;
constexpr size_t kLabelsMax = 64;
constexpr size_t kAddressesMax = 16;

std::string key_of(const std::string& ns, const std::string& name) {
  return ns + "/" + name;
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// RFC 1123: lower case letters, digits, '-' (and '.' where `dots`), alphanumeric at both ends.
bool is_dns_name(std::string_view text, size_t characters_max, bool dots) {
  if (text.empty() || text.size() > characters_max) return false;
  if (!is_alphanumeric(text.front()) || !is_alphanumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [dots](char c) {
    return is_alphanumeric(c) || c == '-' || (dots && c == '.');
  });
}

bool is_label_text(std::string_view text, size_t characters_max, std::string_view extra) {
  return text.size() <= characters_max && std::all_of(text.begin(), text.end(), [extra](char c) {
           return is_alphanumeric(c) || (c >= 'A' && c <= 'Z') ||
                  extra.find(c) != std::string_view::npos;
         });
}

bool is_interface_name(std::string_view text) {
  return !text.empty() && text.size() < IFNAMSIZ && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return c > 0x20 && c < 0x7f && c != '/' && c != ':'; });
}

Error invalid(std::string what, const std::string& found, std::string allowed) {
  return Error{ErrorCode::kInvalid, std::move(what), "found \"" + found + "\"",
               "allowed: " + std::move(allowed)};
}

std::string joined_name(const PodRegistration& pod) {
  return key_of(pod.ns, pod.name);
}

}  // namespace

Result<void> check_registration(const PodRegistration& pod) {
  if (!is_dns_name(pod.name, kNameCharactersMax, true)) {
    return invalid("pod name", pod.name, "lower case letters, digits, '-' and '.'");
  }
  if (!is_dns_name(pod.ns, kNamespaceCharactersMax, false)) {
    return invalid("namespace", pod.ns, "at most 63 lower case letters, digits and '-'");
  }
  if (pod.ips.empty() || pod.ips.size() > kAddressesMax) {
    return invalid("--ip", std::to_string(pod.ips.size()) + " addresses", "1 to 16");
  }
  for (const IpAddress& ip : pod.ips) {
    if (ip.is_unspecified()) return invalid("--ip", ip.to_string(), "the pod's own address");
  }
  if (!is_interface_name(pod.ifname)) {
    return invalid("--ifname", pod.ifname, "the host end of the pod's veth, at most 15 characters");
  }
  if (pod.labels.size() > kLabelsMax) {
    return invalid("labels", std::to_string(pod.labels.size()) + " labels", "at most 64");
  }
  for (const auto& [name, value] : pod.labels) {
    if (name.empty() || !is_label_text(name, kNameCharactersMax, "-_./")) {
      return invalid("label name", name, "letters, digits, '-', '_', '.' and one '/'");
    }
    if (!is_label_text(value, kLabelCharactersMax, "-_.")) {
      return invalid("label " + name, value, "at most 63 letters, digits, '-', '_' and '.'");
    }
  }
  return ok();
}

// Every text in here passed check_registration(), so quoting needs no escapes.
policy::Object pod_object(const PodRegistration& pod) {
  policy::Object object;
  object.id = {"", "Pod", pod.ns, pod.name};
  object.api_version = "v1";
  object.file = "nodectl pod add";
  object.line = 1;
  std::string& text = object.text;
  text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"" + pod.name + "\"\n  namespace: \"" +
         pod.ns + "\"\n";
  if (!pod.labels.empty()) text += "  labels:\n";
  for (const auto& [name, value] : pod.labels) {
    text += "    \"" + name + "\": \"" + value + "\"\n";
  }
  text += "status:\n  podIP: \"" + pod.ips.front().to_string() + "\"\n  podIPs:\n";
  for (const IpAddress& ip : pod.ips) text += "  - ip: \"" + ip.to_string() + "\"\n";
  return object;
}

void PodRegistry::restore(std::vector<PodRegistration> pods) {
  pods_.clear();
  for (PodRegistration& pod : pods) put(std::move(pod));
}

const PodRegistration* PodRegistry::find(const std::string& ns, const std::string& name) const {
  const auto at = pods_.find(key_of(ns, name));
  return at == pods_.end() ? nullptr : &at->second;
}

const PodRegistration* PodRegistry::find_conflict(const PodRegistration& but) const {
  for (const auto& [key, pod] : pods_) {
    if (key == joined_name(but)) continue;
    const bool same_ip = std::find_first_of(pod.ips.begin(), pod.ips.end(), but.ips.begin(),
                                            but.ips.end()) != pod.ips.end();
    if (same_ip || pod.ifname == but.ifname) return &pod;
  }
  return nullptr;
}

std::vector<PodRegistration> PodRegistry::all() const {
  std::vector<PodRegistration> list;
  for (const auto& [key, pod] : pods_) list.push_back(pod);
  return list;
}

void PodRegistry::put(PodRegistration pod) {
  std::string key = joined_name(pod);
  pods_.insert_or_assign(std::move(key), std::move(pod));
}

void PodRegistry::erase(const std::string& ns, const std::string& name) {
  pods_.erase(key_of(ns, name));
  problems_.erase(key_of(ns, name));
}

Result<void> PodRegistry::attach(const PodRegistration& pod, const policy::Snapshot& snapshot) {
  if (attacher_ == nullptr) return ok();
  const std::string key = joined_name(pod);
  problems_.erase(key);
  const uint32_t id = snapshot.pod_id(pod.ips.front());
  if (id == 0) {
    Error error{ErrorCode::kConflict, "attach pod " + key,
                "another pod object claims address " + pod.ips.front().to_string(), ""};
    problems_[key] = error.detail;
    return error;
  }
  ids_[key] = id;
  auto state = attacher_->attach({id, key, pod.ips, pod.ifname});
  if (!state) {
    problems_[key] = state.error().to_string();
    return std::move(state).error();
  }
  if (state->problem.empty()) return ok();
  problems_[key] = state->problem;
  return Error{ErrorCode::kSystem, "attach pod " + key, state->problem, ""};
}

Result<void> PodRegistry::detach(const PodRegistration& pod) {
  const auto id = ids_.find(joined_name(pod));
  if (attacher_ == nullptr || id == ids_.end()) return ok();
  NP_TRY(attacher_->detach(id->second));
  ids_.erase(id);
  return ok();
}

void PodRegistry::attach_all(const policy::Snapshot& snapshot) {
  for (const auto& [key, pod] : pods_) {
    if (pod.detached) continue;
    auto result = attach(pod, snapshot);
    if (!result) log_warn("pod " + key + " is not captured: " + result.error().to_string());
  }
}

Result<void> PodRegistry::detach_all() {
  if (attacher_ != nullptr) NP_TRY(attacher_->detach_all());
  for (auto& [key, pod] : pods_) pod.detached = true;
  ids_.clear();
  return ok();
}

PodReport PodRegistry::report(const PodRegistration& pod,
                              const std::vector<PodState>& states) const {
  PodReport line{pod.ns, pod.name, pod.ips, pod.ifname, pod.labels, "", 0, "", 0};
  if (attacher_ == nullptr) {
    line.status = "not captured: the daemon runs with --no-capture";
    return line;
  }
  const auto id = ids_.find(joined_name(pod));
  if (id != ids_.end()) line.id = id->second;
  const auto state = std::find_if(states.begin(), states.end(), [&](const PodState& candidate) {
    return id != ids_.end() && candidate.pod_id == id->second;
  });
  const auto problem = problems_.find(joined_name(pod));
  if (pod.detached) {
    line.status = "detached";
  } else if (state != states.end() && state->ifindex == 0) {
    line.status = "interface " + pod.ifname + " is gone";
  } else if (state != states.end() && !state->problem.empty()) {
    line.status = state->problem;
  } else if (state != states.end()) {
    line.hook = state->hook;
    line.captured_since_unix_ns = state->captured_since_unix_ns;
    line.status = "captured";
  } else {
    line.status = problem != problems_.end() ? problem->second : "not captured";
  }
  return line;
}

std::vector<PodReport> PodRegistry::reports(const policy::Model& model) const {
  const std::vector<PodState> states =
      attacher_ == nullptr ? std::vector<PodState>{} : attacher_->list();
  std::vector<PodReport> lines;
  for (const auto& [key, pod] : pods_) lines.push_back(report(pod, states));
  for (const policy::Pod& pod : model.pods) {
    if (find(pod.ns, pod.name) != nullptr) continue;
    const char* status = pod.host_network ? "unsupported: hostNetwork" : "not registered here";
    lines.push_back({pod.ns, pod.name, pod.ips, "", pod.labels, "", 0, status, 0});
  }
  return lines;
}

}  // namespace np::control
