// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of compile(): a Model built by hand, in a few words, and a look at what came
// out of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "policy/compile.h"

namespace np::policy {

inline constexpr char kReviews[] = "reviews.default.svc.cluster.local";
inline constexpr char kReviewsAddress[] = "10.96.0.1:9080";
inline constexpr char kRatings[] = "ratings.default.svc.cluster.local";

inline SocketAddress at(const char* text) {
  return SocketAddress::parse(text).value();
}
inline IpAddress ip(const char* text) {
  return IpAddress::parse(text).value();
}
inline StringMatch exact(std::string value) {
  return {StringMatch::Kind::kExact, std::move(value), false};
}
inline StringMatch prefix(std::string value) {
  return {StringMatch::Kind::kPrefix, std::move(value), false};
}
inline StringMatch regex(std::string value) {
  return {StringMatch::Kind::kRegex, std::move(value), false};
}
inline StringMatch elements(std::string value) {
  return {StringMatch::Kind::kPathElements, std::move(value), false};
}
inline StringMatch present() {
  return {StringMatch::Kind::kPresent, "", false};
}

inline MatchCondition on_path(StringMatch match) {
  MatchCondition condition;
  condition.path = std::move(match);
  return condition;
}
inline MatchCondition on_header(std::string name, StringMatch match) {
  MatchCondition condition;
  condition.headers.push_back({std::move(name), std::move(match)});
  return condition;
}

inline Destination to_labels(std::string host, Labels labels, uint32_t weight = 100) {
  Destination out;
  out.host = std::move(host);
  out.labels = std::move(labels);
  out.weight = weight;
  return out;
}
inline Destination to_version(std::string host, std::string version, uint32_t weight = 100) {
  return to_labels(std::move(host), {{"version", std::move(version)}}, weight);
}
inline Destination to_subset(std::string host, std::string subset, uint32_t weight = 0) {
  Destination out;
  out.host = std::move(host);
  out.subset = std::move(subset);
  out.weight = weight;
  return out;
}

inline RouteRule rule(std::string name, std::vector<MatchCondition> matches,
                      std::vector<Destination> destinations) {
  RouteRule out;
  out.name = std::move(name);
  out.matches = std::move(matches);
  out.destinations = std::move(destinations);
  return out;
}

// Collects objects; sequence numbers follow the order of the calls.
class World {
 public:
  Model model;
  DnsAnswers dns;
  IdTable ids;
  std::shared_ptr<const Snapshot> snapshot;

