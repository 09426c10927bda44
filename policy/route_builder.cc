// SPDX-License-Identifier: Apache-2.0
#include "policy/route_builder.h"

#include <algorithm>
#include <tuple>
#include <unordered_set>

namespace np::policy {

namespace {

// Splitting a destination into shares keeps the proportions of its neighbours to this precision.
constexpr uint64_t kShareScale = 1000;

// The Gateway API's order among all rules of a host (traffic-semantics.md 2.7): smaller is first.
auto httproute_rank(const MatchCondition& match) {
  using Kind = StringMatch::Kind;
  int path_rank = 2;
  size_t length = 0;
  if (match.path && match.path->kind == Kind::kExact) path_rank = 0;
  // The standard leaves the place of expressions open; they say more than a prefix does.
  if (match.path && match.path->kind == Kind::kRegex) path_rank = 1;
  if (match.path && path_rank == 2) {
    length = match.path->value.size();
    if (length > 1 && match.path->value.back() == '/') --length;
  }
  return std::tuple(path_rank, SIZE_MAX - length, !match.method.has_value(),
                    SIZE_MAX - match.headers.size(), SIZE_MAX - match.query_params.size());
}

uint64_t sum_of(const ClusterShares& shares) {
  uint64_t sum = 0;
  for (const ClusterShare& share : shares) sum += share.weight;
  return sum;
}

}  // namespace

bool counts_in(const MatchCondition& match, const RouteContext& context) {
  if (match.port != 0 && match.port != context.port) return false;
  return match.gateways.empty() ||
         std::any_of(match.gateways.begin(), match.gateways.end(), [&](const std::string& name) {
           return std::find(context.ways_in.begin(), context.ways_in.end(), name) !=
                  context.ways_in.end();
         });
}

RouteBuilder::RouteBuilder(const Registry& registry, ClusterBuilder& clusters, IdTable& ids,
                           Snapshot& snapshot, Findings& findings)
    : registry_(registry),
      clusters_(clusters),
      ids_(ids),
      snapshot_(snapshot),
      findings_(findings),
      regexes_([this](const std::string& pattern, const std::string& why) {
        findings_.warning(compiling_, "expression never matches: " + pattern + ": " + why);
      }) {}

MemberSet RouteBuilder::members_of(const std::string& host, const Origin& origin) {
  if (host.empty()) return nullptr;
  const ServiceRecord* record = registry_.find(host);
  if (record != nullptr) return record->members;
  findings_.warning(
      origin, "match.source: no service is known for host " + host + ": the rule matches no caller",
      Topic::kMissing);
  return nobody_;
}

void RouteBuilder::add_rules(const RouteSet& set, Kind kind, const RouteContext& context) {
  static const std::vector<MatchCondition> kAlways(1);
  const std::vector<RouteRule>& rules = kind == Kind::kHttp ? set.http : set.tcp;
  std::unordered_set<std::string> keys;
  for (size_t i = 0; i < rules.size(); ++i) {
    const RouteRule& rule = rules[i];
    compiling_ = rule.origin.kind.empty() ? set.origin : rule.origin;
    std::string key = rule.name;
    if (key.empty() || !keys.insert(key).second) key += "#" + std::to_string(i);
    if (kind == Kind::kTcp) key += " (tcp)";
    const Route* route = nullptr;  // made when some match counts here
    for (const MatchCondition& match : rule.matches.empty() ? kAlways : rule.matches) {
      if (!counts_in(match, context)) continue;
      if (route == nullptr) route = make_route(set, rule, key, context);
      candidates_.push_back(
          {&match, {Condition(match, members_of(match.source_host, compiling_), regexes_), route}});
    }
  }
}

std::shared_ptr<const RuleIndex> RouteBuilder::take_index(bool by_precedence_list) {
  if (by_precedence_list) {
    std::stable_sort(candidates_.begin(), candidates_.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return httproute_rank(*a.match) < httproute_rank(*b.match);
                     });
  }
  std::vector<RuleIndex::Entry> entries;
  entries.reserve(candidates_.size());
  for (Candidate& candidate : candidates_) entries.push_back(std::move(candidate.entry));
  candidates_.clear();
  return std::make_shared<const RuleIndex>(std::move(entries));
}

