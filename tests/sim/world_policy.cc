// SPDX-License-Identifier: Apache-2.0
// World: its policy. The same draws each time, so that a reload brings the same objects made anew:
// nothing may notice it, and nothing may look at the policy before it. Where a world changes its
// limits, only these differ.
#include <algorithm>

#include "tests/sim/places.h"
#include "tests/sim/world.h"

namespace np::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

milliseconds some_ms(Rng& draws, uint32_t least, uint32_t most) {
  return milliseconds(least + draws.below(most - least + 1));
}

void add_pod(policy::Snapshot& snapshot, const char* address, uint32_t workload) {
  auto entry = std::make_unique<policy::Snapshot::PodEntry>();
  entry->id = entry->workload_id = workload;
  snapshot.pod_by_ip[IpAddress::parse(address).value()] = entry.get();
  snapshot.pods.push_back(std::move(entry));
}

}  // namespace

policy::Cluster& World::add_web_cluster(test::PolicyFixture& policy, Rng& draws) {
  policy::Cluster& cluster = policy.add_cluster("web", {kWeb[0], kWeb[1], kWeb[2]});
  cluster.service_id = kWebServiceId;
  cluster.pool.connect_timeout = seconds(3);
  cluster.pool.idle_timeout = seconds(20);
  if (draws.below(4) == 0) cluster.pool.max_requests_per_connection = 1 + draws.below(5);
  if (draws.below(2) == 0) {
    cluster.load_balancing.kind = policy::LoadBalancing::Kind::kLeastRequest;
  }
  return cluster;
}

// In a clean world everybody is served in the end: the line has no end then.
void World::add_limits(policy::Cluster& web, policy::Cluster& db, Rng& draws) {
  Rng& varying = changes_limits_ ? dice_ : draws;
  policy::ConnectionPool& pool = web.pool;
  pool.scope_node = draws.below(4) == 0;
  pool.max_connections = 1 + varying.below(4);
  db.pool.max_connections = ledger_.clean ? kEchoClientsMax : 1 + varying.below(2);
  if (!ledger_.clean) {
    if (draws.below(3) != 0) pool.max_pending_requests = varying.below(6);
    if (draws.below(3) == 0) pool.max_requests = 1 + varying.below(4);
    if (draws.below(3) == 0) pool.max_retries = varying.below(3);
    if (draws.below(8) == 0) pool.max_connections = policy::kUnlimited;
  }
  if (!policy::has_limits(pool)) pool.max_connections = 2;
  most_requests_ = std::max(most_requests_, std::min(pool.max_connections, pool.max_requests));
  most_retries_ = std::max(most_retries_, pool.max_retries);
  most_tcp_ = std::max(most_tcp_, db.pool.max_connections);
  latest_pool_ = pool;
}

void World::add_outlier(policy::Cluster& web, Rng& draws) {
  static constexpr uint32_t kPercents[] = {10, 34, 50, 67, 100};
  policy::Outlier outlier;
  outlier.consecutive_5xx = draws.below(4);
  outlier.consecutive_gateway_errors = draws.below(4);
  outlier.split_local_origin = draws.below(3) == 0;
  outlier.consecutive_local_origin_failures = draws.below(3);
  outlier.interval = some_ms(draws, 20, 1000);
  outlier.base_ejection_time = some_ms(draws, 50, 2000);
  outlier.max_ejection_percent = kPercents[draws.below(5)];
  outlier.panic_percent = draws.below(2) == 0 ? 50 : 0;
  outlier.old_percent_rule = draws.below(2) == 0;
  if (has_broken_) {  // then it is known how often it may be asked
    outlier.consecutive_5xx = 1 + draws.below(3);
    outlier.max_ejection_percent = 100;
    outlier.panic_percent = 0;
  }
  web.outlier = outlier;
  outlier_ = outlier;
}

void World::add_faults(policy::Route& route, policy::Cluster& web, Rng& draws) {
  route.timeout = seconds(5);
  if (draws.below(2) == 0) {
    route.retry.attempts = draws.below(4);
    route.retry.on = policy::kRetry5xx | policy::kRetryConnectFailure | policy::kRetryReset;
    if (draws.below(2) == 0) route.retry.per_try_timeout = seconds(1);
  }
  if (draws.below(3) == 0) {
    route.fault.emplace();
    route.fault->delay = policy::Fault::Delay{milliseconds(100), 200'000};
    route.fault->abort = policy::Fault::Abort{418, 100'000};
  }
  if (draws.below(4) == 0) route.mirrors.push_back({&web, 300'000});
}

void World::load_policy() {
  Rng draws = policy_dice_;
  test::PolicyFixture policy;
  policy::Cluster& web = add_web_cluster(policy, draws);
  policy::Cluster& chat = policy.add_cluster("chat", {kChat});
  policy::Cluster& db = policy.add_cluster("db", {kDatabase[0], kDatabase[1]});
  policy::Route& route = policy.add_route(&web);
  if (!ledger_.clean) add_faults(route, web, draws);
  if (limited_) add_limits(web, db, draws);
  if (ejects_) add_outlier(web, draws);
  test::PrefixTable& table = policy.add_table();
  table.entries.push_back({"/s/", &route});
  policy::Route& upgrade = policy.add_route(&chat);
  upgrade.websocket = true;
  table.entries.push_back({"/ws", &upgrade});
  policy.capture(kService, &table);
  policy.listen(kBind, &table);
  test::PrefixTable& tcp = policy.add_table();
  tcp.entries.push_back({"", &policy.add_route(&db)});
  policy.capture(kTcpService, &tcp, policy::Protocol::kTcp);
  for (uint32_t i = 1; i < kCallers; ++i) add_pod(*policy.snapshot, kCallerAddresses[i], i);
  network_->set_snapshot(policy.snapshot);
}

}  // namespace np::sim
