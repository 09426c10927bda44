// SPDX-License-Identifier: Apache-2.0
// TrafficPolicy of nodeproxy.dev/v1: limits per caller or node, ejection by latency, half-open,
// health checks, faults beyond the other APIs, sticky splits, shadow mode, acceleration. SCHEMA.md
// shows it.
#include <set>

#include "policy/http_route_reader.h"
#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

constexpr int64_t kBytesPerSecondMax = int64_t{1} << 40;

// "enforce" (default) or "shadow".
bool read_shadow(const Value& value) {
  return value.choice({"enforce", "shadow"}).value_or(0) == 1;
}

Duration duration_or(const Value& value, Duration otherwise) {
  return read_duration(value, ZeroDuration::kRefused).value_or(otherwise);
}

uint32_t whole_percent_or(const Value& value, uint32_t otherwise) {
  return static_cast<uint32_t>(value.integer(0, 100).value_or(otherwise));
}

// ---- limits -----------------------------------------------------------------------------------

void read_limits(const Value& value, HostTraffic& traffic) {
  if (!value.present()) return;
  Fields fields(value);
  ConnectionPool limits;
  limits.scope_node = fields.get("scope").choice({"caller", "node"}).value_or(0) == 1;
  traffic.limits_shadow = read_shadow(fields.get("mode"));
  limits.max_connections = read_count(fields.get("maxConnections"), 1).value_or(kUnlimited);
  limits.max_pending_requests = read_count(fields.get("maxPendingRequests")).value_or(kUnlimited);
  limits.max_requests = read_count(fields.get("maxRequests"), 1).value_or(kUnlimited);
  limits.max_retries = read_count(fields.get("maxRetries")).value_or(kUnlimited);
  if (!has_limits(limits) && value.is_map()) {
    value.error("limits nothing", "",
                "maxConnections, maxPendingRequests, maxRequests, maxRetries");
  }
  traffic.limits = limits;
}

// ---- ejection ---------------------------------------------------------------------------------

void read_interval_rules(Fields& fields, Outlier& outlier) {
  if (Value value = fields.get("successRate"); value.present()) {
    Fields inner(value);
    SuccessRateRule rule;
    rule.minimum_hosts = read_count(inner.get("minimumHosts"), 1).value_or(rule.minimum_hosts);
    rule.request_volume = read_count(inner.get("requestVolume"), 1).value_or(rule.request_volume);
    rule.stdev_factor = inner.get("stdevFactor").number(0, 100).value_or(rule.stdev_factor);
    outlier.success_rate = rule;
  }
  if (Value value = fields.get("failurePercentage"); value.present()) {
    Fields inner(value);
    FailurePercentageRule rule;
    rule.threshold = whole_percent_or(inner.get("threshold"), rule.threshold);
    rule.minimum_hosts = read_count(inner.get("minimumHosts"), 1).value_or(rule.minimum_hosts);
    rule.request_volume = read_count(inner.get("requestVolume"), 1).value_or(rule.request_volume);
    outlier.failure_percentage = rule;
  }
  if (Value value = fields.get("latency"); value.present()) {
    Fields inner(value);
    LatencyRule rule;
    rule.threshold = duration_or(inner.require("threshold"), Duration{});
    rule.percentile = inner.get("percentile").number(1, 100).value_or(rule.percentile);
    rule.minimum_hosts = read_count(inner.get("minimumHosts"), 1).value_or(rule.minimum_hosts);
    rule.request_volume = read_count(inner.get("requestVolume"), 1).value_or(rule.request_volume);
    outlier.latency = rule;
  }
}

std::optional<Outlier> read_ejection(const Value& value) {
  if (!value.written()) return std::nullopt;
  Fields fields(value);
  Outlier outlier;
  outlier.shadow = read_shadow(fields.get("mode"));
  outlier.consecutive_5xx = read_count(fields.get("consecutive5xx")).value_or(5);
  outlier.consecutive_gateway_errors =
      read_count(fields.get("consecutiveGatewayErrors")).value_or(0);
  if (auto count = read_count(fields.get("consecutiveLocalOriginFailures"))) {
    outlier.split_local_origin = true;
    outlier.consecutive_local_origin_failures = *count;
  }
  read_interval_rules(fields, outlier);
  outlier.interval = duration_or(fields.get("interval"), outlier.interval);
  outlier.base_ejection_time =
      duration_or(fields.get("baseEjectionTime"), outlier.base_ejection_time);
  outlier.max_ejection_time = duration_or(fields.get("maxEjectionTime"), outlier.max_ejection_time);
  outlier.max_ejection_percent = whole_percent_or(fields.get("maxEjectionPercent"), 10);
  outlier.panic_percent = whole_percent_or(fields.get("minHealthPercent"), 0);
  outlier.half_open = fields.get("halfOpen").boolean().value_or(false);
  return outlier;
}

