// SPDX-License-Identifier: Apache-2.0
#include "policy/assume.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "policy/clusters.h"
#include "policy/route_table.h"

namespace np::policy {

namespace {

constexpr std::string_view kServiceSuffix = ".svc.cluster.local";

// Addresses that belong to nobody (RFC 2544, for measurements): one block for services, one for
// their endpoints, one for the caller.
enum class Block : uint8_t { kService = 18, kEndpoint = 19 };
IpAddress address_of(Block block, size_t number) {
  return IpAddress::v4(198, static_cast<uint8_t>(block), static_cast<uint8_t>(number >> 8U),
                       static_cast<uint8_t>(number));
}

// What the policies say of a host, as far as a registry would say it too.
struct Mentioned {
  std::set<uint16_t> ports;
  std::set<Labels> label_sets;
};

class Assumer {
 public:
  Assumer(const ExplainQuestion& question, Model& model) : question_(question), model_(model) {}

  std::vector<std::string> run() {
    const std::string domain(kServiceSuffix);
    wanted_ = {question_.host, question_.host + domain,
               question_.host + "." + question_.ns + domain};
    read_routes();
    for (const Service& service : model_.services) mentioned(service.host);
    read_policies();
    for (const auto& [host, mentioned] : hosts_) {
      if (host.empty() || host.starts_with('*')) continue;
      if (find_service(host) == nullptr) add_service(host, mentioned);
    }
    for (const auto& [host, mentioned] : hosts_) {
      const Service* service = find_service(host);
      if (service != nullptr && !service->host.starts_with('*') && !has_endpoints(*service))
        add_endpoints(*service, mentioned);
    }
    return std::move(notes_);
  }

 private:
  bool is_wanted(const std::string& pattern) const {
    return std::any_of(wanted_.begin(), wanted_.end(),
                       [&](const std::string& name) { return host_covers(pattern, name); });
  }
  // What a policy says of `host`, if the request may come there.
  Mentioned* mentioned(const std::string& host) {
    const auto found = hosts_.find(host);
    if (found != hosts_.end()) return &found->second;
    return wanted_.contains(host) ? &hosts_[host] : nullptr;
  }
  void read_routes();
  void read_policies();
  void read_rule(const RouteRule& rule);
  const Service* find_service(const std::string& host) const;
  bool has_endpoints(const Service& service) const;
  void add_service(const std::string& host, const Mentioned& mentioned);
  void add_endpoints(const Service& service, const Mentioned& mentioned);

