// SPDX-License-Identifier: Apache-2.0
// Percentiles of a histogram, interpolated within the bucket that holds them.

import { BUCKETS } from "./history.js";
import { millis, NONE } from "./format.js";

// `vector` is a sum of series: its buckets begin at BUCKETS. Null when nothing was counted.
export function quantile(vector, boundsMs, q) {
  let total = 0;
  for (let i = BUCKETS; i < vector.length; i += 1) total += vector[i];
  if (!(total > 0) || boundsMs.length === 0) return null;
  const rank = q * total;
  let below = 0;
  for (let i = 0; i < boundsMs.length; i += 1) {
    const inside = vector[BUCKETS + i];
    if (inside > 0 && below + inside >= rank) {
      const lower = i === 0 ? 0 : boundsMs[i - 1];
      return lower + (boundsMs[i] - lower) * ((rank - below) / inside);
    }
    below += inside;
  }
  return boundsMs[boundsMs.length - 1]; // beyond the last bound: all that is known
}

export function quantileText(vector, boundsMs, q) {
  const value = quantile(vector, boundsMs, q);
  if (value === null) return NONE;
  const isBeyond = value >= boundsMs[boundsMs.length - 1];
  return (isBeyond ? ">" : "") + millis(value);
}
