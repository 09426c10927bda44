// SPDX-License-Identifier: Apache-2.0
// Actions of a VirtualService's HTTP routes (traffic-semantics 2.1).
#include <re2/re2.h>

#include <array>

#include "policy/http_route_reader.h"

namespace np::policy {
namespace {

constexpr size_t kMaxBodyBytes = 1UL << 20;

void read_route_destinations(const Value& list, const LoadInput& input, RouteRule& rule) {
  for (const Value& item : list.items()) {
    Fields fields(item);
    auto destination = read_destination(fields.require("destination"), input);
    auto weight = read_count(fields.get("weight"));
    Value headers = fields.get("headers");
    if (!destination) continue;
    destination->weight = weight.value_or(0);
    destination->line = item.line();
    read_header_operations(headers, destination->request_headers, destination->response_headers,
                           nullptr);
    rule.destinations.push_back(std::move(*destination));
  }
  if (list.present() && list.items().empty()) list.error("at least one destination is required");
  check_weights(list, rule.destinations);
}

void read_redirect(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Redirect redirect;
  redirect.path = fields.get("uri").non_empty_string();
  Value prefix = fields.get("prefixRewrite");
  redirect.prefix = prefix.non_empty_string();
  // "%PREFIX()%" in uri means the matched prefix, which is what prefixRewrite says better.
  if (redirect.path && redirect.path->find("%PREFIX()%") != std::string::npos) {
    fields.get("uri").error("%PREFIX()% is not supported; use prefixRewrite",
                            shown(*redirect.path));
  }
  fields.at_most_one({"uri", "prefixRewrite"});
  redirect.authority = fields.get("authority").non_empty_string();
  redirect.port = read_port(fields.get("port"));
  auto derive = fields.get("derivePort").choice({"FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"});
  fields.at_most_one({"port", "derivePort"});
  if (derive) {
    redirect.derive_port = *derive == 0 ? Redirect::DerivePort::kFromProtocolDefault
                                        : Redirect::DerivePort::kFromRequestPort;
  }
  Value scheme = fields.get("scheme");
  if (auto at = scheme.choice({"http", "https"})) redirect.scheme = *at == 0 ? "http" : "https";
  Value code = fields.get("redirectCode");
  if (auto status = code.integer(300, 399)) {
    bool legal =
        *status == 301 || *status == 302 || *status == 303 || *status == 307 || *status == 308;
    if (!legal) code.error("not one of the legal values", code.found(), "301, 302, 303, 307, 308");
    redirect.status = static_cast<uint16_t>(*status);
  }
  rule.redirect = std::move(redirect);
}

// Base64 of RFC 4648 section 4, which is how YAML carries bytes of a protobuf message.
std::optional<std::string> decode_base64(std::string_view text) {
  std::string out;
  unsigned bits = 0;
  int count = 0;
  size_t padding = 0;
  for (char c : text) {
    unsigned digit = 0;
    if (c >= 'A' && c <= 'Z') {
      digit = static_cast<unsigned>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      digit = static_cast<unsigned>(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0') + 52;
    } else if (c == '+' || c == '/') {
      digit = c == '+' ? 62 : 63;
    } else if (c == '=' && ++padding <= 2) {
      continue;
    } else {
      return std::nullopt;
    }
    if (padding > 0) return std::nullopt;
    bits = (bits << 6 | digit) & 0xFFFFFF;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xFFU);
    }
  }
  if (count >= 6) return std::nullopt;  // one digit too many
  return out;
}

void read_direct_response(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  DirectResponse response;
  response.status = static_cast<uint16_t>(fields.require("status").integer(200, 599).value_or(200));
  Value body = fields.get("body");
  Fields parts(body);
  parts.at_most_one({"string", "bytes"});
  response.body = parts.get("string").string().value_or("");
  Value bytes = parts.get("bytes");
  if (auto text = bytes.string()) {
    auto decoded = decode_base64(*text);
    if (decoded) {
      response.body = *decoded;
    } else {
      bytes.error("not base64", shown(*text));
    }
  }
  if (response.body.size() > kMaxBodyBytes) {
    body.error("the body is too long", std::to_string(response.body.size()) + " bytes",
               "up to " + std::to_string(kMaxBodyBytes));
  }
  rule.direct_response = std::move(response);
}

void read_regex_rewrite(const Value& value, Rewrite& rewrite) {
  if (!value.present()) return;
  Fields fields(value);
  Value pattern = fields.require("match");
  Value substitution = fields.require("rewrite");
  auto regex = pattern.non_empty_string();
  auto replacement = substitution.string();
  if (!regex || !replacement || !check_regex(pattern, *regex)) return;
  RE2 compiled(*regex, RE2::Quiet);
  std::string problem;
  if (!compiled.CheckRewriteString(*replacement, &problem)) {
    substitution.error("does not fit the regular expression: " + problem, shown(*replacement));
    return;
  }
  rewrite.regex = *regex;
  rewrite.regex_substitution = *replacement;
}

void read_rewrite(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  fields.at_most_one({"uri", "uriRegexRewrite"});
  Rewrite rewrite;
  rewrite.uri = fields.get("uri").non_empty_string();
  read_regex_rewrite(fields.get("uriRegexRewrite"), rewrite);
  Value authority = fields.get("authority");
  rewrite.authority = authority.non_empty_string();
  if (rewrite.authority && !check_header_value(authority, *rewrite.authority)) return;
  if (fields.empty() && value.is_map())
    value.error("uri, uriRegexRewrite or authority is required");
  rule.rewrite = std::move(rewrite);
}

uint32_t read_mirror_share(const Value& percentage) {
  if (!percentage.present()) return kPerMillion;
  Fields fields(percentage);
  return read_percent(fields.get("value")).value_or(kPerMillion);
}

void read_mirrors(Fields& fields, const LoadInput& input, RouteRule& rule) {
  fields.at_most_one({"mirror", "mirrors"});
  Value single = fields.get("mirror");
  Value share = fields.get("mirrorPercentage");
  Value old_share = fields.get("mirrorPercent");  // deprecated: whole percent
  uint32_t per_million = read_mirror_share(share);
  if (auto whole = old_share.integer(0, 100); whole && !share.present()) {
    per_million = static_cast<uint32_t>(*whole) * (kPerMillion / 100);
  }
  if (auto destination = read_destination(single, input)) {
    rule.mirrors.push_back({std::move(*destination), per_million});
  }
  if (!single.present()) {
    share.refuse_if_written("has a meaning only together with mirror");
    old_share.refuse_if_written("has a meaning only together with mirror");
  }
  for (const Value& item : fields.get("mirrors").items()) {
    Fields inner(item);
    auto destination = read_destination(inner.require("destination"), input);
    uint32_t part = read_mirror_share(inner.get("percentage"));
    if (destination) rule.mirrors.push_back({std::move(*destination), part});
  }
}

void check_combination(Fields& fields, const RouteRule& rule) {
  const Value& self = fields.self();
  int actions = fields.at_most_one({"route", "redirect", "directResponse"});
  if (actions == 0 && self.is_map()) {
    self.error("an action is required", "", "route, redirect, directResponse");
  }
  if (!rule.redirect && !rule.direct_response) return;
  for (std::string_view name : {"rewrite", "timeout", "retries", "mirror", "mirrors"}) {
    Value other = fields.get(name);
    if (other.present()) other.error("has a meaning only together with route");
  }
  if (rule.redirect && rule.fault) fields.get("fault").error("not legal together with redirect");
}

}  // namespace

