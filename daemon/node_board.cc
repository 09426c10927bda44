// SPDX-License-Identifier: Apache-2.0
#include "node_board.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <map>
#include <unordered_map>

#include "base/time.h"
#include "lasting_memory.h"
#include "proxy/counters.h"

namespace np {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr double kPerPercent = 10'000;

uint64_t limit_of(uint32_t value) {
  return value == policy::kUnlimited ? 0 : value;
}

double to_ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double mean_ms(const policy::DelayShape& shape) {
  if (shape.kind == policy::DelayShape::Kind::kUniform)
    return (to_ms(shape.a) + to_ms(shape.b)) / 2;
  return to_ms(shape.a);
}

metrics::FaultState fault_state(const policy::Fault& fault) {
  metrics::FaultState state;
  if (fault.delay) {
    state.delay_ms = mean_ms(fault.delay->shape);
    state.delay_percent = fault.delay->per_million / kPerPercent;
  }
  if (fault.abort) {
    const bool is_reset = fault.abort->http_status == 0;
    state.abort_status = is_reset ? -1 : fault.abort->http_status;
    state.abort_percent = fault.abort->per_million / kPerPercent;
  }
  return state;
}

std::string host_of(const policy::Route& route) {
  for (const policy::WeightedCluster& part : route.clusters) {
    if (part.cluster != nullptr) return part.cluster->host;
  }
  return {};
}

std::vector<metrics::FaultState> faults_of(const policy::Snapshot& snapshot) {
  std::vector<metrics::FaultState> faults;
  for (const auto& route : snapshot.routes) {
    if (!route->fault) continue;
    metrics::FaultState state = fault_state(*route->fault);
    state.object = route->object;
    state.route = route->name;
    state.host = host_of(*route);
    faults.push_back(std::move(state));
  }
  for (const auto& cluster : snapshot.clusters) {
    for (const policy::HostFault& fault : cluster->faults) {
      metrics::FaultState state = fault_state(fault.fault);
      state.object = fault.object;
      state.route = fault.name;
      state.host = cluster->host;
      state.is_shadow = fault.shadow;
      faults.push_back(std::move(state));
    }
  }
  return faults;
}

using Standings =
    std::unordered_map<SocketAddress, const control::EndpointStanding*, SocketAddressHash>;

metrics::ClusterState cluster_state(const policy::Cluster& cluster, const Standings& standings) {
  metrics::ClusterState state;
  state.name = cluster.name;
  state.legacy_name = cluster.legacy_name;
  state.host = cluster.host;
  state.subset = cluster.subset;
  state.endpoints = state.healthy = cluster.endpoints.size();
  for (const policy::Endpoint& endpoint : cluster.endpoints) {
    const auto found = standings.find(endpoint.address);
    if (found == standings.end()) continue;
    const std::string& now = found->second->state;
    if (now == "ejected") ++state.ejected;
    if (now == "ejected" || now == "unhealthy") --state.healthy;
  }
  state.max_connections = limit_of(cluster.pool.max_connections);
  state.max_pending = limit_of(cluster.pool.max_pending_requests);
  state.max_requests = limit_of(cluster.pool.max_requests);
  state.max_retries = limit_of(cluster.pool.max_retries);
  return state;
}

void add_use(const proxy::NodeState::AdmissionView& group, metrics::ClusterState& state) {
  state.requests += group.counts.running;
  state.waiting += group.counts.waiting;
  state.retries += group.counts.retries;
  state.connections += group.counts.open;
  const auto raise = [](uint64_t& most, uint64_t value) { most = std::max(most, value); };
  raise(state.busiest_requests, group.counts.running);
  raise(state.busiest_waiting, group.counts.waiting);
  raise(state.busiest_retries, group.counts.retries);
  state.refused += group.counts.rejected;
}

double process_cpu_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

// All of them are words of 64 bits, each written by one shard.
proxy::EngineCounters sum_engine_counters(kernel::WorkerLink& link, uint32_t shards) {
  proxy::EngineCounters sum{};
  auto* to = reinterpret_cast<uint64_t*>(&sum);
  for (uint32_t shard = 0; shard < shards; ++shard) {
    auto* from = reinterpret_cast<uint64_t*>(&engine_counters(link, shard));
    for (size_t i = 0; i < sizeof(sum) / sizeof(uint64_t); ++i) {
      to[i] += std::atomic_ref(from[i]).load(std::memory_order_relaxed);
    }
  }
  return sum;
}

PodNames names_of_pods(const policy::Snapshot& snapshot) {
  PodNames names;
  for (const auto& pod : snapshot.pods) names[pod->id] = pod->pod.ns + "/" + pod->pod.name;
  return names;
}

std::string plain_name(const char* name) {
  constexpr std::string_view kEnded = "ended_";
  return std::string(name).substr(kEnded.size());
}

}  // namespace

