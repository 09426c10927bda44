// SPDX-License-Identifier: Apache-2.0
// What the control thread needs from the rest of the daemon, as interfaces that main wires: control
// itself includes neither shard nor kernel. All are called on the control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "base/time.h"
#include "control/check.h"
#include "policy/snapshot.h"

namespace np::policy {
struct CounterLimit;
}

namespace np::control {

// Shards. publish() returns when every shard runs on `snapshot`.
class SnapshotSink {
 public:
  virtual ~SnapshotSink() = default;
  virtual Result<void> publish(std::shared_ptr<const policy::Snapshot> snapshot) = 0;
};

// The kernel's capture table (np_svc, np_cidr). set() makes the maps say exactly this: new entries
// are added before the snapshot is published, entries that are gone are turned to DRAIN after it
// (R6).
class CaptureTable {
 public:
  virtual ~CaptureTable() = default;
  virtual Result<void> add(const policy::Snapshot& snapshot) = 0;
  virtual Result<void> retire(const policy::Snapshot& snapshot) = 0;
};

// What the kernel would do with a new connection of a pod, replayed from its maps.
struct CaptureVerdict {
  enum class Outcome : uint8_t { kCaptured, kDirect, kRefused, kDropped };
  Outcome outcome = Outcome::kDirect;
  std::string counter;             // of np_stats, that such a packet counts
  std::string reason;              // for people
  std::vector<std::string> steps;  // what was read, in the order in which the program reads it
};
class CaptureProbe {
 public:
  virtual ~CaptureProbe() = default;
  // `ifindex`: the host end of the pod's veth.
  virtual CaptureVerdict verdict(const IpAddress& source, uint32_t ifindex,
                                 const SocketAddress& dialled) = 0;
};

struct PodAttachment {
  uint32_t pod_id = 0;
  std::string name;  // "ns/name", text for np_flows.pod
  std::vector<IpAddress> ips;
  std::string ifname;  // host end of the pod's veth, in the host netns
};
struct PodState {
  uint32_t pod_id = 0;
  std::string ifname;
  uint32_t ifindex = 0;  // 0: the interface is gone
  std::string hook;      // "tcx", "clsact" or "" when not attached
  uint64_t captured_since_unix_ns = 0;
  std::string problem;  // why it is not captured; "" when it is
};

// The supervisor, by messages.
class PodAttacher {
 public:
  virtual ~PodAttacher() = default;
  virtual Result<PodState> attach(const PodAttachment& pod) = 0;
  virtual Result<void> detach(uint32_t pod_id) = 0;
  virtual std::vector<PodState> list() = 0;
  // Ends capture on this node: every pod, and what else is pinned for it. By default each pod of
  // list() is detached.
  virtual Result<void> detach_all() {
    for (const PodState& pod : list()) NP_TRY(detach(pod.pod_id));
    return {};
  }
};

// The daemon's own life, for `nodectl drain`: ends it as SIGTERM does (design.md 8.14). Returns at
// once; the draining goes on after the answer.
class Lifecycle {
 public:
  virtual ~Lifecycle() = default;
  virtual Result<void> drain() = 0;
};

// What only a privileged look at the node can tell, for `nodectl doctor`: hooks and who else sits
// on them, pins, signs of life, settings. By messages to the supervisor.
class NodeInspector {
 public:
  virtual ~NodeInspector() = default;
  virtual Result<std::vector<Check>> inspect() = 0;
};

// Connections that the kernel lets pass because they began before their policy (R5).
class FlowResetter {
 public:
  virtual ~FlowResetter() = default;
  // For this long, their segments draw RST, so that the next connection is captured.
  virtual void reset_uncaptured_flows(Duration window) = 0;
};

// Gateway listeners in the host netns; the supervisor opens them and keeps them for the next
// worker.
class ListenerHost {
 public:
  virtual ~ListenerHost() = default;
  // Makes exactly these listeners accept; addresses that cannot be bound are reported.
  virtual Result<void> set(const std::vector<SocketAddress>& binds) = 0;
};

// How one endpoint of a service stands with the shards: ejected, and why.
struct EndpointStanding {
  SocketAddress address;
  std::string state;   // "in service", "on probation", "unhealthy" or "ejected"
  std::string reason;  // why it is out, or would be if no mode were shadow; "" when it is not
  uint64_t since_unix_ns = 0, until_unix_ns = 0;  // of an ejection in force; else 0
  uint32_t ejections = 0;                         // ever
  uint32_t unanswered = 0;                        // requests under probation
  std::vector<std::string> failures;              // the latest ones, the last one last
};
struct EndpointNote {
  uint32_t service_id = 0;  // 0: the text says what it is about
  std::string text;         // "10.1.0.2:9080 ejected for 30s: ..."
};
class EndpointWatch {
 public:
  virtual ~EndpointWatch() = default;
  virtual std::vector<EndpointStanding> standing(uint32_t service_id) = 0;
  // False: it is not ejected.
  virtual bool uneject(uint32_t service_id, const SocketAddress& address) = 0;
  // Readable when take_notes() has something new, or next_deadline() may have come nearer.
  virtual int fd() const = 0;
  // When take_notes() has something that is held back for now; kNever: nothing is.
  virtual Instant next_deadline() = 0;
  virtual std::vector<EndpointNote> take_notes() = 0;
};

// How full limits are now, over all shards.
struct LimitFill {
  uint32_t running = 0, waiting = 0, retries = 0, connections = 0;
  uint64_t rejected = 0;  // since the worker began
};
class LimitWatch {
 public:
  virtual ~LimitWatch() = default;
  // `caller`: a workload, 0 for the node. All zero where nobody has asked yet.
  virtual LimitFill fill(uint32_t cluster_id, uint32_t caller) = 0;
  // Of one counter of a quota: what is spent in the window that runs now.
  virtual int64_t spent(uint32_t quota_id, const policy::CounterLimit& limit,
                        const std::string& tuple) = 0;
};

// What `nodectl status`, `endpoints` and `top` show of the data path.
struct NamedCounter {
  std::string name;
  uint64_t value = 0;
};
class CounterSource {
 public:
  virtual ~CounterSource() = default;
  virtual std::vector<NamedCounter> counters() = 0;  // summed over shards, and np_stats
  // What each captured pod uses of the node, and where it was kept from using more; by pod id.
  virtual std::map<uint32_t, std::vector<NamedCounter>> pod_use() = 0;
  virtual std::vector<std::string> probe_report() = 0;  // kernel features: found, used instead
};

// For people who look at policy without asking the control thread: told after each change.
struct PolicyNote {
  std::string kind, ns, name;
  std::string status, reason;  // as `nodectl get` says them
  std::vector<std::string> warnings, hosts;
};
class PolicyWatcher {
 public:
  virtual ~PolicyWatcher() = default;
  virtual void on_policies(std::vector<PolicyNote> notes) = 0;
};

// What the daemon tells about requests, as JSON text: what the admin pages get, too.
struct TraceFilter {
  uint32_t limit = 20;
  uint64_t min_duration_us = 0;
  bool errors_only = false;
  std::string service;  // that takes part; empty: any
};
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual std::string overview() = 0;
  virtual std::string traces(const TraceFilter& filter) = 0;  // newest first
  virtual std::string trace(const std::string& id) = 0;       // empty: not kept (any more)
  // Captured connections that are open, all of them, in no order.
  virtual std::string connections() = 0;
};

}  // namespace np::control
