// SPDX-License-Identifier: Apache-2.0
// DataPath: puts a snapshot into effect on listeners, kernel and shards, in the order that loses no
// connection, and puts the one before it back when a step fails. Owns the snapshot in effect;
// borrows the seams. Control thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/acceleration.h"
#include "control/guard.h"
#include "control/overload.h"
#include "control/seams.h"
#include "policy/snapshot.h"

namespace np::control {

// What main wires. `capture` to `acceleration` are null with --no-capture; those behind `listeners`
// may be null. All outlive the control thread.
struct Seams {
  SnapshotSink* sink = nullptr;
  ListenerHost* listeners = nullptr;
  CaptureTable* capture = nullptr;
  CaptureProbe* probe = nullptr;
  PodAttacher* attacher = nullptr;
  FlowResetter* resetter = nullptr;
  GuardHost* guard = nullptr;
  AccelerationHost* acceleration = nullptr;
  CounterSource* counters = nullptr;
  EndpointWatch* watch = nullptr;
  LimitWatch* limits = nullptr;
  Lifecycle* lifecycle = nullptr;
  NodeInspector* inspector = nullptr;
  PolicyWatcher* policies = nullptr;
  Reporter* reporter = nullptr;
  OverloadSource* overload = nullptr;
};

class DataPath {
 public:
  using SnapshotPointer = std::shared_ptr<const policy::Snapshot>;

  explicit DataPath(const Seams& seams) : seams_(seams) {}

  // All or nothing: after an Error the earlier snapshot is in effect (or the Error says that
  // putting it back failed too). The first call tolerates listeners that cannot be bound, so that
  // a taken port does not keep a node without policy: they are returned by listener_problem().
  Result<void> install(SnapshotPointer next);

  const SnapshotPointer& current() const { return current_; }
  const std::string& listener_problem() const { return listener_problem_; }

 private:
  Result<void> open_listeners(const policy::Snapshot& next);
  Result<void> run_steps(const SnapshotPointer& next, bool& published);
  Error put_back(Error why, bool published);
  void expose() const;

  Seams seams_;
  SnapshotPointer current_;
  std::vector<SocketAddress> open_;  // what listeners.set() last agreed to
  std::string listener_problem_;
};

}  // namespace np::control