NodeBoard::NodeBoard(const Options& options, shard::ShardPool& pool, kernel::WorkerLink& link,
                     EjectionWatch& watch)
    : instance_(options.instance),
      shards_(pool.workers()),
      started_unix_ms_(static_cast<int64_t>(wall_clock_ns() / kNsPerMs)),
      statm_(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)),
      pool_(pool),
      link_(link),
      watch_(watch),
      snapshot_(std::make_shared<const policy::Snapshot>()) {}

void NodeBoard::set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot) {
  const std::lock_guard lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void NodeBoard::on_policies(std::vector<control::PolicyNote> notes) {
  std::vector<metrics::PolicyState> policies;
  for (control::PolicyNote& note : notes) {
    policies.push_back({std::move(note.kind), std::move(note.ns), std::move(note.name),
                        std::move(note.status), std::move(note.reason), std::move(note.warnings),
                        std::move(note.hosts)});
  }
  const std::lock_guard lock(mutex_);
  policies_ = std::move(policies);
  policies_revision_ = snapshot_->generation;
}

std::shared_ptr<const policy::Snapshot> NodeBoard::snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

metrics::NodeTotals NodeBoard::totals() {
  const std::shared_ptr<const policy::Snapshot> now = snapshot();
  metrics::NodeTotals totals;
  totals.instance = instance_;
  totals.version = kVersion;
  totals.shards = shards_;
  totals.revision = now->generation;
  totals.started_unix_ms = started_unix_ms_;
  totals.is_overloaded = pool_.is_overloaded();
  if (overload_ != nullptr) totals.overload = overload_->totals();
  totals.open_connections = pool_.open_connections();
  totals.cpu_seconds = process_cpu_seconds();
  totals.resident_bytes = resident_bytes();
  add_counters(totals);
  add_clusters(*now, totals);
  add_pods(*now, totals);
  return totals;
}

void NodeBoard::add_counters(metrics::NodeTotals& totals) const {
  const proxy::EngineCounters sum = sum_engine_counters(link_, shards_);
#define NP_X(name, help) totals.engine.push_back({#name, help, sum.name});
  NP_ENGINE_COUNTERS(NP_X)
#undef NP_X
#define NP_X(name, counter, flag, outcome) \
  totals.ended.push_back({plain_name("ended_" #counter), "", sum.ended_##counter});
  NP_END_REASONS(NP_X)
#undef NP_X
  totals.timer_late_ms.assign(std::begin(sum.timer_late_ms), std::end(sum.timer_late_ms));
  const shard::ShardCounters driver = pool_.counters();
#define NP_ADD_COUNTER(name, text) totals.shard.push_back({#name, text, driver.name});
  NP_SHARD_COUNTERS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
  for (control::NamedCounter& counter : link_.kernel_counters()) {
    totals.kernel.push_back({std::move(counter.name), "", counter.value});
  }
}

void NodeBoard::add_clusters(const policy::Snapshot& snapshot, metrics::NodeTotals& totals) const {
  const auto standing = watch_.all_standing();
  std::unordered_map<uint32_t, Standings> by_service;
  for (const auto& [service, list] : standing) {
    for (const control::EndpointStanding& one : list) by_service[service][one.address] = &one;
  }
  std::unordered_map<uint32_t, size_t> place;
  for (const auto& cluster : snapshot.clusters) {
    place[cluster->id] = totals.clusters.size();
    totals.clusters.push_back(cluster_state(*cluster, by_service[cluster->service_id]));
  }
  for (const proxy::NodeState::AdmissionView& group : pool_.node().admissions()) {
    const auto found = place.find(group.cluster_id);
    if (found != place.end()) add_use(group, totals.clusters[found->second]);
  }
}

void NodeBoard::add_pods(const policy::Snapshot& snapshot, metrics::NodeTotals& totals) const {
  const PodNames names = names_of_pods(snapshot);
  for (const kernel::FlowTotals& flows : link_.pod_totals()) {
    metrics::PodState pod;
    pod.id = flows.id;
    // The kernel's text is cut: two pods may look alike there, and would be one series twice.
    const auto named = names.find(flows.id);
    pod.name = named != names.end() ? named->second : flows.name;
    if (pod.name.empty()) continue;  // it left; its totals wait for its return
    pod.tx_bytes = flows.tx_bytes;
    pod.rx_bytes = flows.rx_bytes;
    pod.flows_open = flows.opened - std::min(flows.opened, flows.closed);
    const shard::PodUse use = pool_.pod_use(flows.id);
    pod.cpu_ns = use.cpu_ns;
    pod.buffer_bytes = use.held_bytes;
    pod.use = {
        {"flows_opened", "Captured connections begun", flows.opened},
        {"flows_refused_by_cap", "New connections reset: too many open", flows.dropped_cap},
        {"flows_dropped_by_rate", "New connections dropped: too many at once", flows.dropped_rate},
        {"work_units", "Work done for it: completions, and 4 KiB pieces", use.units},
        {"turns_waited", "Completions put off for other pods", use.turns_waited},
        {"receives_held", "Receives held back: it had many buffers", use.receives_held}};
    totals.pods.push_back(std::move(pod));
  }
}

PodNames NodeBoard::pod_names() const {
  return names_of_pods(*snapshot());
}

uint64_t NodeBoard::resident_bytes() const {
  std::array<char, 128> text{};
  const ssize_t size = ::pread(statm_.get(), text.data(), text.size() - 1, 0);
  if (size <= 0) return 0;
  const char* end = text.data() + size;
  const char* pages = std::find(static_cast<const char*>(text.data()), end, ' ');
  uint64_t count = 0;
  if (pages == end || std::from_chars(pages + 1, end, count).ec != std::errc()) return 0;
  return count * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<metrics::EndpointState> NodeBoard::endpoints() {
  const std::shared_ptr<const policy::Snapshot> now = snapshot();
  std::unordered_map<uint32_t, const policy::CapturedPort*> services;
  for (const auto& port : now->captured_ports) services[port->service_id] = port.get();
  PodNames pods = names_of_pods(*now);
  std::unordered_map<SocketAddress, const policy::Endpoint*, SocketAddressHash> known;
  for (const auto& cluster : now->clusters) {
    for (const policy::Endpoint& endpoint : cluster->endpoints) known[endpoint.address] = &endpoint;
  }
  std::vector<metrics::EndpointState> list;
  for (auto& [service, standings] : watch_.all_standing()) {
    const auto port = services.find(service);
    for (const control::EndpointStanding& one : standings) {
      metrics::EndpointState state;
      if (port != services.end()) {
        state.service = port->second->host + ":" + std::to_string(port->second->port);
      }
      state.address = one.address;
      const auto endpoint = known.find(one.address);
      if (endpoint != known.end()) {
        state.pod = pods[endpoint->second->pod_id];
        state.version = endpoint->second->workload.version;
      }
      // Also what has never been ejected has to prove itself first: nobody took it out.
      const bool is_new = one.state == "on probation" && one.ejections == 0;
      state.state = is_new ? "in service" : one.state;
      state.reason = one.reason;
      state.since_unix_ns = one.since_unix_ns;
      state.until_unix_ns = one.until_unix_ns;
      state.failures = one.failures;
      list.push_back(std::move(state));
    }
  }
  return list;
}

metrics::PolicyTotals NodeBoard::policies() {
  metrics::PolicyTotals totals;
  std::shared_ptr<const policy::Snapshot> now;
  {
    const std::lock_guard lock(mutex_);
    now = snapshot_;
    totals.policies = policies_;
    totals.revision = policies_revision_;
  }
  totals.faults = faults_of(*now);
  return totals;
}

std::map<uint32_t, std::string> NodeBoard::route_names() {
  const std::shared_ptr<const policy::Snapshot> now = snapshot();
  std::map<uint32_t, std::string> names;
  for (const auto& route : now->routes) {
    names[route->id] = route->object.empty() ? route->name : route->object + ", " + route->name;
  }
  return names;
}

}  // namespace np
