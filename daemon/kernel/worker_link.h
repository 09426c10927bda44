// SPDX-License-Identifier: Apache-2.0
// WorkerLink: what the worker was handed by its supervisor, and the closed list of things it may
// ask for. Made once by main in the worker role, before threads start; afterwards used on the
// control thread only, except live(), flow_records() and counter_block(), which are plain memory
// for whichever thread owns the part. Every call blocks for one message and its answer (a local
// socket; the supervisor answers from its poll loop).
//
//   NP_TRY_ASSIGN(auto link, kernel::WorkerLink::from_fd(Fd(n)));
//   for (auto& l : link->capture_listeners()) ...      // every shard accepts from every one
//   start shards, control; then link->ready() and link->beat() at least every 250 ms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/flow_record.h"
#include "base/life_page.h"
#include "base/limit_slot.h"
#include "base/result.h"
#include "control/acceleration.h"
#include "control/guard.h"
#include "control/seams.h"

namespace np::kernel {

// A listening socket in the proxy namespace. Borrowed: the fd lives as long as the WorkerLink.
struct CaptureListener {
  int fd = -1;
  uint32_t slot = 0;  // of the pods that it serves
  bool is_v6 = false;
};
// A Gateway listener in the host namespace. Borrowed until set() drops its address.
struct GatewaySocket {
  int fd = -1;
  SocketAddress bind;
};

// Why the ejection state of an endpoint is kept in the kernel: it must stand after a killed worker.
struct EjectionRecord {
  SocketAddress endpoint;
  uint32_t service_id = 0;
  uint64_t until_unix_ns = 0;
  bool ejected = false;
  uint32_t count = 0;
  uint32_t unanswered = 0;
  uint32_t failures = 0;
};

// What np_events says of an endpoint.
struct EndpointChange {
  enum class Kind : uint8_t { kEjected, kReturned, kUnhealthy, kHealthy };
  Kind kind = Kind::kEjected;
  SocketAddress endpoint;
  uint32_t service_id = 0;
  uint32_t count = 0;  // ejections so far; kEjected only
};

inline constexpr size_t kFlowsMax = 65536;  // entries of np_flows
// One line of `nodectl top connections`: an entry of np_flows.
struct FlowView {
  SocketAddress client;
  SocketAddress dialled;
  std::string pod, service;
  std::string state;  // "SYN", "EST", "FIN", "CLOSED"
  uint32_t pod_id = 0, service_id = 0, ifindex = 0;
  uint64_t start_ns = 0, last_ns = 0;                                   // CLOCK_MONOTONIC
  uint64_t tx_packets = 0, tx_bytes = 0, rx_packets = 0, rx_bytes = 0;  // tx: from the pod
};
// Totals that are never evicted; of a pod (id = pod_id) or a service (id = service_id).
struct FlowTotals {
  uint32_t id = 0;
  std::string name;
  uint64_t opened = 0, closed = 0, failopen = 0, failclosed = 0;
  uint64_t dropped_rate = 0, dropped_cap = 0;  // pods only
  uint64_t tx_packets = 0, tx_bytes = 0, rx_packets = 0, rx_bytes = 0;
};

enum class LiveFlag : uint32_t {
  kOverload = 1,    // shed load: new connections follow their fail mode
  kDrain = 2,       // leaving
  kKillswitch = 4,  // new connections go direct, whatever their policy says
};

class WorkerLink final : public control::PodAttacher,
                         public control::ListenerHost,
                         public control::FlowResetter,
                         public control::NodeInspector {
 public:
  // Reads what the supervisor hands over. `link` is the fd named by "--worker-link=N".
  static Result<std::unique_ptr<WorkerLink>> from_fd(Fd link);
  ~WorkerLink() override;

  // ---- what was handed over ----
  bool has_capture() const;
  uint64_t epoch() const;             // how many workers were started; 1: the first
  bool has_lost_predecessor() const;  // the previous worker died: its open requests are lost
  const std::vector<CaptureListener>& capture_listeners() const;
  std::vector<GatewaySocket> gateway_listeners() const;  // kept from the previous worker
  int proxy_netns_fd() const;  // -1 without capture; for the thread of `source: pod` sockets
  // Once. Not open: the supervisor has none.
  Fd take_control_socket();
  const std::vector<std::string>& probe_report() const;
  int fd() const;  // readable outside a call: the supervisor is gone, treat it as SIGTERM
  bool is_supervisor_gone() const;

  // ---- plain shared memory ----
  void beat(uint64_t monotonic_ns);  // any one thread; a heartbeat older than 1 s means "hung"
  // np_live.heartbeat_ns itself, for a writer that stores it with every loop; null without capture.
  uint64_t* heartbeat_word();
  // What the supervisor's watchdog looks at; null: it has none.
  LifePage* life_page();
  void set_live_flag(LiveFlag flag, bool on);
  // np_limit, all zero: what the worker before counted there means nothing to this one. Empty
  // without capture.
  std::span<LimitSlot> limit_slots();
  // np_live.flags itself, for the shards' overload bit; null without capture. Atomic access only.
  uint32_t* live_flags_word();
  std::span<FlowRecord> flow_records();  // np_conn: outlives the worker
  // Counters of shard `index`, 8 KiB, zero at the very first start: outlives the worker.
  std::span<std::byte> counter_block(uint32_t index);
  uint32_t counter_blocks() const;
  // Of shard `index`, SupervisorOptions::series_bytes; zero at the very first start, outlives the
  // worker. Empty: the supervisor keeps none.
  std::span<std::byte> series_block(uint32_t index);

  // ---- requests to the supervisor ----
  // The worker accepts from now on; before this, a death counts as a failed start (back-off).
  Result<void> ready();
  // `nodectl drain`: as if the supervisor got SIGTERM. It empties the listener slots, then sends
  // this process SIGTERM.
  Result<void> drain();
  Result<control::PodState> attach(const control::PodAttachment& pod) override;
  Result<void> detach(uint32_t pod_id) override;
  std::vector<control::PodState> list() override;
  Result<std::vector<control::Check>> inspect() override;
  // Calls the observer with all sockets that accept now, before it returns. Shards must have let
  // go of a socket when the observer returns: it is closed then.
  Result<void> set(const std::vector<SocketAddress>& binds) override;
  using ListenerObserver = std::function<void(const std::vector<GatewaySocket>&)>;
  void set_listener_observer(ListenerObserver observer);
  // Ports that `source: pod` sockets bind in the proxy namespace; {0, 0}: none. Off by default,
  // because a pod's own server on such a port could not be reached.
  Result<void> set_upstream_band(uint16_t low, uint16_t high);
  // `nodectl detach --all`: stops capturing, waits for captured flows up to `patience`, then
  // removes links, filters and pins. The proxy namespace goes when the daemon stops.
  Result<void> detach_all() override;

  // ---- kernel state, read and written directly ----
  control::CaptureTable& capture_table();
  control::CaptureProbe* capture_probe();                      // null without capture
  control::GuardHost* guard();                                 // null without capture
  control::AccelerationHost* acceleration();                   // null without capture
  std::vector<control::NamedCounter> kernel_counters() const;  // np_stats; empty without capture
  std::vector<FlowView> flows(size_t limit) const;
  std::vector<FlowTotals> pod_totals() const;
  std::vector<FlowTotals> service_totals() const;
  // For this long, segments of covered connections that began before their policy draw RST (R5).
  void reset_uncaptured_flows(Duration window) override;
  Result<void> store_ejection(const EjectionRecord& record);
  void erase_ejection(const SocketAddress& endpoint, uint32_t service_id);
  std::vector<EjectionRecord> ejections() const;
  // Puts a change into np_events, when somebody reads that (NP_LIVE_EVENTS); one request then,
  // nothing otherwise.
  Result<void> note_endpoint(const EndpointChange& change);

 private:
  class Impl;
  explicit WorkerLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace np::kernel