  Origin origin(std::string kind, std::string name, std::string ns = "default") {
    Origin out;
    out.kind = std::move(kind);
    out.ns = std::move(ns);
    out.name = std::move(name);
    out.sequence = ++sequence_;
    return out;
  }
  Service& service(const std::string& name, const char* address, uint16_t port = 9080,
                   Protocol protocol = Protocol::kHttp) {
    Service out;
    out.origin = origin("Service", name);
    out.host = name + ".default.svc.cluster.local";
    out.ns = "default";
    if (*address != '\0') out.addresses.push_back(ip(address));
    out.ports.push_back({"http", port, protocol, 0, ""});
    out.selector = {{"app", name}};
    model.services.push_back(out);
    return model.services.back();
  }
  Service& external(const std::string& host, Service::Resolution resolution, uint16_t port = 80,
                    Protocol protocol = Protocol::kHttp) {
    Service out;
    out.origin = origin("ServiceEntry", host);
    out.host = host;
    out.ns = "default";
    out.ports.push_back({"http", port, protocol, 0, ""});
    out.resolution = resolution;
    out.external = true;
    model.services.push_back(out);
    return model.services.back();
  }
  Pod& pod(const std::string& name, const std::string& app, const std::string& version,
           const char* address, const std::string& ns = "default") {
    Pod out;
    out.origin = origin("Pod", name, ns);
    out.name = name;
    out.ns = ns;
    out.labels = {{"app", app}, {"version", version}};
    out.ips.push_back(ip(address));
    model.pods.push_back(out);
    return model.pods.back();
  }
  RouteSet& route_rule(const std::string& name, const std::string& host, int precedence,
                       RouteRule only) {
    RouteSet out;
    out.origin = origin("RouteRule", name);
    out.api = RouteSet::Api::kRouteRule;
    out.hosts = {host};
    out.precedence = precedence;
    out.http.push_back(std::move(only));
    model.routes.push_back(out);
    return model.routes.back();
  }
  RouteSet& virtual_service(const std::string& name, const std::string& host,
                            std::vector<RouteRule> rules) {
    RouteSet out;
    out.origin = origin("VirtualService", name);
    out.hosts = {host};
    out.gateways = {"mesh"};
    out.http = std::move(rules);
    model.routes.push_back(out);
    return model.routes.back();
  }
  DestinationPolicy& destination_policy(const std::string& name, const std::string& host,
                                        Labels labels) {
    DestinationPolicy out;
    out.origin = origin("DestinationPolicy", name);
    out.api = DestinationPolicy::Api::kDestinationPolicy;
    out.host = host;
    out.labels = std::move(labels);
    model.destinations.push_back(out);
    return model.destinations.back();
  }
  DestinationPolicy& destination_rule(const std::string& name, const std::string& host,
                                      std::vector<Subset> subsets) {
    DestinationPolicy out;
    out.origin = origin("DestinationRule", name);
    out.host = host;
    out.subsets = std::move(subsets);
    model.destinations.push_back(out);
    return model.destinations.back();
  }
  // reviews v1, v2, v3 and ratings v1, with a productpage that calls them.
  void bookinfo() {
    service("reviews", "10.96.0.1");
    service("ratings", "10.96.0.2");
    service("productpage", "10.96.0.3");
    pod("reviews-1", "reviews", "v1", "10.1.0.1");
    pod("reviews-2", "reviews", "v2", "10.1.0.2");
    pod("reviews-3", "reviews", "v3", "10.1.0.3");
    pod("ratings-1", "ratings", "v1", "10.1.0.4");
    pod("productpage-1", "productpage", "v1", "10.1.0.5");
  }

  const Snapshot& compile(Instant now = instant_from_ns(1)) {
    snapshot = policy::compile({&model, &dns, ++generation_, now}, ids);
    return *snapshot;
  }
  CallerView caller(const char* address) const {
    CallerView out;
    out.ip = ip(address);
    const auto* entry = snapshot->find_pod(out.ip);
    out.pod = entry != nullptr ? &entry->pod : nullptr;
    out.pod_id = snapshot->pod_id(out.ip);
    return out;
  }
  const CapturedPort* captured(const char* address) const {
    return snapshot->find_captured(at(address));
  }
  RouteMatch match(const char* dialled, const RequestView& request,
                   const char* from = "10.1.0.5") const {
    return captured(dialled)->http_routes->match(request, caller(from));
  }
  // The names of the clusters of the route that a GET of `path` takes; "none" and "null" speak for
  // themselves.
  std::string destination(const char* dialled, std::string_view path = "/", FieldSpan fields = {},
                          const char* from = "10.1.0.5") const {
    RequestView request;
    request.method = "GET";
    request.scheme = "http";
    request.path = path;
    request.fields = fields;
    request.port = at(dialled).port;
    return names(match(dialled, request, from).route);
  }
  static std::string names(const Route* route) {
    if (route == nullptr) return "none";
    std::string out;
    for (const WeightedCluster& target : route->clusters) {
      if (!out.empty()) out += " ";
      out += target.cluster == nullptr ? "null" : target.cluster->name;
    }
    return out;
  }
  bool found(Finding::Level level, const std::string& object, const std::string& part) const {
    for (const Finding& finding : snapshot->findings) {
      if (finding.level == level && finding.origin.to_string() == object &&
          finding.message.find(part) != std::string::npos) {
        return true;
      }
    }
    return false;
  }
  std::string all_findings() const {
    std::string out;
    for (const Finding& finding : snapshot->findings) {
      out += finding.origin.to_string() + ": " + finding.message + "\n";
    }
    return out;
  }
  const Cluster* cluster(const std::string& name) const {
    for (const auto& candidate : snapshot->clusters)
      if (candidate->name == name) return candidate.get();
    return nullptr;
  }

 private:
  uint64_t sequence_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace np::policy
