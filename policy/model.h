// SPDX-License-Identifier: Apache-2.0
// The ONE model that every accepted API compiles into. Loaders (load_*.cc) fill it from YAML
// objects, compile.cc turns it into a Snapshot; nothing after the loaders knows which API a rule
// came from. Plain values, built and read on the control thread only (and by offline `nodectl`).
//
// Conventions: hosts are lower-case full names ("ratings.prod.svc.cluster.local", "*.example.com",
// "www.example.com"); durations are np::Duration, zero means "not set" unless a field says
// otherwise; percentages are parts per million, so that 0.0001 % is exact.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "policy/mixer_model.h"
#include "policy/model_base.h"
#include "policy/rate_limit_model.h"
#include "policy/traffic_model.h"
#include "policy/workload.h"

namespace np::policy {

inline constexpr uint32_t kPerMillion = 1'000'000;

// ---- registry -------------------------------------------------------------------------------

// Decides how bytes on a port are read. Names follow Istio's port-name prefixes and appProtocol.
enum class Protocol : uint8_t { kHttp, kHttp2, kGrpc, kTcp, kTls, kHttps, kUdp, kAuto };

struct ServicePort {
  std::string name;  // "http"; may be empty for a single port
  uint16_t port = 0;
  Protocol protocol = Protocol::kAuto;
  uint16_t target_port = 0;      // 0: same as `port`
  std::string target_port_name;  // when the targetPort is a container port's name
};

enum class FailMode : uint8_t { kOpen, kClosed };  // daemon gone: connect directly, or refuse

// Kubernetes Service, or one host of a ServiceEntry or EgressRule.
struct Service {
  enum class Resolution : uint8_t { kCluster, kStatic, kDns, kNone };
  Origin origin;
  std::string host;  // full name, may start with "*."
  std::string ns;
  std::vector<IpAddress> addresses;  // cluster IPs or ServiceEntry addresses; empty: headless
  std::vector<IpPrefix> prefixes;    // ServiceEntry CIDR addresses
  std::vector<ServicePort> ports;
  Labels selector;  // empty: endpoints are named by other objects
  Labels labels;
  Resolution resolution = Resolution::kCluster;
  bool external = false;                 // MESH_EXTERNAL
  FailMode fail_mode = FailMode::kOpen;  // annotation nodeproxy.dev/fail-mode: open|closed
  bool source_pod = false;               // annotation nodeproxy.dev/source: node|pod
};

// A pod: a Kubernetes Pod object, or one made by `nodectl pod add`.
struct Pod {
  Origin origin;
  std::string name;
  std::string ns;
  Labels labels;
  std::vector<IpAddress> ips;
  std::map<std::string, uint16_t> named_ports;
  std::string service_account;
  Workload workload;          // compile() finds it
  std::string service;        // host of the service that it belongs to; compile() finds it
  bool ready = true;          // takes part as an endpoint
  bool host_network = false;  // reported as unsupported for capture (R12)
};

// One address behind a service: Endpoints, EndpointSlice, ServiceEntry.endpoints.
struct StaticEndpoint {
  std::string host;                       // the service it belongs to
  std::string address;                    // IP text, or a DNS name
  std::map<std::string, uint16_t> ports;  // by service port name; "" applies to a single port
  Labels labels;
  uint32_t weight = 1;
  bool ready = true;
  Origin origin;
};

// ---- route actions --------------------------------------------------------------------------

struct HeaderOps {
  std::vector<std::pair<std::string, std::string>> set;  // replaces
  std::vector<std::pair<std::string, std::string>> add;  // one more line
  std::vector<std::string> remove;
  bool empty() const { return set.empty() && add.empty() && remove.empty(); }
};

// A destination: a host with either a subset's name (today's API) or its labels (RouteRule).
struct Destination {
  std::string host;
  uint16_t port = 0;    // 0: the port that was dialled, or the service's only one
  std::string subset;   // DestinationRule subset
  Labels labels;        // RouteRule labels
  uint32_t weight = 0;  // relative
  HeaderOps request_headers, response_headers;
  int line = 0;
};

struct Redirect {
  uint16_t status = 301;
  std::optional<std::string> path;       // replaces path and query
  std::optional<std::string> prefix;     // replaces the matched prefix
  std::optional<std::string> authority;  // replaces host (and port, if it has one)
  std::optional<std::string> scheme;
  std::optional<uint16_t> port;
  enum class DerivePort : uint8_t { kNone, kFromProtocolDefault, kFromRequestPort };
  DerivePort derive_port = DerivePort::kNone;
};

struct DirectResponse {
  uint16_t status = 200;
  std::string body;
  std::string content_type;  // "" -> text/plain
};

struct Rewrite {
  std::optional<std::string> uri;  // replaces the matched prefix, or the whole path
  std::optional<std::string> authority;
  std::optional<std::string> regex, regex_substitution;  // RE2 pattern and \1-style replacement
};

struct Fault {
  struct Delay {
    DelayShape shape;
    uint32_t per_million = 0;
  };
  struct Abort {
    uint16_t http_status = 0;  // 0: the connection is reset
    uint32_t per_million = 0;
  };
  struct Bandwidth {
    uint64_t bytes_per_second = 0;  // of the answer
    uint32_t per_million = 0;
  };
  std::optional<Delay> delay;
  std::optional<Abort> abort;
  std::optional<Bandwidth> bandwidth;
  bool within_limits =
      false;  // the route's timeout runs during the delay, its retries see the abort
};

// Conditions under which a try is repeated (Envoy's retry_on names).
enum RetryOn : uint32_t {
  kRetry5xx = 1U << 0,
  kRetryGatewayError = 1U << 1,
  kRetryReset = 1U << 2,
  kRetryResetBeforeRequest = 1U << 3,
  kRetryConnectFailure = 1U << 4,
  kRetryRefusedStream = 1U << 5,
  kRetryRetriable4xx = 1U << 6,
  kRetryStatusCodes = 1U << 7,
  kRetryGrpcCancelled = 1U << 8,
  kRetryGrpcDeadlineExceeded = 1U << 9,
  kRetryGrpcInternal = 1U << 10,
  kRetryGrpcResourceExhausted = 1U << 11,
  kRetryGrpcUnavailable = 1U << 12,
};

struct Retry {
  uint32_t attempts = 0;               // repeats after the first try; 0: none
  Duration per_try_timeout{};          // zero: none
  uint32_t on = 0;                     // RetryOn bits
  std::vector<uint16_t> status_codes;  // with kRetryStatusCodes
  Duration backoff_base = std::chrono::milliseconds(25);
  Duration backoff_max = std::chrono::milliseconds(250);
  bool avoid_previous_hosts = true;
  bool allow_non_idempotent = false;  // repeat POST after bytes were sent
};

struct Mirror {
  Destination destination;
  uint32_t per_million = kPerMillion;
};

struct Cors {
  std::vector<StringMatch> allow_origins;                    // exact "*" allows every origin
  std::string allow_methods, allow_headers, expose_headers;  // comma-joined
  std::optional<Duration> max_age;
  std::optional<bool> allow_credentials;
  bool forward_unmatched_preflights = true;
};

// One rule: the first whose conditions hold is used (any of `matches`; empty: always).
struct RouteRule {
  std::string name;
  Origin origin;  // with the line of this rule
  std::vector<MatchCondition> matches;
  std::vector<Destination> destinations;
  std::optional<Redirect> redirect;
  std::optional<DirectResponse> direct_response;
  std::optional<Rewrite> rewrite;
  std::optional<Fault> fault;
  std::optional<Duration> timeout;  // zero: none
  std::optional<Retry> retry;       // absent: the API's default, set by the loader
  std::vector<Mirror> mirrors;
  std::optional<Cors> cors;
  HeaderOps request_headers, response_headers;
  bool websocket = false;  // Upgrade allowed
};

// The rules that one object gives for some hosts.
struct RouteSet {
  enum class Api : uint8_t { kRouteRule, kVirtualService, kHttpRoute };
  Origin origin;
  Api api = Api::kVirtualService;
  std::vector<std::string> hosts;     // full names or wildcards; "*" only on gateways
  std::vector<std::string> gateways;  // "mesh" and/or "ns/name"
  int32_t precedence = 0;             // RouteRule only: higher first
  std::vector<RouteRule> http;
  std::vector<RouteRule> tcp;          // matches use port, subnets, source labels only
  std::vector<std::string> export_to;  // namespaces, "." or "*"
};

// ---- destination policy ---------------------------------------------------------------------

struct LoadBalancing {
  enum class Kind : uint8_t {
    kRoundRobin,
    kLeastRequest,
    kRandom,
    kRingHash,
    kMaglev,
    kPassthrough
  };
  enum class HashOn : uint8_t { kNone, kHeader, kCookie, kSourceIp, kQueryParam };
  Kind kind = Kind::kRoundRobin;
  HashOn hash_on = HashOn::kNone;
  std::string hash_name;  // header, cookie or parameter
  std::string cookie_path;
  std::optional<Duration> cookie_ttl;  // set: the proxy makes the cookie; 0: session cookie
  uint64_t minimum_ring_size = 1024;
  uint64_t maglev_table_size = 65537;
  Duration warmup{};  // slow start window; zero: off
  uint32_t warmup_minimum_percent = 10;
  double warmup_aggression = 1.0;
};

inline constexpr uint32_t kUnlimited = UINT32_MAX;

// DestinationRule's retryBudget (Istio 1.26): repeats under way at once are at most this part of
// the requests under way, or `minimum` where that is more. In place of maxRetries and of the
// daemon's own budget.
struct RetryBudget {
  double percent = 20;  // 0 to 100
  uint32_t minimum = 3;
  bool operator==(const RetryBudget&) const = default;
};

struct ConnectionPool {
  uint32_t max_connections = kUnlimited;
  uint32_t max_pending_requests = kUnlimited;
  uint32_t max_requests = kUnlimited;
  uint32_t max_retries = kUnlimited;
  std::optional<RetryBudget> retry_budget;
  uint32_t max_requests_per_connection = 0;  // 0: no limit
  Duration connect_timeout = std::chrono::seconds(10);
  Duration idle_timeout = std::chrono::hours(1);
  Duration max_connection_duration{};  // zero: none
  struct Keepalive {
    uint32_t probes = 9;
    Duration time = std::chrono::hours(2), interval = std::chrono::seconds(75);
  };
  std::optional<Keepalive> tcp_keepalive;
  bool scope_node = false;  // D9: the limits hold for the whole node, not for each caller
};

// Whether the policy limits connections or requests at all.
inline bool has_limits(const ConnectionPool& pool) {
  return pool.max_connections != kUnlimited || pool.max_pending_requests != kUnlimited ||
         pool.max_requests != kUnlimited || pool.max_retries != kUnlimited ||
         pool.retry_budget.has_value();
}

struct Outlier {
  uint32_t consecutive_5xx = 5;  // 0: off
  uint32_t consecutive_gateway_errors = 0;
  uint32_t consecutive_local_origin_failures = 5;  // with split_local_origin only
  bool split_local_origin = false;
  Duration interval = std::chrono::seconds(10);
  Duration base_ejection_time = std::chrono::seconds(30);
  Duration max_ejection_time = std::chrono::seconds(300);  // or the base time, if that is longer
  uint32_t max_ejection_percent = 10;
  uint32_t panic_percent = 0;     // below this share of healthy endpoints use all; D16
  bool old_percent_rule = false;  // D6: simpleCb compares the share before the ejection
  std::optional<SuccessRateRule> success_rate;
  std::optional<FailurePercentageRule> failure_percentage;
  std::optional<LatencyRule> latency;
  bool half_open = false;  // who comes back gets one request, not as many as are forgiven
  bool shadow = false;     // counts and tells what would be ejected

