// SPDX-License-Identifier: Apache-2.0
#include "shard/balance.h"

namespace np::shard {

std::optional<Balance::Plan> Balance::on_window(uint32_t own, std::span<const Standing> all) {
  if (pause_ > 0) {
    --pause_;
    return std::nullopt;
  }
  const uint32_t busy = all[own].busy;
  if (busy < limits_.gives_from_permille) return std::nullopt;
  std::optional<Plan> plan;
  for (uint32_t i = 0; i < all.size(); ++i) {
    const Standing& other = all[i];
    if (i == own || !other.takes || other.busy >= limits_.takes_below_permille) continue;
    if (other.busy >= busy || !is_worth_closing(busy - other.busy)) continue;
    if (!plan || busy - other.busy > plan->gap) plan = Plan{i, busy - other.busy};
  }
  return plan;
}

std::optional<size_t> Balance::next(uint32_t gap, std::span<const uint32_t> shares) {
  std::optional<size_t> best;
  uint32_t best_gap = gap;
  for (size_t i = 0; i < shares.size(); ++i) {
    const uint32_t share = shares[i];
    // One that makes nearly all of the gap would only take it along to the other shard.
    if (share == 0 || share > gap - gap / 4) continue;
    const uint32_t left = gap_after(gap, share);
    if (left >= best_gap) continue;
    best = i;
    best_gap = left;
  }
  return best;
}

}  // namespace np::shard
