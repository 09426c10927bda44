// SPDX-License-Identifier: Apache-2.0
#include "control/explain_json.h"

#include <nlohmann/json.hpp>

#include "control/explain_parts.h"
#include "policy/retry_names.h"

namespace np::control {
namespace {

using Json = nlohmann::json;
using Outcome = policy::Explanation::Outcome;
using Way = policy::ExplainedCall::Way;

const char* to_text(Way way) {
  switch (way) {
    case Way::kCaptured:
      return "captured";
    case Way::kGateway:
      return "gateway";
    case Way::kDirect:
      break;
  }
  return "direct";
}

const char* to_text(policy::Protocol protocol) {
  switch (protocol) {
    case policy::Protocol::kHttp:
      return "http";
    case policy::Protocol::kHttp2:
      return "http2";
    case policy::Protocol::kGrpc:
      return "grpc";
    case policy::Protocol::kTcp:
      return "tcp";
    case policy::Protocol::kTls:
      return "tls";
    case policy::Protocol::kHttps:
      return "https";
    case policy::Protocol::kUdp:
      return "udp";
    case policy::Protocol::kAuto:
      break;
  }
  return "found out by the first bytes";
}

Json caller_json(const policy::Explanation& explanation) {
  Json json = {
      {"asked", explanation.question.from},
      {"known", explanation.call.pod != nullptr},
      {"address", explanation.call.peer.is_unspecified() ? "" : explanation.call.peer.to_string()}};
  if (explanation.call.pod == nullptr) return json;
  const policy::Pod& pod = explanation.call.pod->pod;
  json.update({{"pod", pod.ns + "/" + pod.name},
               {"service", pod.service},
               {"labels", pod.labels},
               {"counts_as_gateway_client", explanation.call.way == Way::kGateway}});
  return json;
}

Json target_json(const policy::Explanation& explanation) {
  const policy::ExplainedCall& call = explanation.call;
  const bool has_address = !call.local.ip.is_unspecified();
  Json json = {
      {"asked", explanation.question.host + ":" + std::to_string(explanation.question.port)},
      {"host", call.host},
      {"port", explanation.question.port},
      {"address", has_address ? call.local.to_string() : ""},
      {"way", to_text(call.way)},
      {"found_by_host", explanation.host_name}};
  if (const policy::CapturedPort* port = explanation.way.port) {
    json.update({{"protocol", to_text(port->protocol)}, {"service_id", port->service_id}});
  }
  if (const policy::GatewayListener* listener = explanation.way.listener) {
    json["gateway"] = listener->gateway;
    json["listens"] = listener->bind.ip.is_unspecified()
                          ? "every address, port " + std::to_string(listener->bind.port)
                          : listener->bind.to_string();
  }
  return json;
}

Json request_json(const policy::Explanation& explanation) {
  Json headers = Json::array();
  for (const Field& field : explanation.fields) {
    headers.push_back({{"name", field.name}, {"value", field.value}});
  }
  const policy::RequestView& request = explanation.request;
  return {{"method", request.method},
          {"host", request.authority},
          {"path", request.path},
          {"query", request.query},
          {"headers", std::move(headers)}};
}

Json place_json(const policy::Route& route) {
  return {
      {"object", route.object}, {"rule", route.name}, {"file", route.file}, {"line", route.line}};
}

Json rules_json(const policy::MatchTrace& trace) {
  Json rules = Json::array();
  for (const policy::RuleTrial& trial : trace.trials) {
    Json rule = place_json(*trial.route);
    rule.update(
        {{"wants", trial.wants}, {"matched", trial.mismatch.empty()}, {"why_not", trial.mismatch}});
    rules.push_back(std::move(rule));
  }
  return rules;
}

const char* to_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDirect:
      return "direct";
    case Outcome::kMethodRefused:
      return "method refused";
    case Outcome::kBadPath:
      return "bad path";
    case Outcome::kNoRoute:
      return "no route";
    case Outcome::kPreflight:
      return "preflight";
    case Outcome::kRedirect:
      return "redirect";
    case Outcome::kDirectResponse:
      return "direct response";
    case Outcome::kForward:
      break;
  }
  return "forward";
}

// The status of an answer that nodeproxy gives itself; 0: the endpoint answers.
uint16_t own_status(const policy::Explanation& explanation) {
  switch (explanation.outcome) {
    case Outcome::kMethodRefused:
      return 405;
    case Outcome::kBadPath:
      return 400;
    case Outcome::kNoRoute:
      return explanation.is_opaque ? 0 : 404;
    case Outcome::kPreflight:
      return 200;
    case Outcome::kRedirect:
      return explanation.match.route->redirect->status;
    case Outcome::kDirectResponse:
      return explanation.match.route->direct_response->status;
    case Outcome::kDirect:
    case Outcome::kForward:
      break;
  }
  return 0;
}

