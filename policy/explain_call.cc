// SPDX-License-Identifier: Apache-2.0
#include "policy/explain_call.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "policy/route_table.h"

namespace np::policy {

namespace {

using PodEntry = Snapshot::PodEntry;
using Pods = std::vector<const PodEntry*>;

constexpr std::string_view kMeshDomain = ".svc.cluster.local";
// Labels by which people name an app, as Istio reads them.
constexpr std::array kAppLabels = {"app", "service.istio.io/canonical-name",
                                   "app.kubernetes.io/name"};

std::string name_of(const PodEntry& entry) {
  return entry.pod.ns + "/" + entry.pod.name;
}

// In order of name, so that the same question has the same answer.
template <typename Predicate>
Pods pods_that(const Snapshot& snapshot, const Predicate& holds) {
  Pods found;
  for (const auto& entry : snapshot.pods) {
    if (holds(entry->pod)) found.push_back(entry.get());
  }
  std::sort(found.begin(), found.end(),
            [](const PodEntry* a, const PodEntry* b) { return name_of(*a) < name_of(*b); });
  return found;
}

// "k=v,k=v"; nothing when it is not of that form.
std::optional<Labels> read_labels_text(std::string_view text) {
  Labels labels;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0) return std::nullopt;
    labels.emplace(item.substr(0, equals), item.substr(equals + 1));
  }
  return labels;
}

Pods pods_by_name(const Snapshot& snapshot, const ExplainQuestion& question) {
  const size_t slash = question.from.find('/');
  const std::string name = question.from.substr(slash == std::string::npos ? 0 : slash + 1);
  const std::string ns = slash == std::string::npos ? question.ns : question.from.substr(0, slash);
  Pods found =
      pods_that(snapshot, [&](const Pod& pod) { return pod.name == name && pod.ns == ns; });
  if (!found.empty() || slash != std::string::npos) return found;
  return pods_that(snapshot, [&](const Pod& pod) { return pod.name == name; });
}

Pods pods_of_app(const Snapshot& snapshot, const ExplainQuestion& question) {
  const auto is_app = [&](const Pod& pod) {
    return std::any_of(kAppLabels.begin(), kAppLabels.end(), [&](const char* key) {
      const auto label = pod.labels.find(key);
      return label != pod.labels.end() && label->second == question.from;
    });
  };
  Pods found =
      pods_that(snapshot, [&](const Pod& pod) { return pod.ns == question.ns && is_app(pod); });
  return found.empty() ? pods_that(snapshot, is_app) : found;
}

void take_caller(const Pods& pods, const std::string& how, const Snapshot& snapshot,
                 ExplainedCall& call) {
  const PodEntry& first = *pods.front();
  if (pods.size() > 1) {
    call.notes.push_back(std::to_string(pods.size()) + " pods " + how + ": explained for " +
                         name_of(first));
  } else if (!how.empty()) {
    call.notes.push_back("pod " + name_of(first) + " " + how);
  }
  call.pod = &first;
  if (first.pod.ips.empty() || snapshot.find_pod(first.pod.ips.front()) != &first) {
    call.pod = nullptr;
    call.notes.push_back(
        "pod " + name_of(first) +
        (first.pod.host_network ? " uses the node's network" : " has no address of its own") +
        ": its calls are those of an unknown caller");
    return;
  }
  call.peer = first.pod.ips.front();
}

void find_explained_caller(const ExplainQuestion& question, const Snapshot& snapshot,
                           ExplainedCall& call) {
  if (const auto ip = IpAddress::parse(question.from)) {
    call.peer = *ip;
    call.pod = snapshot.find_pod(*ip);
    if (call.pod == nullptr) call.notes.push_back("no pod has the address " + question.from);
    return;
  }
  if (question.from.find('=') != std::string::npos) {
    const auto labels = read_labels_text(question.from);
    const Pods pods = !labels ? Pods{} : pods_that(snapshot, [&](const Pod& pod) {
      return has_labels(pod.labels, *labels);
    });
    if (!pods.empty()) return take_caller(pods, "with " + question.from, snapshot, call);
    call.notes.push_back("no pod with " + question.from + " is known: an unknown caller");
    return;
  }
  Pods pods = pods_by_name(snapshot, question);
  if (!pods.empty()) {
    return take_caller(pods, pods.size() > 1 ? "are named " + question.from : "", snapshot, call);
  }
  pods = pods_of_app(snapshot, question);
  if (!pods.empty()) return take_caller(pods, "of app " + question.from, snapshot, call);
  call.notes.push_back("no pod " + question.from + " is known: an unknown caller");
}

// ---- destination -----------------------------------------------------------------------------

// What a resolver in the caller's namespace would try.
std::vector<std::string> full_names(const ExplainQuestion& question, const ExplainedCall& call) {
  const std::string& ns = call.pod != nullptr ? call.pod->pod.ns : question.ns;
  const std::string domain(kMeshDomain);
  return {question.host + "." + ns + domain, question.host + domain, question.host};
}

