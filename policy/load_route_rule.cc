// SPDX-License-Identifier: Apache-2.0
// RouteRule of config.istio.io (traffic-semantics 1.3). Defaults: no timeout (D5), no retries.
#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

constexpr const char* kNoEffect = "this field never had an effect in Istio and has none here";

void read_header_match(const Value& entry, MatchCondition& condition) {
  const std::string& name = entry.key();
  bool uri = name == "uri";
  MatchRules rules;
  rules.allow_empty_prefix = !uri;
  auto match = read_string_match(entry, rules);
  if (!match) return;
  if (uri && match->value.empty()) {
    entry.error("must not be empty");
  } else if (uri) {
    // The regex was compiled to a match on :path, which holds the query as well.
    bool regex = match->kind == StringMatch::Kind::kRegex;
    (regex ? condition.path_and_query : condition.path) = *match;
  } else if (name == "scheme") {
    condition.scheme = *match;
  } else if (name == "method") {
    condition.method = *match;
  } else if (name == "authority") {
    condition.authority = *match;
  } else if (!is_header_name(name) || name != snake_case(name)) {
    entry.error("header names are written in lower case", shown(name));
  } else {
    warn_of_cookie_trap(entry, name, *match);
    condition.headers.push_back({name, *match});
  }
}

std::vector<IpPrefix> read_subnets(const Value& list) {
  std::vector<IpPrefix> out;
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (!text) continue;
    auto prefix = IpPrefix::parse(*text);
    if (prefix) {
      out.push_back(*prefix);
    } else {
      item.error("not an address or CIDR block", shown(*text), "for example 10.1.0.0/16");
    }
  }
  return out;
}

struct MatchResult {
  MatchCondition condition;
  bool present = false;  // some condition is set
  bool has_tcp = false;
  bool has_request = false;
};

MatchResult read_match(const Value& value, const LoadInput& input) {
  MatchResult result;
  Fields fields(value);
  Value source = fields.get("source");
  if (auto service = read_istio_service(source, input, LabelUse::kAllowed)) {
    result.condition.source_host = service->host;
    result.condition.source_labels = service->labels;
    result.present = true;
  }
  Value tcp = fields.get("tcp");
  if (tcp.present()) {
    Fields subnets(tcp);
    result.condition.source_subnets = read_subnets(subnets.get("sourceSubnet"));
    result.condition.destination_subnets = read_subnets(subnets.get("destinationSubnet"));
    result.has_tcp = result.present = true;
  }
  fields.get("udp").refuse_if_written("UDP is not proxied");
  Value request = fields.get("request");
  {
    Fields request_fields(request);
    for (const Value& entry : request_fields.get("headers").entries()) {
      read_header_match(entry, result.condition);
      result.has_request = result.present = true;
    }
  }
  if (result.has_tcp && result.has_request) {
    value.error("tcp and request conditions exclude each other", "", "tcp, request");
  }
  return result;
}

void read_route(const Value& list, const IstioService& target, const LoadInput& input,
                RouteRule& rule) {
  std::vector<Value> items = list.items();
  int64_t sum = 0;
  bool weights_good = true;
  for (const Value& item : items) {
    Fields fields(item);
    Destination destination;
    destination.line = item.line();
    destination.host = target.host;
    Value named = fields.get("destination");
    if (auto service = read_istio_service(named, input, LabelUse::kRefused)) {
      destination.host = service->host;
    }
    destination.labels = read_labels(fields.get("labels"));
    Value weight = fields.get("weight");
    auto number = weight.integer(0, 100);
    if (weight.present() && !number) weights_good = false;
    destination.weight = static_cast<uint32_t>(number.value_or(0));
    sum += destination.weight;
    rule.destinations.push_back(std::move(destination));
  }
  if (items.size() == 1 && sum == 0) {
    rule.destinations[0].weight = 100;
    sum = 100;
  }
  if (!items.empty() && weights_good && sum != 100) {
    list.error("the weights must add up to 100", std::to_string(sum), "100");
  }
  if (rule.destinations.empty()) {
    Destination whole;
    whole.host = target.host;
    whole.weight = 100;
    whole.line = input.origin.line;
    rule.destinations.push_back(std::move(whole));
  }
}

