// SPDX-License-Identifier: Apache-2.0
// CaptureSide: all kernel state of capture, put together: programs and maps, proxy namespace,
// listeners, pods. Built at start-up (taking over what an earlier process left), swept about once a
// second, torn down only by detach_all(). Absent when the daemon runs with --no-capture.
// Supervisor only, single-threaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/guard_attach.h"
#include "kernel/listeners.h"
#include "kernel/loader.h"
#include "kernel/node_view.h"
#include "kernel/pod_attach.h"
#include "kernel/proxy_netns.h"
#include "kernel/supervisor.h"

namespace np::kernel {

// One line of the start-up table: what this kernel has, and what its absence costs.
struct ProbeRow {
  std::string feature;
  bool found = false;
  std::string note;       // "yes", or what is used instead and what that costs
  bool is_limit = false;  // not found: it is there, but low
};
std::string to_text(const ProbeRow& row);
// Features that need no capture: io_uring is the ring's own business, limits are everybody's.
std::vector<ProbeRow> probe_process();

class CaptureSide {
 public:
  static Result<std::unique_ptr<CaptureSide>> start(const SupervisorOptions& options);
  ~CaptureSide();

  Loader& loader() { return *loader_; }
  PodTable& pods() { return *pods_; }
  GuardTable& guards() { return *guards_; }
  const ProxyNetns& proxy() const { return *proxy_; }
  const std::vector<OwnListener>& listeners() const { return listeners_.sockets(); }
  const std::vector<ProbeRow>& probe() const { return probe_; }
  bool is_detached() const { return is_detached_; }

  np_live& live() { return *live_; }
  void stop_capturing();  // empties our listener slots: the fail mode applies from the next SYN
  Result<void> set_band(uint16_t low, uint16_t high);
  // An interface is a pod's or an uplink, never both.
  Result<PodRecord> attach_pod(const PodRequest& request);
  Result<GuardRecord> attach_guard(const std::string& ifname, GuardMode mode, bool is_kept);
  // Removes dead records, links and pods; more eagerly while np_flows fills up. Returns when it
  // wants to be called again.
  Duration sweep();
  Result<void> detach_all();
  // For `nodectl doctor`: everything as it is now. Borrows our fds.
  NodeView view();

 private:
  explicit CaptureSide(InstanceNames names) : names_(std::move(names)) {}
  Result<void> build(const SupervisorOptions& options);
  Result<Hook> choose_hook(HookChoice choice);
  Result<void> attach_return_leg(Hook hook);
  Result<void> map_live();

  InstanceNames names_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<ProxyNetns> proxy_;
  ListenerSet listeners_;
  std::unique_ptr<PodTable> pods_;
  std::unique_ptr<GuardTable> guards_;
  std::vector<ProbeRow> probe_;
  np_live* live_ = nullptr;
  uint32_t sweeps_ = 0;
  bool is_detached_ = false;
};

}  // namespace np::kernel