// ---- health checks ----------------------------------------------------------------------------

void read_http_check(const Value& value, HealthCheck& check) {
  Fields fields(value);
  Value path = fields.get("path");
  check.path = path.non_empty_string().value_or("/");
  if (check.path.front() != '/' || check.path.find_first_of(" \r\n#") != std::string::npos) {
    path.error("not a path", shown(check.path), "/ and what follows, without blanks");
  }
  Value host = fields.get("host");
  check.host = host.non_empty_string().value_or("");
  if (!check.host.empty() && !is_dns_subdomain(check.host)) {
    host.error("not a host name", shown(check.host));
  }
  if (Value statuses = fields.get("statuses"); statuses.present()) {
    Fields inner(statuses);
    check.status_from =
        static_cast<uint16_t>(inner.require("from").integer(100, 599).value_or(200));
    check.status_to =
        static_cast<uint16_t>(inner.require("to").integer(check.status_from, 599).value_or(200));
  }
}

std::optional<HealthCheck> read_health_check(const Value& value) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  HealthCheck check;
  Value http = fields.get("http");
  Value tcp = fields.get("tcp");
  if (http.written() == tcp.written()) {
    value.error("exactly one kind of check is needed", "", "http, tcp");
  }
  check.http = http.written();
  if (http.present()) read_http_check(http, check);
  if (tcp.present()) Fields none(tcp);
  check.interval = duration_or(fields.get("interval"), check.interval);
  check.timeout = duration_or(fields.get("timeout"), check.timeout);
  check.jitter_percent = whole_percent_or(fields.get("jitterPercent"), check.jitter_percent);
  check.unhealthy_threshold =
      read_count(fields.get("unhealthyThreshold"), 1).value_or(check.unhealthy_threshold);
  check.healthy_threshold =
      read_count(fields.get("healthyThreshold"), 1).value_or(check.healthy_threshold);
  return check;
}

// ---- faults -----------------------------------------------------------------------------------

// Absent: every request.
uint32_t read_share(const Value& value) {
  return read_percent(value).value_or(kPerMillion);
}

void read_delay(const Value& value, Fault& fault) {
  if (!value.present()) return;
  using Kind = DelayShape::Kind;
  Fields fields(value);
  Fault::Delay delay;
  delay.per_million = read_share(fields.get("percent"));
  if (fields.at_most_one({"fixed", "uniform", "normal", "exponential"}) == 0) {
    value.error("a distribution is required", "", "fixed, uniform, normal, exponential");
  }
  if (Value fixed = fields.get("fixed"); fixed.present()) {
    delay.shape = duration_or(fixed, Duration{});
  }
  if (Value uniform = fields.get("uniform"); uniform.present()) {
    Fields inner(uniform);
    const Duration least =
        read_duration(inner.require("min"), ZeroDuration::kAllowed).value_or(Duration{});
    const Duration most = duration_or(inner.require("max"), least);
    if (most < least) uniform.error("max is below min");
    delay.shape = {Kind::kUniform, least, most};
  }
  if (Value normal = fields.get("normal"); normal.present()) {
    Fields inner(normal);
    const Duration mean = duration_or(inner.require("mean"), Duration{});
    delay.shape = {Kind::kNormal, mean, duration_or(inner.require("stddev"), Duration{})};
  }
  if (Value exponential = fields.get("exponential"); exponential.present()) {
    Fields inner(exponential);
    delay.shape = {Kind::kExponential, duration_or(inner.require("mean"), Duration{}), Duration{}};
  }
  fault.delay = delay;
}

void read_abort(const Value& value, Fault& fault) {
  if (!value.present()) return;
  Fields fields(value);
  Fault::Abort abort;
  abort.per_million = read_share(fields.get("percent"));
  Value status = fields.get("status");
  const bool resets = fields.get("reset").boolean().value_or(false);
  if (status.present() == resets) {
    value.error("either a status or `reset: true` is needed");
  }
  abort.http_status = static_cast<uint16_t>(status.integer(200, 599).value_or(0));
  fault.abort = abort;
}