  const ExplainQuestion& question_;
  Model& model_;
  std::set<std::string> wanted_;            // names that the question may mean
  std::map<std::string, Mentioned> hosts_;  // where the request may come to
  size_t services_ = 0, endpoints_ = 0;
  std::vector<std::string> notes_;
};

void Assumer::read_rule(const RouteRule& rule) {
  for (const MatchCondition& match : rule.matches) {
    if (!match.source_host.empty()) hosts_[match.source_host];
  }
  const auto read = [this](const Destination& destination) {
    Mentioned& host = hosts_[destination.host];
    if (destination.port != 0) host.ports.insert(destination.port);
    if (!destination.labels.empty()) host.label_sets.insert(destination.labels);
  };
  for (const Destination& destination : rule.destinations) read(destination);
  for (const Mirror& mirror : rule.mirrors) read(mirror.destination);
}

void Assumer::read_routes() {
  for (const RouteSet& set : model_.routes) {
    const bool in_mesh = set.gateways.empty() || std::find(set.gateways.begin(), set.gateways.end(),
                                                           "mesh") != set.gateways.end();
    if (std::none_of(set.hosts.begin(), set.hosts.end(),
                     [this](const std::string& host) { return is_wanted(host); })) {
      continue;
    }
    for (const std::string& host : set.hosts) {
      if (in_mesh && is_wanted(host)) hosts_[host];
    }
    for (const RouteRule& rule : set.http) read_rule(rule);
    for (const RouteRule& rule : set.tcp) read_rule(rule);
  }
}

void Assumer::read_policies() {
  for (const RateLimit& limit : model_.rate_limits) {
    for (const RateLimit::Target& target : limit.services) mentioned(target.host);
  }
  for (const QuotaSpecBinding& binding : model_.mixer.quota_spec_bindings) {
    for (const QuotaSpecBinding::Target& target : binding.services) mentioned(target.host);
  }
  for (const DestinationPolicy& policy : model_.destinations) {
    Mentioned* host = mentioned(policy.host);
    if (host == nullptr) continue;
    if (!policy.labels.empty()) host->label_sets.insert(policy.labels);
    for (const Subset& subset : policy.subsets) host->label_sets.insert(subset.labels);
  }
  for (const HostTraffic& traffic : model_.traffic) {
    Mentioned* host = mentioned(traffic.host);
    if (host != nullptr && !traffic.labels.empty()) host->label_sets.insert(traffic.labels);
  }
}

const Service* Assumer::find_service(const std::string& host) const {
  for (const Service& service : model_.services) {
    if (host_covers(service.host, host)) return &service;
  }
  return nullptr;
}

bool Assumer::has_endpoints(const Service& service) const {
  if (service.resolution != Service::Resolution::kCluster &&
      service.resolution != Service::Resolution::kStatic) {
    return true;  // found by name, or where it was dialled
  }
  const bool has_static =
      std::any_of(model_.endpoints.begin(), model_.endpoints.end(),
                  [&](const StaticEndpoint& one) { return one.host == service.host; });
  return has_static || (!service.selector.empty() &&
                        std::any_of(model_.pods.begin(), model_.pods.end(), [&](const Pod& pod) {
                          return pod.ns == service.ns && has_labels(pod.labels, service.selector);
                        }));
}

void Assumer::add_service(const std::string& host, const Mentioned& mentioned) {
  Service service;
  service.origin.kind = "Service";
  service.host = host;
  const std::string name = host.substr(0, host.find('.'));
  service.ns = question_.ns;
  if (host.ends_with(kServiceSuffix) && host.size() > name.size() + 1 + kServiceSuffix.size()) {
    const size_t begin = name.size() + 1;
    service.ns = host.substr(begin, host.size() - kServiceSuffix.size() - begin);
    service.selector = {{"app", name}};
  } else {
    service.external = true;
    service.resolution = Service::Resolution::kStatic;
  }
  service.origin.ns = service.ns;
  service.origin.name = name;
  service.addresses.push_back(address_of(Block::kService, ++services_));
  std::set<uint16_t> ports = mentioned.ports;
  ports.insert(question_.port);
  for (const uint16_t port : ports) {
    service.ports.push_back({"http-" + std::to_string(port), port, Protocol::kHttp, 0, ""});
  }
  notes_.push_back("no file has a service " + host + ": assumed, with HTTP at port " +
                   std::to_string(question_.port));
  model_.services.push_back(std::move(service));
}

void Assumer::add_endpoints(const Service& service, const Mentioned& mentioned) {
  std::set<Labels> sets = mentioned.label_sets;
  if (sets.empty()) sets.insert(Labels{});
  std::string names;
  for (const Labels& labels : sets) {
    StaticEndpoint endpoint;
    endpoint.origin = service.origin;
    endpoint.host = service.host;
    endpoint.address = address_of(Block::kEndpoint, ++endpoints_).to_string();
    for (const ServicePort& port : service.ports) {
      endpoint.ports[port.name] = port.target_port != 0 ? port.target_port : port.port;
    }
    endpoint.labels = service.selector;
    for (const auto& [key, value] : labels) endpoint.labels[key] = value;
    if (!labels.empty()) names += (names.empty() ? " with " : "; ") + label_text(labels);
    model_.endpoints.push_back(std::move(endpoint));
  }
  notes_.push_back("no file has endpoints of " + service.host + ": assumed, " +
                   std::to_string(sets.size()) + names);
}

}  // namespace

std::vector<std::string> assume_services(const ExplainQuestion& question, Model& model) {
  return Assumer(question, model).run();
}

std::vector<std::string> assume_caller(const ExplainQuestion& question, Model& model) {
  Pod pod;
  pod.origin.kind = "Pod";
  pod.ns = question.ns;
  pod.name = question.from;
  const size_t slash = question.from.find('/');
  if (slash != std::string::npos) {
    pod.ns = question.from.substr(0, slash);
    pod.name = question.from.substr(slash + 1);
  }
  if (question.from.find('=') == std::string::npos) {
    pod.labels["app"] = pod.name;
  } else {
    std::string_view rest = question.from;
    while (!rest.empty()) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
      const size_t equals = std::min(item.find('='), item.size());
      pod.labels[std::string(item.substr(0, equals))] =
          item.substr(std::min(equals + 1, item.size()));
    }
    pod.name = "caller";
  }
  pod.ips.push_back(address_of(Block::kEndpoint, 0));
  pod.ready = false;  // it calls; nothing is sent to it
  pod.origin.ns = pod.ns;
  pod.origin.name = pod.name;
  std::vector<std::string> notes = {"no file has such a pod: assumed " + pod.ns + "/" + pod.name +
                                    " with " + label_text(pod.labels)};
  model.pods.push_back(std::move(pod));
  return notes;
}

}  // namespace np::policy
