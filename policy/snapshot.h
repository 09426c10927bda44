// SPDX-License-Identifier: Apache-2.0
// Snapshot: the compiled, immutable policy that the engine runs on. Built on the control thread by
// compile(); shared with every shard as shared_ptr<const Snapshot>; an Exchange pins the one it
// began with. Nothing in here changes after compile(): live state (active counts, ejections,
// round-robin positions) is kept by the engine, keyed by the stable ids below, so that a reload
// resets nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/field.h"
#include "base/time.h"
#include "policy/model.h"
#include "policy/request_view.h"

namespace re2 {
class RE2;
}

namespace np::policy {

// ---- destinations ----------------------------------------------------------------------------
struct Endpoint {
  uint32_t id = 0;        // stable per address across snapshots; index into live arrays
  SocketAddress address;  // port 0 and unspecified for a name not resolved yet
  uint32_t weight = 1;
  uint32_t pod_id = 0;  // 0: not a pod known here
  Labels labels;
  std::string pod_name;
  Workload workload;  // by its labels
  Instant joined;     // for slow start: when it first appeared
};

struct MatchTrace;     // policy/match_trace.h
struct ClusterChecks;  // policy/quota.h
struct CheckPolicy;

// A fault of a TrafficPolicy, on the way to a cluster whatever route leads there.
struct HostFault {
  std::string name;
  std::string object;                             // "TrafficPolicy default/slow"
  std::shared_ptr<const RequestMatcher> matcher;  // null: every request
  Fault fault;
  Instant ends = kNever;
  bool shadow = false;  // counted, not injected
};

// Limits in shadow mode: they look on beside those in force.
struct ShadowLimits {
  std::string object;   // "TrafficPolicy default/few"
  ConnectionPool pool;  // the four limits and the scope
};

// Weighted splits in which a person keeps a side: the same value lands at the same point of the sum
// of weights, so that only those move whose point changes sides.
struct StickySplit {
  LoadBalancing balancing;  // what request_hash() looks at
  uint64_t salt = 0;        // splits of other hosts fall differently
};

// One load-balanced set: a service port, narrowed to a subset.
struct Cluster {
  uint32_t id = 0;          // stable per name
  std::string name;         // "outbound|9080|v1|reviews.default.svc.cluster.local"
  std::string legacy_name;  // "out.reviews.default.svc.cluster.local|http|version=v1"
  std::string host;
  std::string subset;
  uint16_t port = 0;
  uint32_t service_id = 0;  // np_svc.svc_id of host and port: endpoints are ejected per service
  bool original_destination = false;  // forward to the dialled address (resolution NONE)
  std::vector<Endpoint> endpoints;
  LoadBalancing load_balancing;
  ConnectionPool pool;
  std::optional<ShadowLimits> shadow_limits;
  std::optional<Outlier> outlier, shadow_outlier;  // the second one looks on
  std::optional<HealthCheck> health_check;
  std::vector<HostFault> faults;  // the first that matches is used instead of the route's
  bool source_pod = false;        // upstream keeps the pod's address (annotation source: pod)
  // Ring hash: sorted {hash, endpoint index}; maglev: endpoint index per table slot.
  std::vector<std::pair<uint64_t, uint32_t>> ring;
  std::vector<uint32_t> maglev;
  const ClusterChecks* checks = nullptr;  // rate limits and denials; null: none
};

struct WeightedCluster {
  const Cluster* cluster = nullptr;  // null: unknown host or subset -> 503 NC
  uint32_t weight = 0;
  HeaderOps request_headers, response_headers;
};

// ---- routes ----------------------------------------------------------------------------------

struct Route {
  uint32_t id = 0;     // stable per origin and name
  std::string name;    // rule name, or "default-route"
  std::string object;  // "RouteRule istio-system/reviews-default"; "" for the default
  std::string file;    // where its rule was written, for people
  int line = 0;
  enum class Action : uint8_t { kForward, kRedirect, kDirectResponse };
  Action action = Action::kForward;
  std::vector<WeightedCluster> clusters;
  uint64_t total_weight = 0;
  std::shared_ptr<const StickySplit> sticky;  // null: drawn for each request
  std::optional<Redirect> redirect;
  std::optional<DirectResponse> direct_response;
  std::optional<Rewrite> rewrite;
  std::shared_ptr<const re2::RE2> rewrite_regex;
  std::optional<Fault> fault;
  Duration timeout{};  // zero: none
  Retry retry;
  struct MirrorTarget {
    const Cluster* cluster = nullptr;
    uint32_t per_million = kPerMillion;
  };
  std::vector<MirrorTarget> mirrors;
  std::optional<Cors> cors;
  std::vector<std::shared_ptr<const re2::RE2>> cors_regexes;  // parallel to cors->allow_origins
  HeaderOps request_headers, response_headers;
  bool websocket = false;
};

// What matched, and how much of the path (for prefix rewrites and redirects).
struct RouteMatch {
  const Route* route = nullptr;       // null: no route -> 404 NR
  uint32_t matched_prefix_bytes = 0;  // of the path; whole path for exact and regex matches
};

// The rules of one host, in order of evaluation. Cost is flat in the number of rules (match.cc).
class RouteTable {
 public:
  virtual ~RouteTable() = default;
  virtual RouteMatch match(const RequestView& request, const CallerView& caller) const = 0;
  // The same answer, with what was tried on the way.
  virtual RouteMatch explain(const RequestView& request, const CallerView& caller,
                             MatchTrace& trace) const;
};

// Tables by host name: exact names first, then the longest wildcard suffix, then "*".
class HostTable {
 public:
  virtual ~HostTable() = default;
  virtual const RouteTable* find(std::string_view authority) const = 0;
  // The listed name that find() goes by: "*.example.com"; empty: none fits.
  virtual std::string name_for(std::string_view authority) const;
};

// ---- ways in ---------------------------------------------------------------------------------

// One port of a covered service, reached by its dialled address.
struct CapturedPort {
  uint32_t service_id = 0;  // np_svc.svc_id; stable per host and port
  std::string host;         // full name
  std::string ns;
  uint16_t port = 0;
  Protocol protocol = Protocol::kHttp;
  const RouteTable* http_routes = nullptr;  // HTTP protocols
  const HostTable* by_host = nullptr;       // set instead of http_routes: host from Host (8.9)
  const RouteTable* tcp_routes = nullptr;   // kTcp: RequestView carries only port and addresses
};

// What the kernel must capture. One entry per address and port.
struct CaptureEntry {
  SocketAddress address;
  uint32_t service_id = 0;
  FailMode fail_mode = FailMode::kOpen;
  std::string service_name;  // text for np_flows.svc
};
struct CapturePrefix {
  IpPrefix prefix;
  uint16_t port = 0;
  uint32_t service_id = 0;
  FailMode fail_mode = FailMode::kOpen;
  std::string service_name;
};

struct GatewayListener {
  SocketAddress bind;   // unspecified address: all
  std::string gateway;  // "ns/name" of the first Gateway that opened it
  uint32_t workload_id = 0;
  const HostTable* hosts = nullptr;
};

// Warnings and refusals of compile(): they become object statuses.
struct Finding {
  enum class Level : uint8_t { kNote, kWarning, kInactive, kScope };
  Level level = Level::kWarning;
  Origin origin;
  std::string message;
  Topic topic = Topic::kOther;
};

class Snapshot {
 public:
  uint64_t generation = 0;
  std::vector<CaptureEntry> capture_entries;
  std::vector<CapturePrefix> capture_prefixes;
  std::vector<GatewayListener> listeners;
  std::vector<Finding> findings;
  std::vector<std::string> dns_names;  // names the control thread must resolve