void read_redirect(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Redirect redirect;  // 301, as the code answered; the documents said 302 (D7)
  redirect.path = fields.get("uri").non_empty_string();
  redirect.authority = fields.get("authority").non_empty_string();
  if (value.is_map() && !redirect.path && !redirect.authority) {
    value.error("uri or authority is required");
  }
  rule.redirect = redirect;
}

void read_rewrite(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Rewrite rewrite;
  rewrite.uri = fields.get("uri").non_empty_string();
  rewrite.authority = fields.get("authority").non_empty_string();
  if (value.is_map() && !rewrite.uri && !rewrite.authority) {
    value.error("uri or authority is required");
  }
  rule.rewrite = rewrite;
}

void read_timeout(const Value& value, RouteRule& rule) {
  Fields fields(value);
  fields.get("custom").warn_if_written(kNoEffect);
  Value simple = fields.get("simpleTimeout");
  if (!simple.present()) return;
  Fields inner(simple);
  inner.get("overrideHeaderName").warn_if_written(kNoEffect);
  rule.timeout = read_duration(inner.require("timeout"), ZeroDuration::kRefused);
}

void read_retries(const Value& value, RouteRule& rule) {
  rule.retry = Retry{};
  Fields fields(value);
  fields.get("custom").warn_if_written(kNoEffect);
  Value simple = fields.get("simpleRetry");
  if (!simple.present()) return;
  Fields inner(simple);
  Retry retry;
  retry.attempts = read_count(inner.require("attempts")).value_or(0);
  // Absent was refused by the validator of the day; the default applies (D3).
  retry.per_try_timeout =
      read_duration(inner.get("perTryTimeout"), ZeroDuration::kRefused).value_or(Duration{});
  inner.get("overrideHeaderName").warn_if_written(kNoEffect);
  retry.on = kRetry5xx | kRetryConnectFailure | kRetryRefusedStream;
  rule.retry = retry;
}

uint32_t read_fault_percent(const Value& owner, const Value& percent) {
  if (percent.present()) return read_whole_percent(percent).value_or(0);
  owner.warning("percent is absent, which means 100 here (D1); write it down to be sure");
  return kPerMillion;
}

void read_fault(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Value delay = fields.get("delay");
  Value abort = fields.get("abort");
  Fault fault;
  if (delay.present()) {
    Fields inner(delay);
    inner.get("exponentialDelay").refuse_if_written("exponential delays are not supported");
    inner.get("overrideHeaderName").warn_if_written(kNoEffect);
    Fault::Delay made;
    made.per_million = read_fault_percent(delay, inner.get("percent"));
    made.shape =
        read_duration(inner.require("fixedDelay"), ZeroDuration::kRefused).value_or(Duration{});
    fault.delay = made;
  }
  if (abort.present()) {
    Fields inner(abort);
    inner.get("grpcStatus").refuse_if_written("a gRPC status is not supported here");
    inner.get("http2Error").warn_if_written(kNoEffect);
    inner.get("overrideHeaderName").warn_if_written(kNoEffect);
    Fault::Abort made;
    made.per_million = read_fault_percent(abort, inner.get("percent"));
    made.http_status =
        static_cast<uint16_t>(inner.require("httpStatus").integer(200, 599).value_or(500));
    fault.abort = made;
  }
  if (value.is_map() && !delay.present() && !abort.present()) {
    value.error("delay or abort is required");
  }
  rule.fault = fault;
}

std::string joined(const Value& list) {
  std::string out;
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (text && check_header_value(item, *text)) out += (out.empty() ? "" : ",") + *text;
  }
  return out;
}

