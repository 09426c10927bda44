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
#include "policy/snapshot.h"

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
  std::string state;                              // "in service", "on probation" or "ejected"
  std::string reason;                             // of the latest ejection; "" when there was none
  uint64_t since_unix_ns = 0, until_unix_ns = 0;  // of an ejection in force; else 0
  uint32_t ejections = 0;                         // ever
  uint32_t unanswered = 0;                        // requests under probation
  std::vector<std::string> failures;              // the latest ones, the last one last
};
struct EjectionNote {
  uint32_t service_id = 0;
  std::string text;  // "10.1.0.2:9080 ejected for 30s: ..."
};
class EndpointWatch {
 public:
  virtual ~EndpointWatch() = default;
  virtual std::vector<EndpointStanding> standing(uint32_t service_id) = 0;
  // False: it is not ejected.
  virtual bool uneject(uint32_t service_id, const SocketAddress& address) = 0;
  // Readable when take_notes() has something new.
  virtual int fd() const = 0;
  virtual std::vector<EjectionNote> take_notes() = 0;
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

}  // namespace np::control