const Route* RouteBuilder::make_route(const RouteSet& set, const RouteRule& rule,
                                      const std::string& key, const RouteContext& context) {
  auto route = std::make_unique<Route>();
  route->object = set.origin.to_string();
  route->name = rule.name.empty() ? set.origin.name : rule.name;
  route->file = set.origin.file;
  route->line = rule.origin.line != 0 ? rule.origin.line : set.origin.line;
  route->id = ids_.id(IdTable::Space::kRoute, route->object + " " + key);
  route->redirect = rule.redirect;
  route->direct_response = rule.direct_response;
  route->rewrite = rule.rewrite;
  route->fault = rule.fault;
  route->timeout = rule.timeout.value_or(Duration{});
  route->retry = rule.retry.value_or(Retry{});
  route->cors = rule.cors;
  route->request_headers = rule.request_headers;
  route->response_headers = rule.response_headers;
  route->websocket = rule.websocket;
  fill_regexes(*route);
  if (rule.redirect) {
    route->action = Route::Action::kRedirect;
  } else if (rule.direct_response) {
    route->action = Route::Action::kDirectResponse;
  } else {
    fill_destinations(set, rule, context, *route);
  }
  fill_mirrors(rule, context, *route);
  snapshot_.routes.push_back(std::move(route));
  return snapshot_.routes.back().get();
}

void RouteBuilder::fill_regexes(Route& route) {
  if (route.rewrite && route.rewrite->regex) {
    route.rewrite_regex = regexes_.get(*route.rewrite->regex);
  }
  if (!route.cors) return;
  for (const StringMatch& origin : route.cors->allow_origins) {
    const bool regex = origin.kind == StringMatch::Kind::kRegex;
    route.cors_regexes.push_back(regex ? regexes_.get(origin.value) : nullptr);
  }
}

void RouteBuilder::fill_destinations(const RouteSet& set, const RouteRule& rule,
                                     const RouteContext& context, Route& route) {
  static const std::vector<Destination> kWhole(1);
  const bool none = rule.destinations.empty();
  const bool http_route = set.api == RouteSet::Api::kHttpRoute;
  const std::vector<Destination>& destinations =
      none && !http_route ? kWhole : rule.destinations;  // names nothing: the dialled service
  std::vector<const ClusterShares*> shares;
  uint64_t sum = 0;
  uint64_t scale = 1;
  for (const Destination& destination : destinations) {
    sum += destination.weight;
    shares.push_back(find_shares(destination, context));
    if (shares.back() != nullptr && shares.back()->size() > 1) scale = kShareScale;
  }
  if (sum == 0 && http_route) {  // also: no backend at all (traffic-semantics.md 2.7)
    route.action = Route::Action::kDirectResponse;
    route.direct_response = DirectResponse{500, "", ""};
    return;
  }
  const ServiceRecord* first = destinations.front().host.empty()
                                   ? context.dialled
                                   : registry_.find(destinations.front().host);
  if (first != nullptr) route.sticky = clusters_.traffic().sticky(first->service->host);
  const auto add = [&route](const Destination& from, const Cluster* cluster, uint64_t weight) {
    weight = std::min<uint64_t>(weight, UINT32_MAX);
    route.clusters.push_back(
        {cluster, static_cast<uint32_t>(weight), from.request_headers, from.response_headers});
    route.total_weight += weight;
  };
  for (size_t i = 0; i < destinations.size(); ++i) {
    // A lone destination gets everything, whatever its weight says.
    const uint64_t weight = destinations.size() == 1 || sum == 0
                                ? std::max<uint64_t>(destinations[i].weight, 1)
                                : destinations[i].weight;
    if (shares[i] == nullptr) {
      add(destinations[i], nullptr, weight * scale);
      continue;
    }
    const uint64_t total = sum_of(*shares[i]);
    for (const ClusterShare& share : *shares[i]) {
      const uint64_t part = weight * scale * share.weight / total;
      add(destinations[i], share.cluster, weight == 0 ? 0 : std::max<uint64_t>(part, 1));
    }
  }
}