  bool looks_at_intervals() const {
    return success_rate.has_value() || failure_percentage.has_value() || latency.has_value();
  }
};

struct TrafficPolicy {
  std::optional<LoadBalancing> load_balancing;
  std::optional<ConnectionPool> pool;
  std::optional<Outlier> outlier;
  std::optional<RetryBudget> retry_budget;
  std::map<uint16_t, std::shared_ptr<TrafficPolicy>> ports;  // portLevelSettings: replace wholly
};

struct Subset {
  std::string name;
  Labels labels;
  TrafficPolicy policy;
  int line = 0;
};

// DestinationPolicy (labels, one policy) or DestinationRule (subsets).
struct DestinationPolicy {
  enum class Api : uint8_t { kDestinationPolicy, kDestinationRule };
  Origin origin;
  Api api = Api::kDestinationRule;
  std::string host;
  Labels labels;  // DestinationPolicy: the endpoints it acts on
  TrafficPolicy policy;
  std::vector<Subset> subsets;  // DestinationRule
  std::vector<std::string> export_to;
};

// ---- nodeproxy.dev/v1 -------------------------------------------------------------------------

// A fault on the way to a host, whatever route leads there.
struct FaultRule {
  std::string name;
  std::vector<MatchCondition> matches;  // any of them; empty: every request
  Fault fault;
  Duration lasts{};  // since the object was last changed; zero: as long as it is there
  bool shadow = false;
};

// TrafficPolicy: wins over what DestinationRule and DestinationPolicy say about the same thing.
struct HostTraffic {
  Origin origin;
  std::string host;
  std::string subset;  // of a DestinationRule; "" and no labels: the whole host
  Labels labels;
  std::optional<ConnectionPool> limits;  // only the four limits and the scope are read
  bool limits_shadow = false;            // counts and tells what would be held back
  bool asks_acceleration = false;        // sockmap, where this kernel passes its self-test
  std::optional<Outlier> outlier;
  std::optional<HealthCheck> health_check;
  std::vector<FaultRule> faults;
  std::string sticky_header, sticky_cookie;  // who keeps its side of a weighted split
};

// ---- gateways -------------------------------------------------------------------------------

struct GatewayServer {
  uint16_t port = 0;
  std::string port_name;
  std::string bind;                // IP text; "" = all addresses
  std::vector<std::string> hosts;  // "*", "x.example.com", "ns/host"
  int line = 0;
};

struct Gateway {
  Origin origin;
  std::vector<GatewayServer> servers;
};

// ---- the whole ------------------------------------------------------------------------------

struct Model {
  std::vector<Service> services;
  std::vector<Pod> pods;
  std::vector<StaticEndpoint> endpoints;
  std::vector<RouteSet> routes;
  std::vector<DestinationPolicy> destinations;
  std::vector<Gateway> gateways;
  std::vector<HostTraffic> traffic;
  MixerModel mixer;
  std::vector<RateLimit> rate_limits;
};

}  // namespace np::policy
