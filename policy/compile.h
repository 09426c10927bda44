// SPDX-License-Identifier: Apache-2.0
// compile(): Model -> Snapshot, and the ids that stay the same from one snapshot to the next.
// Control thread only (and offline in nodectl).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "policy/model.h"
#include "policy/snapshot.h"

namespace np::policy {

// Gives every name one number for as long as the process lives, never 0 and never another name's.
// Separate spaces for services, clusters, routes, endpoints, pods, workloads and quotas. Numbers of
// services and pods are keys of kernel maps that outlive a worker: they derive from the name, so
// that the next worker finds the same. The others count from 1, because the engine uses them as
// indices.
class IdTable {
 public:
  enum class Space : uint8_t { kService, kCluster, kRoute, kEndpoint, kPod, kWorkload, kQuota };
  uint32_t id(Space space, const std::string& name);
  // When an endpoint joined: it has been part of every snapshot since. For slow start, and because
  // who comes back at an old address does not inherit how its predecessor failed.
  Instant joined(uint32_t endpoint_id, Instant now);
  // All endpoints of a snapshot have been named: the others have left.
  void forget_who_left();
  // Names of this space whose numbers are not among `used` get new ones should they come again.
  void forget_others(Space space, const std::set<uint32_t>& used);

 private:
  std::map<std::pair<Space, std::string>, uint32_t> ids_;
  std::map<Space, uint32_t> next_;
  std::set<std::pair<Space, uint32_t>> taken_;  // of the derived ones
  struct Membership {
    Instant since;
    bool is_current = true;
  };
  std::unordered_map<uint32_t, Membership> members_;
};

// Answers of the control thread's resolver: name -> addresses (last good answer).
using DnsAnswers = std::map<std::string, std::vector<IpAddress>>;

struct CompileInput {
  const Model* model = nullptr;
  const DnsAnswers* dns = nullptr;  // may be null
  uint64_t generation = 0;
  Instant now;               // handed in: policy reads no clock
  uint64_t unix_now_ns = 0;  // the same moment as people count time
};

// Never fails on a model that validate() accepted: what cannot act becomes a Finding.
std::shared_ptr<const Snapshot> compile(const CompileInput& input, IdTable& ids);

}  // namespace np::policy
