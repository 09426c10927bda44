// SPDX-License-Identifier: Apache-2.0
#include "worker_seams.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <unordered_set>

#include "base/log.h"
#include "lasting_memory.h"
#include "proxy/counters.h"

namespace np {
namespace {

// Ports of `source: pod` sockets (R25): above the range that Linux gives to clients by default
// (32768 to 60999), so that no pod's own connection meets one.
constexpr uint16_t kUpstreamBandLow = 61000;
constexpr uint16_t kUpstreamBandHigh = 65000;

uint64_t random_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) seed = to_ns(monotonic_now());
  return seed;
}

Result<Fd> duplicate(int fd, const std::string& what) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.is_open()) return system_error(errno, "take over " + what);
  return copy;
}

// Counted from zero, but for what is held: that is given back by whoever holds it.
void wipe_place(kernel::WorkerLink& link, uint32_t workers, uint32_t place) {
  for (uint32_t i = 0; i < workers; ++i) {
    ShardLasting& memory = lasting_memory(link, i);
    PodCounters& asked = memory.series.pods[place];
    static_assert(sizeof(PodCounters) % sizeof(uint64_t) == 0);
    auto* words = reinterpret_cast<uint64_t*>(&asked);
    for (size_t word = 0; word < sizeof(asked) / sizeof(uint64_t); ++word) {
      std::atomic_ref(words[word]).store(0, std::memory_order_relaxed);
    }
    shard::PodUse& use = memory.pod_use[place];
#define NP_WIPE(name, text) \
  if (&use.name != &use.held_bytes) std::atomic_ref(use.name).store(0, std::memory_order_relaxed);
    NP_POD_USE(NP_WIPE)
#undef NP_WIPE
  }
}

void give_places(const policy::Snapshot& snapshot, kernel::WorkerLink& link, uint32_t workers) {
  std::unordered_set<uint32_t> pods;
  for (const auto& pod : snapshot.pods) pods.insert(pod->id);
  PodPlaces(lasting_memory(link, 0).series.pod_owners).keep(pods, [&](uint32_t place) {
    wipe_place(link, workers, place);
  });
}

}  // namespace

uint32_t receive_buffers_max(uint64_t limit_bytes, uint32_t workers,
                             const shard::ShardLimits& limits) {
  constexpr uint64_t kShareOfLimit = 8;
  const uint64_t allowed = limit_bytes / kShareOfLimit / workers / limits.receive_buffer_bytes;
  uint32_t most = limits.receive_buffers_max;
  while (limit_bytes != 0 && most > allowed && most > limits.receive_buffers_initial) most /= 2;
  return most;
}

Result<std::unique_ptr<shard::ShardPool>> make_shard_pool(const Options& options,
                                                          kernel::WorkerLink& link,
                                                          KernelEjections& ejections,
                                                          EjectionWatch& watch,
                                                          const metrics::Telemetry& telemetry,
                                                          const overload::MemoryWatch& memory) {
  shard::ShardPoolOptions pool;
  pool.workers = std::min(options.workers, link.counter_blocks());
  for (const kernel::CaptureListener& listener : link.capture_listeners()) {
    NP_TRY_ASSIGN(Fd copy, duplicate(listener.fd, "a capture listener"));
    pool.captured_listeners.push_back(std::move(copy));
  }
  pool.flow_records = link.flow_records();
  for (uint32_t i = 0; i < pool.workers; ++i) {
    pool.engine_counters.push_back(&engine_counters(link, i));
    pool.shard_counters.push_back(&shard_counters(link, i));
    std::span<shard::PodUse> use = lasting_memory(link, i).pod_use;
    for (shard::PodUse& pod : use) pod.held_bytes = 0;  // of the worker before
    pool.pod_use.push_back(use);
  }
  pool.pod_owners = lasting_memory(link, 0).series.pod_owners;
  pool.observers = telemetry.observers();
  pool.tracing = telemetry.tracing();
  pool.limit_slots = link.limit_slots();
  if (link.has_capture()) pool.ejection_store = &ejections;
  pool.on_ejection = [&watch] { watch.notify(); };
  pool.memory = &memory.signal();
  pool.limits.receive_buffers_max =
      receive_buffers_max(memory.state().limit_bytes, pool.workers, pool.limits);
  pool.overload_lag = options.overload.lag;
  pool.life = link.life_page();
  pool.heartbeat_ns = link.heartbeat_word();
  pool.live_flags = link.live_flags_word();
  pool.proxy_netns_fd = link.proxy_netns_fd();
  pool.pod_port_lo = kUpstreamBandLow;
  pool.pod_port_hi = kUpstreamBandHigh;
  pool.seed = random_seed();
  return shard::ShardPool::create(std::move(pool));
}

Result<void> BandedSink::publish(std::shared_ptr<const policy::Snapshot> snapshot) {
  const auto wants_band = [](const auto& cluster) { return cluster->source_pod; };
  if (!has_band_ && link_.has_capture() &&
      std::any_of(snapshot->clusters.begin(), snapshot->clusters.end(), wants_band)) {
    NP_TRY(link_.set_upstream_band(kUpstreamBandLow, kUpstreamBandHigh));
    has_band_ = true;
  }
  give_places(*snapshot, link_, pool_.workers());
  NP_TRY(pool_.publish(snapshot));
  board_.set_snapshot(std::move(snapshot));
  return ok();
}

