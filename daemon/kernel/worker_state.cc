// SPDX-License-Identifier: Apache-2.0
// WorkerLink's shared memory and maps: no messages here.
#include <cstring>

#include "base/time.h"
#include "kernel/worker_link.h"
#include "kernel/worker_link_impl.h"

namespace np::kernel {

// The shard writes FlowRecord, bpftool reads struct np_conn: one layout.
static_assert(sizeof(FlowRecord) == sizeof(np_conn));
static_assert(offsetof(FlowRecord, key) == offsetof(np_conn, key));
static_assert(offsetof(FlowRecord, started) == offsetof(np_conn, started));
static_assert(offsetof(FlowRecord, status_2xx) == offsetof(np_conn, status_2xx));
static_assert(offsetof(FlowRecord, bytes_down) == offsetof(np_conn, bytes_down));
static_assert(offsetof(FlowRecord, last_ns) == offsetof(np_conn, last_ns));
static_assert(sizeof(LimitSlot) == sizeof(np_limit));
static_assert(offsetof(LimitSlot, pending) == offsetof(np_limit, pending));
static_assert(sizeof(FlowKeyBytes) == sizeof(np_flow_key));
static_assert(offsetof(FlowKeyBytes, source_port) == offsetof(np_flow_key, sport));
static_assert(static_cast<uint32_t>(LiveFlag::kOverload) == NP_LIVE_OVERLOAD);
static_assert(static_cast<uint32_t>(LiveFlag::kDrain) == NP_LIVE_DRAIN);
static_assert(static_cast<uint32_t>(LiveFlag::kKillswitch) == NP_LIVE_KILLSWITCH);

namespace {

np_eject_key eject_key(const SocketAddress& endpoint, uint32_t service_id) {
  np_eject_key key{};
  std::memcpy(key.ip, endpoint.ip.bytes.data(), sizeof(key.ip));
  key.port = endpoint.port;
  key.svc_id = service_id;
  return key;
}

SocketAddress address_of(const uint8_t (&ip)[16], uint16_t port) {
  SocketAddress address;
  std::memcpy(address.ip.bytes.data(), ip, sizeof(ip));
  address.port = port;
  return address;
}

const char* state_name(uint8_t state) {
  constexpr const char* kNames[] = {"?", "SYN", "EST", "FIN", "CLOSED"};
  return kNames[state <= NP_FLOW_CLOSED ? state : 0];
}

// Without capture nothing has to be added: there is no kernel table.
class NoCaptureTable final : public control::CaptureTable {
 public:
  Result<void> add(const policy::Snapshot&) override { return ok(); }
  Result<void> retire(const policy::Snapshot&) override { return ok(); }
};

}  // namespace

void WorkerLink::beat(uint64_t monotonic_ns) {
  auto* page = impl_->live.as<np_live>();
  if (page != nullptr) __atomic_store_n(&page->heartbeat_ns, monotonic_ns, __ATOMIC_RELAXED);
}

uint64_t* WorkerLink::heartbeat_word() {
  auto* page = impl_->live.as<np_live>();
  return page != nullptr ? reinterpret_cast<uint64_t*>(&page->heartbeat_ns) : nullptr;
}

uint32_t* WorkerLink::live_flags_word() {
  auto* page = impl_->live.as<np_live>();
  return page != nullptr ? &page->flags : nullptr;
}

LifePage* WorkerLink::life_page() {
  return impl_->life.as<LifePage>();
}

void WorkerLink::set_live_flag(LiveFlag flag, bool on) {
  auto* page = impl_->live.as<np_live>();
  if (page == nullptr) return;
  const auto bit = static_cast<uint32_t>(flag);
  if (on) {
    __atomic_fetch_or(&page->flags, bit, __ATOMIC_RELAXED);
  } else {
    __atomic_fetch_and(&page->flags, ~bit, __ATOMIC_RELAXED);
  }
}

std::span<LimitSlot> WorkerLink::limit_slots() {
  auto* slots = impl_->limits.as<LimitSlot>();
  if (slots == nullptr) return {};
  std::memset(slots, 0, sizeof(LimitSlot) * NP_LIMIT_MAX);
  return {slots, NP_LIMIT_MAX};
}

std::span<FlowRecord> WorkerLink::flow_records() {
  return {impl_->flow_records.as<FlowRecord>(), impl_->hello.flow_records};
}

std::span<std::byte> WorkerLink::counter_block(uint32_t index) {
  NP_CHECK(index < impl_->hello.counter_blocks);
  std::byte* blocks = impl_->counters.as<std::byte>();
  return {blocks + size_t{index} * NP_COUNTER_BLOCK_BYTES, NP_COUNTER_BLOCK_BYTES};
}

uint32_t WorkerLink::counter_blocks() const {
  return impl_->hello.counter_blocks;
}

std::span<std::byte> WorkerLink::series_block(uint32_t index) {
  if (!impl_->series_fd.is_open()) return {};
  NP_CHECK(index < impl_->hello.counter_blocks);
  const size_t bytes = impl_->hello.series_bytes;
  return {impl_->series.as<std::byte>() + index * bytes, bytes};
}

control::CaptureTable& WorkerLink::capture_table() {
  static NoCaptureTable nothing;  // has no state
  if (impl_->table) return *impl_->table;
  return nothing;
}

control::CaptureProbe* WorkerLink::capture_probe() {
  return impl_->replay.get();
}

control::AccelerationHost* WorkerLink::acceleration() {
  return impl_->acceleration.get();
}
control::GuardHost* WorkerLink::guard() {
  return impl_->guard.get();
}

std::vector<control::NamedCounter> WorkerLink::kernel_counters() const {
  std::vector<control::NamedCounter> counters;
  if (!impl_->has_capture) return counters;
  const Result<np_stats> stats = sum_stats(impl_->map(Map::kStats));
  if (!stats) return counters;
#define NP_ADD_COUNTER(field, help) counters.push_back({#field, stats->field});
  NP_STATS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
  for (control::NamedCounter& counter : impl_->guard->counters()) {
    counters.push_back({"guard_" + counter.name, counter.value});
  }
  return counters;
}

static_assert(kFlowsMax == NP_FLOWS_MAX);

std::vector<FlowView> WorkerLink::flows(size_t limit) const {
  std::vector<FlowView> views;
  if (!impl_->has_capture || limit == 0) return views;
  const MapView<np_flow_key, np_flow> flows(impl_->map(Map::kFlows));
  flows.for_each([&views, limit](const np_flow_key& key, const np_flow& flow) {
    FlowView view;
    view.client = address_of(key.saddr, key.sport);
    view.dialled = address_of(key.daddr, key.dport);
    view.pod = link::get_text(flow.pod);
    view.service = link::get_text(flow.svc);
    view.state = state_name(flow.state);
    view.pod_id = flow.pod_id;
    view.service_id = flow.svc_id;
    view.ifindex = key.ifindex;
    view.start_ns = flow.start_ns;
    view.last_ns = flow.last_ns;
    view.tx_packets = flow.tx_pkts;
    view.tx_bytes = flow.tx_bytes;
    view.rx_packets = flow.rx_pkts;
    view.rx_bytes = flow.rx_bytes;
    views.push_back(std::move(view));
    return views.size() < limit;
  });
  return views;
}

std::vector<FlowTotals> WorkerLink::pod_totals() const {
  std::vector<FlowTotals> all;
  if (!impl_->has_capture) return all;
  const MapView<uint32_t, np_podst> totals(impl_->map(Map::kPodStats));
  totals.for_each([&all](uint32_t id, const np_podst& value) {
    all.push_back({id, "", value.opened, value.closed, value.failopen, value.failclosed,
                   value.syn_drop_rate, value.syn_drop_cap, value.tx_pkts, value.tx_bytes,
                   value.rx_pkts, value.rx_bytes});
    return true;
  });
  const MapView<np_pod_key, np_pod> pods(impl_->map(Map::kPods));
  pods.for_each([&all](const np_pod_key&, const np_pod& pod) {
    for (FlowTotals& totals_of_pod : all) {
      if (totals_of_pod.id == pod.pod_id) totals_of_pod.name = link::get_text(pod.name);
    }
    return true;
  });
  return all;
}

std::vector<FlowTotals> WorkerLink::service_totals() const {
  std::vector<FlowTotals> all;
  if (!impl_->has_capture) return all;
  const MapView<uint32_t, np_svcst> totals(impl_->map(Map::kServiceStats));
  totals.for_each([&all](uint32_t id, const np_svcst& value) {
    all.push_back({id, link::get_text(value.name), value.opened, value.closed, value.failopen,
                   value.failclosed, 0, 0, value.tx_pkts, value.tx_bytes, value.rx_pkts,
                   value.rx_bytes});
    return true;
  });
  return all;
}

void WorkerLink::reset_uncaptured_flows(Duration window) {
  auto* page = impl_->live.as<np_live>();
  if (page == nullptr) return;
  __atomic_store_n(&page->reset_until_ns, to_ns(monotonic_now() + window), __ATOMIC_RELAXED);
}

Result<void> WorkerLink::store_ejection(const EjectionRecord& record) {
  if (!impl_->has_capture) return ok();
  np_eject value{};
  value.until_ns = record.until_unix_ns;
  value.state = record.ejected ? 1 : 0;
  value.count = record.count;
  value.unanswered = record.unanswered;
  value.failures = record.failures;
  const MapView<np_eject_key, np_eject> ejections_map(impl_->map(Map::kEject));
  const int failed = ejections_map.put(eject_key(record.endpoint, record.service_id), value);
  if (failed != 0) return system_error(failed, "record an ejection in np_eject");
  return ok();
}

void WorkerLink::erase_ejection(const SocketAddress& endpoint, uint32_t service_id) {
  if (!impl_->has_capture) return;
  const MapView<np_eject_key, np_eject> ejections_map(impl_->map(Map::kEject));
  ejections_map.erase(eject_key(endpoint, service_id));
}

std::vector<EjectionRecord> WorkerLink::ejections() const {
  std::vector<EjectionRecord> all;
  if (!impl_->has_capture) return all;
  const MapView<np_eject_key, np_eject> ejections_map(impl_->map(Map::kEject));
  ejections_map.for_each([&all](const np_eject_key& key, const np_eject& value) {
    all.push_back({address_of(key.ip, key.port), key.svc_id, value.until_ns, value.state == 1,
                   value.count, value.unanswered, value.failures});
    return true;
  });
  return all;
}

}  // namespace np::kernel
