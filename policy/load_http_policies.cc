// SPDX-License-Identifier: Apache-2.0
// Retries, faults and CORS of a VirtualService's HTTP routes (traffic-semantics 2.1).
#include <algorithm>
#include <charconv>

#include "policy/http_route_reader.h"
#include "policy/retry_names.h"

namespace np::policy {
namespace {

constexpr uint32_t kDefaultRetryOn =
    kRetryConnectFailure | kRetryRefusedStream | kRetryGrpcUnavailable | kRetryGrpcCancelled;

std::string retry_names() {
  std::string out;
  for (const RetryName& known : kRetryNames) out += std::string(known.name) + ", ";
  return out + "or a status code";
}

// One condition or bare status code; false when it is neither.
bool add_retry_condition(std::string_view word, uint32_t& on, std::vector<uint16_t>& codes) {
  if (const uint32_t bit = retry_bit(word); bit != 0) {
    on |= bit;
    return true;
  }
  uint16_t code = 0;
  auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), code);
  if (status != std::errc() || end != word.data() + word.size()) return false;
  if (code < 100 || code > 599) return false;
  on |= kRetryStatusCodes;
  codes.push_back(code);
  return true;
}

void read_backoff(const Value& value, Retry& retry) {
  auto base = read_duration(value, ZeroDuration::kRefused);
  if (!base) return;
  if (*base < retry.backoff_base) {
    value.warning("the least back-off is 25ms, which is used");
    return;
  }
  retry.backoff_base = *base;
  retry.backoff_max = *base > Duration::max() / 10 ? Duration::max() : *base * 10;
}

// The share of requests a fault hits; D1: absent means none.
uint32_t fault_share(const Value& owner, std::optional<uint32_t> share, bool written) {
  if (share) return *share;
  if (!written) {
    owner.warning("percentage is absent, which means 0 here (D1): nothing is injected");
  }
  return 0;
}

void read_delay(const Value& value, Fault& fault) {
  if (!value.present()) return;
  Fields fields(value);
  fields.get("exponentialDelay").refuse_if_written("exponential delays are not supported");
  Value percentage = fields.get("percentage");
  Value percent = fields.get("percent");  // deprecated and still read
  auto share = read_percentage(percentage);
  if (!percentage.present() && percent.present()) {
    auto whole = percent.integer(0, 100);
    if (whole) share = static_cast<uint32_t>(*whole) * (kPerMillion / 100);
  }
  Fault::Delay delay;
  delay.per_million = fault_share(value, share, percentage.present() || percent.present());
  delay.shape =
      read_duration(fields.require("fixedDelay"), ZeroDuration::kRefused).value_or(Duration{});
  fault.delay = delay;
}

void read_abort(const Value& value, Fault& fault) {
  if (!value.present()) return;
  Fields fields(value);
  fields.get("http2Error").refuse_if_written("http2Error is not supported");
  Value grpc = fields.get("grpcStatus");
  grpc.refuse_if_written("a gRPC status is not supported in this version; use httpStatus");
  Value status = fields.get("httpStatus");
  if (!status.present() && !grpc.present()) status.error("is required and missing");
  Value percentage = fields.get("percentage");
  Fault::Abort abort;
  abort.http_status = static_cast<uint16_t>(status.integer(200, 600).value_or(500));
  abort.per_million = fault_share(value, read_percentage(percentage), percentage.present());
  fault.abort = abort;
}

std::string joined(const Value& list) {
  std::string out;
  for (const Value& item : list.items()) {
    auto text = item.non_empty_string();
    if (text && check_header_value(item, *text)) out += (out.empty() ? "" : ",") + *text;
  }
  return out;
}

}  // namespace

std::optional<uint32_t> read_percentage(const Value& value) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  return read_percent(fields.require("value"));
}

uint32_t parse_retry_conditions(const Value& value, std::vector<uint16_t>& codes) {
  if (!value.present()) return kDefaultRetryOn;
  // A list of one status code, retryOn: 503, is a number to YAML and clear to people.
  std::string list;
  if (value.is_scalar() && scalar_type(*value.node()) == ScalarType::kInteger) {
    list = value.node()->scalar;
  } else {
    list = value.string().value_or("");
  }
  if (list.empty()) return kDefaultRetryOn;
  uint32_t on = 0;
  for (size_t at = 0; at <= list.size();) {
    size_t end = std::min(list.find(',', at), list.size());
    std::string_view word = std::string_view(list).substr(at, end - at);
    at = end + 1;
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (word.empty()) continue;
    if (!add_retry_condition(word, on, codes)) {
      value.error("unknown retry condition", shown(word), retry_names());
    }
  }
  return on == 0 ? kDefaultRetryOn : on;
}

Retry default_retry() {
  Retry retry;
  retry.attempts = 2;
  retry.on = kDefaultRetryOn;
  return retry;
}

void read_http_retries(const Value& value, RouteRule& rule) {
  rule.retry = default_retry();
  if (!value.present()) return;
  Fields fields(value);
  Retry retry;
  Value attempts = fields.get("attempts");
  Value per_try = fields.get("perTryTimeout");
  Value retry_on = fields.get("retryOn");
  Value backoff = fields.get("backoff");
  Value previous = fields.get("retryIgnorePreviousHosts");
  fields.get("retryRemoteLocalities")
      .warn_if_written("one node is one locality: this field has no effect");
  if (!attempts.present()) attempts.error("is required and missing");
  retry.attempts = read_count(attempts).value_or(0);
  if (retry.attempts == 0) {
    for (const Value* other : {&per_try, &retry_on, &backoff}) {
      if (other->present() && attempts.present()) {
        other->error("attempts: 0 switches retries off and must stand alone");
      }
    }
  }
  retry.per_try_timeout = read_duration(per_try, ZeroDuration::kAllowed).value_or(Duration{});
  retry.on = parse_retry_conditions(retry_on, retry.status_codes);
  read_backoff(backoff, retry);
  retry.avoid_previous_hosts = previous.boolean().value_or(true);
  rule.retry = std::move(retry);
}

void read_http_fault(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Fault fault;
  read_delay(fields.get("delay"), fault);
  read_abort(fields.get("abort"), fault);
  if (value.is_map() && !fault.delay && !fault.abort) {
    value.error("delay or abort is required");
    return;
  }
  rule.fault = fault;
}

void read_http_cors(const Value& value, RouteRule& rule) {
  if (!value.present()) return;
  Fields fields(value);
  Cors cors;
  for (const Value& item : fields.get("allowOrigins").items()) {
    if (auto match = read_string_match(item, MatchRules{})) cors.allow_origins.push_back(*match);
  }
  Value old_origins = fields.get("allowOrigin");  // deprecated form: exact names
  for (const std::string& origin : old_origins.strings()) {
    cors.allow_origins.push_back({StringMatch::Kind::kExact, origin, false});
  }
  cors.allow_methods = joined(fields.get("allowMethods"));
  cors.allow_headers = joined(fields.get("allowHeaders"));
  cors.expose_headers = joined(fields.get("exposeHeaders"));
  cors.max_age = read_duration(fields.get("maxAge"), ZeroDuration::kAllowed);
  cors.allow_credentials = fields.get("allowCredentials").boolean();
  auto unmatched = fields.get("unmatchedPreflights").choice({"UNSPECIFIED", "FORWARD", "IGNORE"});
  cors.forward_unmatched_preflights = unmatched != 2;
  rule.cors = std::move(cors);
}

}  // namespace np::policy