std::string DataPathHealth::liveness_problem() {
  if (!pool_.is_live()) return "a shard makes no progress, or file descriptors are used up";
  return {};
}

std::string DataPathHealth::readiness_problem() {
  if (!started_.load(std::memory_order_acquire)) return "starting: policy is not in force yet";
  if (pool_.is_overloaded()) return "overloaded: new connections follow their fail mode";
  return liveness_problem();
}

std::vector<control::NamedCounter> CounterBoard::counters() {
  std::vector<control::NamedCounter> sums;
  const auto add = [&sums](size_t index, std::string name, uint64_t value) {
    if (index == sums.size()) sums.push_back({std::move(name), 0});
    sums[index].value += value;
  };
  for (uint32_t shard = 0; shard < pool_.workers(); ++shard) {
    size_t index = 0;
    const proxy::EngineCounters& engine = engine_counters(link_, shard);
    proxy::for_each_counter(engine,
                            [&](const char* name, uint64_t value) { add(index++, name, value); });
    for (size_t bucket = 0; bucket <= proxy::kTimerLateBuckets; ++bucket) {
      const bool last = bucket == proxy::kTimerLateBuckets;
      add(index++, "timer_lateness_ms_" + std::to_string(bucket) + (last ? "_up" : ""),
          engine.timer_late_ms[bucket]);
    }
  }
  const shard::ShardCounters driver = pool_.counters();
#define NP_ADD_COUNTER(name, text) sums.push_back({"shard_" #name, driver.name});
  NP_SHARD_COUNTERS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
  sums.push_back({"open_connections", pool_.open_connections()});
  sums.push_back({"outlier_detection_ejections_active", watch_.ejected_now()});
  sums.push_back({"outlier_detection_events_lost", watch_.lost_events()});
  sums.push_back({"outlier_detection_writes_failed", store_.failed_writes()});
  const ToldCounters told = telemetry_.counts();
#define NP_ADD_COUNTER(name, help) sums.push_back({#name, told.name});
  NP_TOLD_COUNTERS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
  for (control::NamedCounter& counter : link_.kernel_counters()) sums.push_back(std::move(counter));
  return sums;
}

std::map<uint32_t, std::vector<control::NamedCounter>> CounterBoard::pod_use() {
  std::map<uint32_t, std::vector<control::NamedCounter>> all;
  for (const kernel::FlowTotals& totals : link_.pod_totals()) {
    const shard::PodUse use = pool_.pod_use(totals.id);
    std::vector<control::NamedCounter>& counters = all[totals.id];
    counters = {{"flows_open", totals.opened - totals.closed},
                {"flows_opened", totals.opened},
                {"flows_refused_by_cap", totals.dropped_cap},
                {"flows_dropped_by_rate", totals.dropped_rate}};
#define NP_ADD_USE(name, text) counters.push_back({#name, use.name});
    NP_POD_USE(NP_ADD_USE)
#undef NP_ADD_USE
  }
  return all;
}

std::vector<std::string> CounterBoard::probe_report() {
  std::vector<std::string> report = link_.probe_report();
  for (std::string& line : pool_.probe_report()) report.push_back(std::move(line));
  return report;
}

Result<void> SupervisorLifecycle::drain() {
  if (::kill(::getppid(), SIGTERM) == 0) return ok();
  // The sandbox may forbid signalling a process of another uid: our own SIGTERM has the same
  // effect, because the supervisor ends with a worker that ended in order.
  if (::kill(::getpid(), SIGTERM) != 0) return system_error(errno, "signal the supervisor");
  return ok();
}

GatewayListeners::GatewayListeners(kernel::WorkerLink& link, shard::ShardPool& pool)
    : link_(link), pool_(pool) {
  link_.set_listener_observer(
      [this](const std::vector<kernel::GatewaySocket>& sockets) { follow(sockets); });
}

GatewayListeners::~GatewayListeners() {
  link_.set_listener_observer(nullptr);
}

Result<void> GatewayListeners::set(const std::vector<SocketAddress>& binds) {
  problem_.clear();
  NP_TRY(link_.set(binds));
  if (!problem_.empty())
    return Error{ErrorCode::kSystem, "accept from gateway listeners", problem_, ""};
  return ok();
}

void GatewayListeners::follow(const std::vector<kernel::GatewaySocket>& sockets) {
  const auto is_wanted = [&sockets](const SocketAddress& bind) {
    return std::any_of(
        sockets.begin(), sockets.end(),
        [&bind](const kernel::GatewaySocket& socket) { return socket.bind == bind; });
  };
  const std::vector<SocketAddress> open = pool_.gateway_listeners();
  for (const SocketAddress& bind : open) {
    if (is_wanted(bind)) continue;
    if (const auto removed = pool_.remove_gateway_listener(bind); !removed) {
      problem_ = removed.error().to_string();
    }
  }
  for (const kernel::GatewaySocket& socket : sockets) {
    if (std::find(open.begin(), open.end(), socket.bind) != open.end()) continue;
    auto copy = duplicate(socket.fd, socket.bind.to_string());
    auto added = copy ? pool_.add_gateway_listener(socket.bind, std::move(copy).value())
                      : Result<void>(std::move(copy).error());
    if (!added) problem_ = added.error().to_string();
  }
}

}  // namespace np