void read_http_actions(Fields& fields, const LoadInput& input, RouteRule& rule) {
  Value route = fields.get("route");
  read_route_destinations(route, input, rule);
  read_redirect(fields.get("redirect"), rule);
  read_direct_response(fields.get("directResponse"), rule);
  fields.get("delegate")
      .refuse_if_written(
          "delegation to another VirtualService comes in a later "
          "version; write the routes here");
  read_rewrite(fields.get("rewrite"), rule);
  rule.timeout = read_duration(fields.get("timeout"), ZeroDuration::kAllowed);
  read_http_retries(fields.get("retries"), rule);
  read_http_fault(fields.get("fault"), rule);
  read_mirrors(fields, input, rule);
  read_http_cors(fields.get("corsPolicy"), rule);
  std::optional<std::string> authority;
  Value headers = fields.get("headers");
  read_header_operations(headers, rule.request_headers, rule.response_headers, &authority);
  if (authority) {
    if (!rule.rewrite) rule.rewrite.emplace();
    if (rule.rewrite->authority) headers.error("the host is set here and in rewrite.authority");
    rule.rewrite->authority = *authority;
  }
  // Istio lets Upgrade: websocket through on every HTTP route.
  rule.websocket = !rule.redirect && !rule.direct_response;
  check_combination(fields, rule);
}

}  // namespace np::policy