void read_bandwidth(const Value& value, Fault& fault) {
  if (!value.present()) return;
  Fields fields(value);
  Fault::Bandwidth bandwidth;
  bandwidth.per_million = read_share(fields.get("percent"));
  bandwidth.bytes_per_second = static_cast<uint64_t>(
      fields.require("bytesPerSecond").integer(1, kBytesPerSecondMax).value_or(1));
  fault.bandwidth = bandwidth;
}

FaultRule read_fault(const Value& value, const LoadInput& input) {
  Fields fields(value);
  FaultRule rule;
  rule.name = fields.get("name").non_empty_string().value_or("");
  for (const Value& item : fields.get("match").items()) {
    if (auto match = read_http_match(item, input)) {
      if (!match->gateways.empty()) item.error("gateways decide nothing here");
      rule.matches.push_back(std::move(*match));
    }
  }
  read_delay(fields.get("delay"), rule.fault);
  read_abort(fields.get("abort"), rule.fault);
  read_bandwidth(fields.get("bandwidth"), rule.fault);
  if (value.is_map() && !rule.fault.delay && !rule.fault.abort && !rule.fault.bandwidth) {
    value.error("injects nothing", "", "delay, abort, bandwidth");
  }
  rule.fault.within_limits = fields.get("withinTimeoutAndRetry").boolean().value_or(false);
  rule.lasts = duration_or(fields.get("for"), Duration{});
  rule.shadow = read_shadow(fields.get("mode"));
  return rule;
}

// Decided for a connection, before a request on it chooses a subset.
void read_acceleration(const Value& value, HostTraffic& traffic) {
  traffic.asks_acceleration = value.choice({"none", "sockmap"}).value_or(0) == 1;
  if (!traffic.asks_acceleration) return;
  if (!traffic.subset.empty() || !traffic.labels.empty()) {
    value.error("connections are of the whole host: not legal together with subset or labels");
  }
  value.warning(
      "no data path is built yet: bytes take the usual way; `nodectl acceleration` says what this "
      "kernel could do");
}

void read_sticky(const Value& value, HostTraffic& traffic) {
  if (!value.present()) return;
  Fields fields(value);
  if (fields.at_most_one({"header", "cookie"}) == 0) {
    value.error("says nothing to tell people apart by", "", "header, cookie");
  }
  Value header = fields.get("header");
  traffic.sticky_header = lower_case(header.non_empty_string().value_or(""));
  if (!traffic.sticky_header.empty() && !is_header_name(traffic.sticky_header)) {
    header.error("not a legal header name", shown(traffic.sticky_header));
  }
  Value cookie = fields.get("cookie");
  traffic.sticky_cookie = cookie.non_empty_string().value_or("");
  if (!traffic.sticky_cookie.empty() && !is_header_name(traffic.sticky_cookie)) {
    cookie.error("not a legal cookie name", shown(traffic.sticky_cookie));
  }
}

}  // namespace

void load_traffic_policy(const LoadInput& input, Model& model) {
  if (!input.spec.present()) {
    input.root.require("spec");
    return;
  }
  Fields spec(input.spec);
  HostTraffic traffic;
  traffic.origin = input.origin;
  auto host = read_host(spec.require("host"), input.ns, Wildcard::kRefused);
  spec.at_most_one({"subset", "labels"});
  traffic.subset = spec.get("subset").non_empty_string().value_or("");
  traffic.labels = read_labels(spec.get("labels"));
  read_limits(spec.get("limits"), traffic);
  traffic.outlier = read_ejection(spec.get("ejection"));
  traffic.health_check = read_health_check(spec.get("healthCheck"));
  for (const Value& item : spec.get("faults").items()) {
    traffic.faults.push_back(read_fault(item, input));
  }
  read_acceleration(spec.get("acceleration"), traffic);
  Value sticky = spec.get("sticky");
  read_sticky(sticky, traffic);
  const bool narrowed = !traffic.subset.empty() || !traffic.labels.empty();
  if (narrowed && sticky.present()) {
    sticky.error("a split is of the whole host: not legal together with subset or labels");
  }
  if (!host) return;
  traffic.host = *host;
  model.traffic.push_back(std::move(traffic));
}

}  // namespace np::policy