// The addresses that a client is given for the host: the service's own; of one that has none
// (headless, found by DNS) those that are covered. The lowest, of the caller's family where it can.
bool find_covered_address(const std::string& host, uint16_t port, const Model& model,
                          const Snapshot& snapshot, ExplainedCall& call) {
  std::vector<SocketAddress> addresses;
  for (const Service& service : model.services) {
    if (service.host != host) continue;
    for (const IpAddress& ip : service.addresses) {
      if (snapshot.by_address.contains({ip, port})) addresses.push_back({ip, port});
    }
  }
  const bool has_own = !addresses.empty();
  for (const auto& [address, captured] : snapshot.by_address) {
    if (!has_own && captured->host == host && address.port == port) addresses.push_back(address);
  }
  if (addresses.empty()) return false;
  const bool wants_v4 = call.pod == nullptr || call.peer.is_v4();
  std::sort(addresses.begin(), addresses.end(), [&](const auto& a, const auto& b) {
    const bool a_fits = a.ip.is_v4() == wants_v4, b_fits = b.ip.is_v4() == wants_v4;
    return a_fits != b_fits ? a_fits : a < b;
  });
  call.local = addresses.front();
  call.host = host;
  call.way = ExplainedCall::Way::kCaptured;
  return true;
}

// Hosts that are known by Host only: any address within the prefix stands for theirs.
bool find_covered_prefix(const std::string& host, uint16_t port, const Snapshot& snapshot,
                         ExplainedCall& call) {
  for (const auto& [prefix, captured] : snapshot.by_prefix) {
    if (prefix.port != port) continue;
    const bool is_listed =
        captured->by_host != nullptr && !captured->by_host->name_for(host).empty();
    if (!is_listed && captured->host != host) continue;
    call.local = {prefix.prefix.ip, port};
    call.host = host;
    call.way = ExplainedCall::Way::kCaptured;
    call.notes.push_back(host + " has no address that is known here: explained for " +
                         call.local.to_string() + ", one of " + prefix.prefix.to_string());
    return true;
  }
  return false;
}

bool find_gateway(const ExplainQuestion& question, const Snapshot& snapshot, ExplainedCall& call) {
  for (const GatewayListener& listener : snapshot.listeners) {
    if (listener.bind.port != question.port || listener.hosts == nullptr) continue;
    if (listener.hosts->find(question.host) == nullptr) continue;
    call.local = listener.bind;
    call.way = ExplainedCall::Way::kGateway;
    return true;
  }
  return false;
}

void find_address(const IpAddress& ip, const ExplainQuestion& question, const Snapshot& snapshot,
                  ExplainedCall& call) {
  call.local = {ip, question.port};
  if (const CapturedPort* captured = snapshot.find_captured(call.local)) {
    call.host = captured->host;
    call.way = ExplainedCall::Way::kCaptured;
    return;
  }
  const GatewayListener* listener = snapshot.find_listener(call.local);
  // A listener on every address does not make every address the node's.
  if (listener == nullptr || (call.pod != nullptr && listener->bind.ip != ip)) return;
  call.way = ExplainedCall::Way::kGateway;
}

}  // namespace

ExplainedCall resolve_call(const ExplainQuestion& question, const Model& model,
                           const Snapshot& snapshot) {
  ExplainedCall call;
  call.host = question.host;
  find_explained_caller(question, snapshot, call);
  if (const auto ip = IpAddress::parse(question.host)) {
    find_address(*ip, question, snapshot, call);
    return call;
  }
  const std::vector<std::string> names = full_names(question, call);
  for (const std::string& name : names) {
    if (find_covered_address(name, question.port, model, snapshot, call)) return call;
  }
  if (find_covered_prefix(question.host, question.port, snapshot, call)) return call;
  if (find_gateway(question, snapshot, call)) return call;
  for (const std::string& name : names) {
    const auto known =
        std::find_if(model.services.begin(), model.services.end(),
                     [&](const Service& service) { return host_covers(service.host, name); });
    if (known == model.services.end()) continue;
    call.host = name;
    std::string ports;
    for (const ServicePort& port : known->ports) {
      ports += (ports.empty() ? "" : ", ") + std::to_string(port.port);
    }
    const bool has_port = std::any_of(known->ports.begin(), known->ports.end(),
                                      [&](const auto& p) { return p.port == question.port; });
    call.notes.push_back(
        known->origin.to_string() +
        (has_port ? " has no address that could be captured"
                  : " has no port " + std::to_string(question.port) + ", only " + ports));
    return call;
  }
  call.notes.push_back("no service is known for host " + question.host + " port " +
                       std::to_string(question.port));
  return call;
}

}  // namespace np::policy
