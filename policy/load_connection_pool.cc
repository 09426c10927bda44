// SPDX-License-Identifier: Apache-2.0
// trafficPolicy.connectionPool and .outlierDetection of a DestinationRule (traffic-semantics 2.2).
#include "policy/traffic_policy_reader.h"

namespace np::policy {
namespace {

constexpr int64_t kMaxRequestsPerConnection = 1 << 29;

// 0 and absent mean no limit.
uint32_t read_limit(const Value& value) {
  if (!value.present()) return kUnlimited;
  uint32_t limit = read_count(value).value_or(0);
  return limit == 0 ? kUnlimited : limit;
}

void read_keepalive(const Value& value, ConnectionPool& pool) {
  if (!value.present()) return;
  Fields fields(value);
  ConnectionPool::Keepalive keepalive;
  if (auto probes = read_count(fields.get("probes"), 1)) keepalive.probes = *probes;
  if (auto time = read_duration(fields.get("time"), ZeroDuration::kRefused)) keepalive.time = *time;
  auto interval = read_duration(fields.get("interval"), ZeroDuration::kRefused);
  if (interval) keepalive.interval = *interval;
  pool.tcp_keepalive = keepalive;
}

void read_tcp(const Value& value, ConnectionPool& pool) {
  if (!value.present()) return;
  Fields fields(value);
  pool.max_connections = read_limit(fields.get("maxConnections"));
  auto connect = read_duration(fields.get("connectTimeout"), ZeroDuration::kRefused);
  if (connect) pool.connect_timeout = *connect;
  read_keepalive(fields.get("tcpKeepalive"), pool);
  auto most = read_duration(fields.get("maxConnectionDuration"), ZeroDuration::kRefused);
  if (most) pool.max_connection_duration = *most;
  auto idle = read_duration(fields.get("idleTimeout"), ZeroDuration::kRefused);
  if (idle) pool.idle_timeout = *idle;
}

void read_http(const Value& value, ConnectionPool& pool) {
  if (!value.present()) return;
  Fields fields(value);
  pool.max_pending_requests = read_limit(fields.get("http1MaxPendingRequests"));
  pool.max_requests = read_limit(fields.get("http2MaxRequests"));
  auto retries = read_count(fields.get("maxRetries"));
  if (retries.value_or(0) != 0) pool.max_retries = *retries;
  auto per_connection =
      fields.get("maxRequestsPerConnection").integer(0, kMaxRequestsPerConnection);
  pool.max_requests_per_connection = static_cast<uint32_t>(per_connection.value_or(0));
  auto idle = read_duration(fields.get("idleTimeout"), ZeroDuration::kRefused);
  if (idle) pool.idle_timeout = *idle;
  Value upgrade = fields.get("h2UpgradePolicy");
  if (upgrade.choice({"DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"}) == 2) {
    upgrade.error("upgrading to HTTP/2 is not supported in this version", "UPGRADE",
                  "DEFAULT, DO_NOT_UPGRADE");
  }
  Value client_protocol = fields.get("useClientProtocol");
  if (client_protocol.boolean().value_or(false)) {
    client_protocol.error("is not supported in this version", "true", "false");
  }
  fields.get("maxConcurrentStreams").refuse_if_written("is not supported in this version");
  fields.get("http2KeepAlive").refuse_if_written("is not supported in this version");
}

}  // namespace

std::optional<ConnectionPool> read_connection_pool(const Value& value) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  ConnectionPool pool;
  read_tcp(fields.get("tcp"), pool);
  read_http(fields.get("http"), pool);
  return pool;
}

std::optional<Outlier> read_outlier(const Value& value) {
  if (!value.written()) return std::nullopt;
  Fields fields(value);
  Outlier outlier;
  if (auto count = read_count(fields.get("consecutive5xxErrors"))) outlier.consecutive_5xx = *count;
  if (auto count = read_count(fields.get("consecutiveGatewayErrors"))) {
    outlier.consecutive_gateway_errors = *count;
  }
  outlier.split_local_origin =
      fields.get("splitExternalLocalOriginErrors").boolean().value_or(false);
  if (auto count = read_count(fields.get("consecutiveLocalOriginFailures"))) {
    outlier.consecutive_local_origin_failures = *count;
  }
  auto interval = read_duration(fields.get("interval"), ZeroDuration::kRefused);
  if (interval) outlier.interval = *interval;
  auto ejection = read_duration(fields.get("baseEjectionTime"), ZeroDuration::kRefused);
  if (ejection) outlier.base_ejection_time = *ejection;
  if (auto percent = fields.get("maxEjectionPercent").integer(0, 100)) {
    outlier.max_ejection_percent = static_cast<uint32_t>(*percent);
  }
  if (auto percent = fields.get("minHealthPercent").integer(0, 100)) {
    outlier.panic_percent = static_cast<uint32_t>(*percent);
  }
  fields.get("consecutiveErrors")
      .warn_if_written("is the old name of consecutive5xxErrors and is ignored, as in Istio");
  return outlier;
}

}  // namespace np::policy
