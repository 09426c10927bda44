// SPDX-License-Identifier: Apache-2.0
// ShardLimits: how full the shards' limits and quotas are, for `nodectl explain`. Made by
// run_worker, used on the control thread.
#pragma once

#include "control/seams.h"
#include "shard/shard_pool.h"

namespace np {

class ShardLimits final : public control::LimitWatch {
 public:
  explicit ShardLimits(shard::ShardPool& pool) : pool_(pool) {}
  control::LimitFill fill(uint32_t cluster_id, uint32_t caller) override;
  int64_t spent(uint32_t quota_id, const policy::CounterLimit& limit,
                const std::string& tuple) override;

 private:
  shard::ShardPool& pool_;
};

}  // namespace np