void read_cors(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Cors cors;
  for (const std::string& origin : fields.get("allowOrigin").strings()) {
    cors.allow_origins.push_back({StringMatch::Kind::kExact, origin, false});
  }
  cors.allow_methods = joined(fields.get("allowMethods"));
  cors.allow_headers = joined(fields.get("allowHeaders"));
  cors.expose_headers = joined(fields.get("exposeHeaders"));
  Value max_age = fields.get("maxAge");
  cors.max_age = read_duration(max_age, ZeroDuration::kAllowed);
  if (cors.max_age && *cors.max_age % std::chrono::seconds(1) != Duration{}) {
    max_age.error("whole seconds are required", max_age.found());
  }
  cors.allow_credentials = fields.get("allowCredentials").boolean();
  rule.cors = std::move(cors);
}

void read_append_headers(const Value& value, RouteRule& rule) {
  for (const Value& entry : value.entries()) {
    auto text = entry.non_empty_string();
    if (!entry.present()) entry.error("must not be empty");
    if (!is_header_name(entry.key()) || entry.key() != snake_case(entry.key())) {
      entry.error("header names are written in lower case", shown(entry.key()));
    } else if (text && check_header_value(entry, *text)) {
      rule.request_headers.add.emplace_back(entry.key(), *text);
    }
  }
}

void read_mirror(const Value& value, const LoadInput& input, RouteRule& rule) {
  auto service = read_istio_service(value, input, LabelUse::kAllowed);
  if (!service) return;
  Mirror mirror;
  mirror.destination.host = service->host;
  mirror.destination.labels = service->labels;
  mirror.destination.weight = 100;
  mirror.destination.line = value.line();
  rule.mirrors.push_back(std::move(mirror));
}

// redirect answers by itself: nothing that concerns an upstream may stand beside it.
void check_redirect_alone(Fields& spec, bool websocket) {
  if (!spec.get("redirect").present()) return;
  for (std::string_view name : {"route", "httpFault", "rewrite", "httpReqTimeout"}) {
    Value other = spec.get(name);
    if (other.present()) other.error("not legal together with redirect");
  }
  if (websocket) spec.get("websocketUpgrade").error("not legal together with redirect");
}

bool has_http_action(const RouteRule& rule) {
  return rule.redirect || rule.rewrite || rule.fault || rule.cors || rule.websocket ||
         !rule.mirrors.empty() || !rule.request_headers.empty() || rule.timeout ||
         rule.retry->attempts > 0;
}

}  // namespace

void load_route_rule(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  auto target = read_istio_service(spec.require("destination"), input, LabelUse::kRefused);
  RouteSet set;
  set.origin = input.origin;
  set.api = RouteSet::Api::kRouteRule;
  set.gateways = {"mesh"};
  set.export_to = {"*"};
  set.precedence =
      static_cast<int32_t>(spec.get("precedence").integer(INT32_MIN, INT32_MAX).value_or(0));
  RouteRule rule;
  rule.name = input.name;
  rule.origin = input.origin;
  // An empty `match: {}` takes everything, like none at all.
  MatchResult match = read_match(spec.get("match"), input);
  if (match.present) rule.matches.push_back(match.condition);
  Value route = spec.get("route");
  read_redirect(spec.get("redirect"), rule);
  read_rewrite(spec.get("rewrite"), rule);
  rule.websocket = spec.get("websocketUpgrade").boolean().value_or(false);
  read_timeout(spec.get("httpReqTimeout"), rule);
  read_retries(spec.get("httpReqRetries"), rule);
  read_fault(spec.get("httpFault"), rule);
  spec.get("l4Fault").refuse_if_written(
      "faults on TCP connections are not supported, and no released Istio had them");
  read_mirror(spec.get("mirror"), input, rule);
  read_cors(spec.get("corsPolicy"), rule);
  read_append_headers(spec.get("appendHeaders"), rule);
  check_redirect_alone(spec, rule.websocket);
  if (!target) return;
  if (!rule.redirect) read_route(route, *target, input, rule);
  set.hosts = {target->host};
  if (match.has_tcp && has_http_action(rule)) {
    input.spec.error("a rule with tcp conditions can only route");
  }
  // A rule without conditions on requests and without HTTP actions governs TCP ports as well.
  if (!match.has_request && !has_http_action(rule)) set.tcp.push_back(rule);
  if (!match.has_tcp) set.http.push_back(std::move(rule));
  model.routes.push_back(std::move(set));
}

}  // namespace np::policy