  // By dialled address: null when the address is not covered (any more).
  const CapturedPort* find_captured(const SocketAddress& dialled) const;
  const GatewayListener* find_listener(const SocketAddress& bind) const;
  struct PodEntry {
    Pod pod;
    uint32_t id = 0;
    uint32_t workload_id = 0;  // stable per workload_name()
  };
  const PodEntry* find_pod(const IpAddress& ip) const;
  uint32_t pod_id(const IpAddress& ip) const;  // 0: unknown

  // Owned storage; the pointers above point into it.
  std::vector<std::unique_ptr<Cluster>> clusters;
  std::vector<std::unique_ptr<Route>> routes;
  std::vector<std::unique_ptr<RouteTable>> route_tables;
  std::vector<std::unique_ptr<HostTable>> host_tables;
  std::vector<std::unique_ptr<CapturedPort>> captured_ports;
  std::unordered_map<SocketAddress, const CapturedPort*, SocketAddressHash> by_address;
  std::vector<std::pair<CapturePrefix, const CapturedPort*>> by_prefix;  // longest first
  std::vector<std::unique_ptr<PodEntry>> pods;
  std::unordered_map<IpAddress, const PodEntry*, IpAddressHash> pod_by_ip;
  std::shared_ptr<const CheckPolicy> checks;  // owns what Cluster::checks points at
};

// Path and authority that go upstream for a matched request. Appends to `path` (with query) and
// `authority`, which the caller clears and reuses, so that a steady state allocates nothing.
void rewrite_request(const RouteMatch& match, const RequestView& request, std::string& path,
                     std::string& authority);

// The Location value of a redirect route. CR and LF never appear in it.
std::string redirect_location(const RouteMatch& match, const RequestView& request);

// The hash of a request for ring hash and maglev: empty when the policy finds nothing to hash.
std::optional<uint64_t> request_hash(const LoadBalancing& policy, const RequestView& request,
                                     const CallerView& caller);

// Index of the endpoint that owns `hash` (ring or maglev table must be there).
uint32_t endpoint_for_hash(const Cluster& cluster, uint64_t hash);

// Whether `origin` is allowed by the CORS policy of `route`.
bool cors_allows(const Route& route, std::string_view origin);

}  // namespace np::policy