Json retries_json(const policy::Explanation& explanation) {
  const policy::CallTerms& terms = explanation.terms;
  const policy::Retry& retry = explanation.match.route->retry;
  Json on = Json::array();
  for (const policy::RetryName& known : policy::kRetryNames) {
    if ((terms.retry_on & known.bit) != 0) on.push_back(known.name);
  }
  const bool safe = retry.allow_non_idempotent || policy::is_idempotent(explanation.request.method);
  return {{"attempts", terms.retries},
          {"on", std::move(on)},
          {"status_codes", retry.status_codes},
          {"per_try_timeout_ms", milliseconds_of(terms.per_try_timeout)},
          {"backoff_base_ms", milliseconds_of(retry.backoff_base)},
          {"backoff_max_ms", milliseconds_of(retry.backoff_max)},
          {"other_endpoint_first", retry.avoid_previous_hosts},
          {"only_if_nothing_was_sent", !safe}};
}

Json ops_json(const policy::HeaderOps& ops) {
  Json json = Json::array();
  for (const auto& [name, value] : ops.set) json.push_back("set " + name + ": " + value);
  for (const auto& [name, value] : ops.add) json.push_back("add " + name + ": " + value);
  for (const std::string& name : ops.remove) json.push_back("remove " + name);
  return json;
}

void add_route(const policy::Explanation& explanation, Json& json) {
  const policy::Route& route = *explanation.match.route;
  Json place = place_json(route);
  place["is_default"] = route.object.empty();
  json["route"] = std::move(place);
  if (explanation.outcome == Outcome::kRedirect) json["location"] = explanation.location;
  json["request_headers"] = ops_json(route.request_headers);
  json["response_headers"] = ops_json(route.response_headers);
  Json mirrors = Json::array();
  for (const policy::Route::MirrorTarget& mirror : route.mirrors) {
    mirrors.push_back({{"cluster", mirror.cluster == nullptr ? "" : mirror.cluster->name},
                       {"percent", percent_of(mirror.per_million)}});
  }
  json["mirrors"] = std::move(mirrors);
  if (explanation.outcome != Outcome::kForward) return;
  if (route.rewrite) {
    json["rewrite"] = {{"path", explanation.path}, {"host", explanation.authority}};
  }
  if (explanation.is_opaque) return;
  json["timeout_ms"] = milliseconds_of(explanation.terms.timeout);
  json["retries"] = retries_json(explanation);
}

Json objects_json(const policy::Explanation& explanation) {
  Json list = Json::array();
  for (const policy::ExplainedObject& object : explanation.objects) {
    list.push_back({{"object", object.origin.to_string()},
                    {"file", object.origin.file},
                    {"line", object.origin.line},
                    {"role", object.role},
                    {"used", object.is_used},
                    {"inactive", object.is_inactive},
                    {"remarks", object.remarks}});
  }
  return list;
}

}  // namespace

double percent_of(uint32_t per_million) {
  constexpr double kPerPercent = policy::kPerMillion / 100.0;
  return per_million / kPerPercent;
}

double milliseconds_of(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

Json explanation_json(const policy::Explanation& explanation, const ExplainLive& live) {
  Json json = {{"from", caller_json(explanation)},
               {"to", target_json(explanation)},
               {"notes", explanation.call.notes},
               {"opaque", explanation.is_opaque},
               {"outcome", to_text(explanation.outcome)},
               {"rules", rules_json(explanation.trace)},
               {"exported_elsewhere", explanation.trace.exported_elsewhere},
               {"objects", objects_json(explanation)}};
  if (!explanation.is_opaque) json["request"] = request_json(explanation);
  const uint16_t status = own_status(explanation);
  if (status != 0) json["status"] = status;
  if (explanation.match.route != nullptr) add_route(explanation, json);
  json["sticky"] = explanation.is_sticky;
  Json destinations = Json::array();
  for (const policy::ExplainedDestination& destination : explanation.destinations) {
    destinations.push_back(destination_json(explanation, destination, live));
  }
  json["destinations"] = std::move(destinations);
  return json;
}

std::string explanation_text(const policy::Explanation& explanation) {
  return explanation_json(explanation, {}).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace np::control
