// SPDX-License-Identifier: Apache-2.0
// PodTable: which pods of this node are captured. Attaches np_pod_in and np_pod_out to each pod's
// host veth and keeps np_pods in step; np_podst, the totals, outlives a pod, so that no count goes
// back when it returns. All is kernel state that outlives this process, so a new supervisor begins
// with adopt(). A pod that cannot be captured stays in the table with the reason (R12, R13):
// nothing is skipped silently. Supervisor only, single-threaded.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "bpf/abi/np_abi.h"
#include "kernel/hook.h"
#include "kernel/loader.h"
#include "kernel/netlink.h"

namespace np::kernel {

struct PodRequest {
  uint32_t pod_id = 0;
  std::string name;  // "namespace/name"
  std::string ifname;
  std::vector<IpAddress> ips;
  uint32_t max_flows = NP_POD_MAX_FLOWS;
  uint32_t syn_rate = NP_POD_SYN_RATE;
  uint32_t syn_burst = NP_POD_SYN_BURST;
  uint8_t fail = NP_FAIL_DEFAULT;
};

struct PodRecord {
  PodRequest request;
  uint32_t ifindex = 0;
  uint32_t slot = 0;
  bool is_attached = false;
  uint64_t since_ns = 0;  // CLOCK_REALTIME
  std::string problem;    // why it is not captured, or what endangers it
};

class PodTable {
 public:
  PodTable(Loader& loader, Hook hook) : loader_(loader), hook_(hook) {}

  // Takes over what np_pods and the pinned links say, and updates the programs in place. Pods
  // whose interface is gone are removed.
  Result<void> adopt();
  // The record says whether it worked; the Result is an error only for a request that makes no
  // sense or when the kernel's tables are full.
  Result<PodRecord> attach(const PodRequest& request);
  Result<void> detach(uint32_t pod_id);
  // Detaches all; links of pods unknown to the table, too.
  Result<void> detach_all();
  // Looks whether interfaces vanished or somebody got ahead of the program; removes dead links.
  void sweep();
  std::vector<PodRecord> list() const;
  Hook hook() const { return hook_; }

 private:
  HookPoint point_in(uint32_t ifindex) const;
  HookPoint point_out(uint32_t ifindex) const;
  Result<void> attach_programs(uint32_t ifindex) const;
  Result<void> detach_programs(uint32_t ifindex) const;
  Result<void> write_entries(PodRecord& record, const LinkInfo& link, Netlink& netlink);
  Result<void> ensure_totals(const PodRecord& record);
  bool forget_one_that_left();
  void remove_entries(const PodRecord& record);
  void adopt_entry(const np_pod_key& key, const np_pod& value);
  void remove_dead_links();
  std::string problem_of_hooks(const PodRecord& record) const;
  uint32_t least_used_slot() const;

  Loader& loader_;
  Hook hook_;
  std::map<uint32_t, PodRecord> pods_;  // by pod_id
};

}  // namespace np::kernel
