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
// Separate spaces for services, clusters, routes, endpoints, pods and quotas. Numbers of services
// and pods are keys of kernel maps that outlive a worker: they derive from the name, so that the
// next worker finds the same. The others count from 1, because the engine uses them as indices.
class IdTable {
 public:
  enum class Space : uint8_t { kService, kCluster, kRoute, kEndpoint, kPod, kQuota };
  uint32_t id(Space space, const std::string& name);
  // Names of this space whose numbers are not among `used` get new ones should they come again.
  void forget_others(Space space, const std::set<uint32_t>& used);
  // When an endpoint was first seen, for slow start; set on first call.
  Instant first_seen(uint32_t endpoint_id, Instant now);

 private:
  std::map<std::pair<Space, std::string>, uint32_t> ids_;
  std::map<Space, uint32_t> next_;
  std::set<std::pair<Space, uint32_t>> taken_;  // of the derived ones
  std::unordered_map<uint32_t, Instant> first_seen_;
};

// Answers of the control thread's resolver: name -> addresses (last good answer).
using DnsAnswers = std::map<std::string, std::vector<IpAddress>>;

struct CompileInput {
  const Model* model = nullptr;
  const DnsAnswers* dns = nullptr;  // may be null
  uint64_t generation = 0;
  Instant now;  // handed in: policy reads no clock
};

// Never fails on a model that validate() accepted: what cannot act becomes a Finding.
std::shared_ptr<const Snapshot> compile(const CompileInput& input, IdTable& ids);

}  // namespace np::policy