void RouteBuilder::fill_mirrors(const RouteRule& rule, const RouteContext& context, Route& route) {
  for (const Mirror& mirror : rule.mirrors) {
    const ClusterShares* shares = find_shares(mirror.destination, context);
    if (shares == nullptr) continue;  // reported; a copy that goes nowhere harms no one
    // A copy goes to one place: of a divided set, to its greatest part.
    const auto greatest = std::max_element(
        shares->begin(), shares->end(),
        [](const ClusterShare& a, const ClusterShare& b) { return a.weight < b.weight; });
    route.mirrors.push_back({greatest->cluster, mirror.per_million});
  }
}

const ServicePort* RouteBuilder::pick_port(const ServiceRecord& record,
                                           const Destination& destination,
                                           const RouteContext& context) {
  const std::string& host = record.service->host;
  if (destination.port != 0) {
    const ServicePort* port = record.find_port(destination.port);
    if (port == nullptr) {
      findings_.warning(compiling_,
                        "destination " + host + " has no port " + std::to_string(destination.port) +
                            ": its share is answered 503",
                        Topic::kUnserved);
    }
    return port;
  }
  if (const ServicePort* port = record.find_port(context.port)) return port;
  if (record.service->ports.size() == 1) return &record.service->ports.front();
  findings_.warning(compiling_,
                    "destination " + host +
                        " has several ports and none is named: its share is "
                        "answered 503",
                    Topic::kUnserved);
  return nullptr;
}

const ClusterShares* RouteBuilder::find_shares(const Destination& destination,
                                               const RouteContext& context) {
  const ServiceRecord* record =
      destination.host.empty() ? context.dialled : registry_.find(destination.host);
  if (record == nullptr) {
    findings_.warning(
        compiling_,
        "destination " + destination.host + " is not a known service: its share is answered 503",
        Topic::kUnserved);
    return nullptr;
  }
  const ServicePort* port = pick_port(*record, destination, context);
  if (port == nullptr) return nullptr;
  const std::string& host = record->service->host;
  const ClusterShares* shares = nullptr;
  if (destination.subset.empty()) {
    shares = &clusters_.by_labels(*record, *port, destination.labels);
  } else {
    shares = clusters_.by_subset(*record, *port, destination.subset);
    if (shares == nullptr) {
      findings_.warning(compiling_,
                        "no DestinationRule defines subset " + destination.subset + " of " + host +
                            ": its share is answered 503",
                        Topic::kUnserved);
      return nullptr;
    }
  }
  const Cluster& first = *shares->front().cluster;
  const bool narrowed = !destination.subset.empty() || !destination.labels.empty();
  if (narrowed && first.endpoints.empty() && !first.original_destination) {
    findings_.warning(
        compiling_,
        "no endpoint of " + host + " is in subset " + first.subset + ": its share is answered 503",
        Topic::kUnserved);
  }
  return shares;
}

const Route* RouteBuilder::keep_default(const char* key, const ServiceRecord* record, uint16_t port,
                                        const ClusterShares& shares) {
  const std::string name = std::string(key) + " " +
                           (record == nullptr ? "" : record->service->host) + ":" +
                           std::to_string(port);
  const auto [found, inserted] = defaults_.try_emplace(name);
  if (!inserted) return found->second;
  auto route = std::make_unique<Route>();
  route->name = "default-route";
  route->id = ids_.id(IdTable::Space::kRoute, name);
  // Capture must not break what worked without it.
  route->websocket = true;
  for (const ClusterShare& share : shares) {
    const uint64_t weight = std::min<uint64_t>(share.weight, UINT32_MAX);
    route->clusters.push_back({share.cluster, static_cast<uint32_t>(weight), {}, {}});
    route->total_weight += weight;
  }
  found->second = route.get();
  snapshot_.routes.push_back(std::move(route));
  return found->second;
}

const Route* RouteBuilder::default_route(const ServiceRecord& record, const ServicePort& port) {
  return keep_default("default-route", &record, port.port, clusters_.by_labels(record, port, {}));
}

const Route* RouteBuilder::dialled_route(const ServiceRecord& record, const ServicePort& port) {
  return keep_default("dialled", &record, port.port,
                      {{&clusters_.dialled_endpoint(record, port), 1}});
}

const Route* RouteBuilder::passthrough_route() {
  return keep_default("passthrough", nullptr, 0, {{&clusters_.passthrough(), 1}});
}

}  // namespace np::policy
