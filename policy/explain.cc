// SPDX-License-Identifier: Apache-2.0
#include "policy/explain.h"

#include <set>

#include "policy/check_eval.h"
#include "policy/registry.h"
#include "policy/request_target.h"

namespace np::policy {

namespace {

using Explained = Explanation::Outcome;

// One explanation on its way; each step fills its part.
class Explainer {
 public:
  Explainer(const ExplainInput& input, Explanation& out)
      : input_(input), snapshot_(*input.snapshot), out_(out) {}

  void run() {
    out_.snapshot = input_.snapshot;
    out_.question = input_.question;
    out_.call = resolve_call(input_.question, *input_.model, snapshot_);
    read_request();
    if (find_way()) decide();
    find_objects();
  }

 private:
  bool is_gateway() const { return out_.call.way == ExplainedCall::Way::kGateway; }

  // The head as it stands when policy looks at it.
  void read_request();
  bool find_way();
  void decide();
  void match();
  void find_upstream_target();
  void add_destinations();
  void add_destination(const WeightedCluster* target, double share);
  void add_checks(ExplainedDestination& destination);
  void add_quota(const QuotaCheck& check, const CheckInput& input,
                 ExplainedDestination& destination);
  void find_objects();

  const ExplainInput& input_;
  const Snapshot& snapshot_;
  Explanation& out_;
  bool has_query_ = false;
};

void Explainer::read_request() {
  const ExplainQuestion& question = out_.question;
  for (const auto& [name, value] : question.headers) {
    if (!is_untrusted_field(name, is_gateway())) out_.fields.push_back({name, value});
  }
  for (const Field& field : own_fields(out_.arena.copy(out_.call.peer.to_string()))) {
    out_.fields.push_back(field);
  }
  std::string scratch;
  const TargetParts target = normalize_target(question.target, scratch);
  if (!target.valid) out_.outcome = Explained::kBadPath;
  has_query_ = target.has_query;
  RequestView& request = out_.request;
  request.method = question.method;
  request.scheme = "http";
  request.path = out_.arena.copy(target.path);
  request.query = out_.arena.copy(target.query);
  request.fields = out_.fields;
  request.port = out_.call.local.port;
  request.dialled = out_.call.local.ip;
  request.authority =
      out_.arena.copy(canonical_authority(question.authority, request.scheme, scratch));
}

// False: it is not ours.
bool Explainer::find_way() {
  const SocketAddress& local = out_.call.local;
  out_.caller.ip = out_.call.peer;
  switch (out_.call.way) {
    case ExplainedCall::Way::kDirect:
      out_.outcome = Explained::kDirect;
      return false;
    case ExplainedCall::Way::kGateway:
      out_.way = find_gateway_way(snapshot_, local, out_.request.authority);
      out_.caller = gateway_caller(out_.way, out_.call.peer);
      if (out_.way.listener != nullptr && out_.way.listener->hosts != nullptr) {
        out_.host_name = out_.way.listener->hosts->name_for(out_.request.authority);
      }
      return true;
    case ExplainedCall::Way::kCaptured:
      break;
  }
  const CapturedPort* port = snapshot_.find_captured(local);
  out_.is_opaque = port != nullptr && !speaks_http(port->protocol);
  out_.way = out_.is_opaque ? find_opaque_way(snapshot_, local)
                            : find_captured_way(snapshot_, local, out_.request.authority);
  out_.caller = captured_caller(snapshot_, out_.call.peer);
  if (port != nullptr && port->by_host != nullptr && !out_.is_opaque) {
    out_.host_name = port->by_host->name_for(out_.request.authority);
  }
  return true;
}

void Explainer::decide() {
  if (!out_.is_opaque && out_.request.method == "CONNECT") {
    out_.outcome = Explained::kMethodRefused;
    return;
  }
  if (!out_.is_opaque && out_.outcome == Explained::kBadPath) return;
  match();
  if (out_.match.route == nullptr) {
    out_.outcome = Explained::kNoRoute;
    return;
  }
  const Route& route = *out_.match.route;
  out_.terms = is_gateway() ? terms_of_route(route)
                            : terms_for_caller(route, out_.request.fields, kCallerRetriesMax);
  add_destinations();
  if (!out_.is_opaque && answers_preflight(route, out_.request)) {
    out_.outcome = Explained::kPreflight;
  } else if (route.action == Route::Action::kRedirect && route.redirect) {
    out_.outcome = Explained::kRedirect;
    out_.location = redirect_location(out_.match, out_.request);
  } else if (route.action == Route::Action::kDirectResponse && route.direct_response) {
    out_.outcome = Explained::kDirectResponse;
  } else {
    out_.outcome = Explained::kForward;
    find_upstream_target();
  }
}

// As the endpoint sees it: what no rewrite touches stays as the client wrote it.
void Explainer::find_upstream_target() {
  const auto& rewrite = out_.match.route->rewrite;
  if (rewrite) rewrite_request(out_.match, out_.request, out_.path, out_.authority);
  if (!rewrite) {
    out_.path = out_.request.path;
    if (has_query_) out_.path.append("?").append(out_.request.query);
  }
  if (!rewrite || !rewrite->authority) out_.authority = out_.question.authority;
}

void Explainer::match() {
  if (!out_.way.is_covered || out_.way.table == nullptr) {
    out_.match = find_route(out_.way, out_.request, out_.caller);
    return;
  }
  out_.match = out_.way.table->explain(out_.request, out_.caller, out_.trace);
}

void Explainer::add_destinations() {
  const Route& route = *out_.match.route;
  if (!is_split(route)) {
    add_destination(cluster_at(route, 0), 1);
    return;
  }
  const auto sticky =
      out_.is_opaque ? std::nullopt : sticky_point(route, out_.request, out_.caller);
  out_.is_sticky = sticky.has_value();
  const WeightedCluster* chosen = sticky ? cluster_at(route, *sticky) : nullptr;
  const auto total = static_cast<double>(route.total_weight);
  for (const WeightedCluster& target : route.clusters) {
    const double drawn = static_cast<double>(target.weight) / total;
    add_destination(&target, !sticky ? drawn : (&target == chosen ? 1.0 : 0.0));
  }
}

void Explainer::add_destination(const WeightedCluster* target, double share) {
  ExplainedDestination destination;
  destination.target = target;
  destination.share = share;
  const Cluster* cluster = destination.cluster();
  if (!out_.is_opaque) {
    destination.fault =
        choose_fault(*out_.match.route, cluster, out_.request, out_.caller, input_.now,
                     [&](const HostFault&) { ++destination.faults_in_shadow; });
    if (cluster != nullptr && cluster->checks != nullptr) add_checks(destination);
  }
  const bool is_hashed = cluster != nullptr && !cluster->endpoints.empty() &&
                         (!cluster->ring.empty() || !cluster->maglev.empty());
  if (is_hashed && !out_.is_opaque) {
    const auto hash = request_hash(cluster->load_balancing, out_.request, out_.caller);
    if (hash) destination.hashed_endpoint = endpoint_for_hash(*cluster, *hash);
  }
  out_.destinations.push_back(std::move(destination));
}

void Explainer::add_checks(ExplainedDestination& destination) {
  const ClusterChecks& checks = *destination.cluster()->checks;
  AttributeView view;
  view.request = &out_.request;
  view.caller = &out_.caller;
  view.destination = &checks.destination;
  const Field* id = find_field(out_.request.fields, "x-request-id");
  if (id != nullptr) view.request_id = id->value;
  view.request_size = 0;
  const CheckInput input{checks, view, out_.arena};
  for (const CheckRule& rule : checks.rules) {
    if (rule.denials.empty() || !rule_applies(rule, input).value_or(false)) continue;
    ExplainedCheck check;
    check.denial = rule.denials.front();
    destination.checks.push_back(std::move(check));
    return;
  }
  for (const CheckRule& rule : checks.rules) {
    if (rule.quotas.empty() || !rule_applies(rule, input).value_or(false)) continue;
    for (const QuotaCheck& quota : rule.quotas) add_quota(quota, input, destination);
  }
}

void Explainer::add_quota(const QuotaCheck& check, const CheckInput& input,
                          ExplainedDestination& destination) {
  ExplainedCheck explained;
  explained.quota = check.quota;
  explained.amount = amount_of(check, input);
  std::vector<std::string_view> values;
  if (explained.amount == 0 || !read_dimensions(*check.quota, input, values)) return;
  explained.limit = limit_of(*check.quota, values);
  explained.tuple = tuple_of(values, out_.arena);
  explained.dimensions.assign(values.begin(), values.end());
  destination.checks.push_back(std::move(explained));
}

void Explainer::find_objects() {
  ExplainedPlace place;
  place.route = out_.match.route;
  place.context.port = out_.way.port != nullptr ? out_.way.port->port : out_.call.local.port;
  const bool by_gateway = out_.way.listener != nullptr;
  place.context.ways_in = {by_gateway ? out_.way.listener->gateway : std::string("mesh")};
  std::set<std::string>& hosts = place.hosts;
  hosts.insert(out_.call.host);
  if (out_.way.port != nullptr) hosts.insert(out_.way.port->host);
  if (!out_.host_name.empty()) hosts.insert(out_.host_name);
  for (const ExplainedDestination& destination : out_.destinations) {
    const Cluster* cluster = destination.cluster();
    if (cluster != nullptr && !cluster->host.empty()) hosts.insert(cluster->host);
  }
  out_.objects = objects_of(place, *input_.model, snapshot_);
}

}  // namespace

std::unique_ptr<Explanation> explain(const ExplainInput& input) {
  auto out = std::make_unique<Explanation>();
  Explainer(input, *out).run();
  return out;
}

}  // namespace np::policy
