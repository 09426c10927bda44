// SPDX-License-Identifier: Apache-2.0
#include "limit_seams.h"

#include "base/time.h"
#include "proxy/node_state.h"
#include "proxy/quota_windows.h"

namespace np {

control::LimitFill ShardLimits::fill(uint32_t cluster_id, uint32_t caller) {
  proxy::AdmissionGroup* group = pool_.node().find_admission(cluster_id, caller);
  if (group == nullptr) return {};
  const proxy::AdmissionGroup::Counts counts = group->counts();
  return {counts.running, counts.waiting, counts.retries, counts.open, counts.rejected};
}

int64_t ShardLimits::spent(uint32_t quota_id, const policy::CounterLimit& limit,
                           const std::string& tuple) {
  proxy::QuotaCharge charge;
  charge.quota = quota_id;
  charge.limit = limit;
  charge.tuple = tuple;
  return pool_.quota_windows().spent(charge, monotonic_now());
}

}  // namespace np
