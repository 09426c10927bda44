// SPDX-License-Identifier: Apache-2.0
#include "worker_telemetry.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "admin/overview.h"
#include "base/time.h"
#include "lasting_memory.h"

namespace np {
namespace {

metrics::TelemetryOptions telemetry_options(const Options& options) {
  const TelemetryChoices& choices = options.telemetry;
  metrics::TelemetryOptions telemetry;
  telemetry.rules.count = choices.request_metrics;
  telemetry.rules.log_failures_only = choices.access_log_failures_only;
  telemetry.rules.log_slower_than = choices.access_log_slower_than;
  telemetry.rules.log_per_million = choices.access_log_per_million;
  telemetry.tracing.enabled = choices.tracing;
  telemetry.tracing.per_million = choices.trace_per_million;
  telemetry.tracing.send_b3 = choices.trace_b3;
  telemetry.access_log = choices.access_log;
  telemetry.log_format = choices.access_log_format;
  telemetry.collectors = choices.collectors;
  telemetry.node = options.instance;
  telemetry.seed = to_ns(monotonic_now());
  return telemetry;
}

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kRecordOpen = 1;
constexpr int kReadTries = 3;

// A record is written by its shard meanwhile: it is whole when `seq` is even and did not change.
bool read_record(const FlowRecord& from, FlowRecord& to) {
  auto& seq = const_cast<uint32_t&>(from.seq);
  for (int i = 0; i < kReadTries; ++i) {
    const uint32_t before = std::atomic_ref(seq).load(std::memory_order_acquire);
    std::memcpy(static_cast<void*>(&to), &from, sizeof(to));
    std::atomic_thread_fence(std::memory_order_acquire);
    const bool is_same = std::atomic_ref(seq).load(std::memory_order_relaxed) == before;
    if (before % 2 == 0 && is_same) return true;
  }
  return false;
}

// Who dialled what: a port of a pod may be used towards several destinations at once.
using Ends = std::pair<SocketAddress, SocketAddress>;

SocketAddress address_of(const uint8_t (&ip)[16], uint16_t port) {
  SocketAddress address;
  std::copy(std::begin(ip), std::end(ip), address.ip.bytes.begin());
  address.port = port;
  return address;
}

std::map<Ends, FlowRecord> open_records(std::span<FlowRecord> records) {
  std::map<Ends, FlowRecord> open;
  FlowRecord copy{};
  for (const FlowRecord& record : records) {
    // A glance: most are free, and their memory stays untouched.
    auto& state = const_cast<uint32_t&>(record.state);
    if (std::atomic_ref(state).load(std::memory_order_relaxed) != kRecordOpen) continue;
    if (!read_record(record, copy) || copy.state != kRecordOpen) continue;
    const FlowKeyBytes& key = copy.key;
    FlowRecord& known = open[{address_of(key.source_ip, key.source_port),
                              address_of(key.destination_ip, key.destination_port)}];
    if (copy.start_ns >= known.start_ns) known = copy;
  }
  return open;
}

admin::ConnectionState connection_state(const kernel::FlowView& flow, uint64_t now_ns) {
  admin::ConnectionState state;
  state.client = flow.client;
  state.dialled = flow.dialled;
  state.pod = flow.pod;
  state.service = flow.service;
  state.state = flow.state;
  state.start_ns = flow.start_ns;
  state.age_ms = now_ns > flow.start_ns ? (now_ns - flow.start_ns) / kNsPerMs : 0;
  state.tx_bytes = flow.tx_bytes;
  state.rx_bytes = flow.rx_bytes;
  return state;
}

void add_record(const FlowRecord& record, admin::ConnectionState& state) {
  state.requests = record.started;
  state.failures = record.status_5xx + record.aborted;
  state.retries = record.retries;
  const uint64_t statuses[] = {record.status_2xx, record.status_3xx, record.status_4xx,
                               record.status_5xx};
  std::copy(std::begin(statuses), std::end(statuses), state.statuses);
  state.route_id = record.route_id;
}

}  // namespace

Result<std::unique_ptr<metrics::Telemetry>> make_telemetry(const Options& options,
                                                           kernel::WorkerLink& link) {
  std::vector<metrics::ShardSeries*> memory;
  for (uint32_t shard = 0; shard < std::min(options.workers, link.counter_blocks()); ++shard) {
    memory.push_back(&lasting_memory(link, shard).series);
  }
  return metrics::Telemetry::create(telemetry_options(options), memory);
}

std::string TelemetryReporter::overview() {
  return admin::overview_json(node_, telemetry_, {});
}

std::string TelemetryReporter::traces(const control::TraceFilter& filter) {
  metrics::TraceQuery query;
  query.limit = filter.limit;
  query.min_duration_us =
      static_cast<int64_t>(std::min<uint64_t>(filter.min_duration_us, INT64_MAX));
  query.errors_only = filter.errors_only;
  query.service = filter.service;
  return admin::traces_json(telemetry_.traces(), query);
}

std::string TelemetryReporter::trace(const std::string& id) {
  return admin::trace_json(telemetry_.traces(), id);
}

// What the kernel counts of each connection, and beside it what the shard that serves it does.
std::string TelemetryReporter::connections() {
  const std::map<Ends, FlowRecord> served = open_records(link_.flow_records());
  const PodNames names = node_.pod_names();
  const uint64_t now_ns = to_ns(monotonic_now());
  std::vector<admin::ConnectionState> list;
  std::set<std::tuple<SocketAddress, SocketAddress, uint32_t>> told;  // a walk may show one twice
  // Closed ones wait in the same table until they are swept: whoever stopped after so many entries
  // would miss open ones behind them. Twice its size ends a walk that goes round and round.
  for (const kernel::FlowView& flow : link_.flows(2 * kernel::kFlowsMax)) {
    if (flow.state == "CLOSED") continue;
    if (!told.insert({flow.client, flow.dialled, flow.ifindex}).second) continue;
    admin::ConnectionState state = connection_state(flow, now_ns);
    const auto named = names.find(flow.pod_id);
    if (named != names.end()) state.pod = named->second;
    const auto record = served.find({flow.client, flow.dialled});
    if (record != served.end()) add_record(record->second, state);
    list.push_back(std::move(state));
  }
  return admin::connections_json(list, node_);
}

}  // namespace np
