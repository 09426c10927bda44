// SPDX-License-Identifier: Apache-2.0
// TraceBook: the latest traces of this node, so that a person needs no other system: sampled ones,
// and whatever failed or was slow. A queue of batches, bounded in spans, the oldest goes first. A
// busy node fills it thousands of times for each time that somebody looks, so that nothing is
// sorted or looked up before somebody does. Filled by the telemetry thread, asked by the control
// and the admin threads: one lock, held for the queue only.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/span.h"

namespace np::metrics {

struct TraceQuery {
  size_t limit = 20;
  int64_t min_duration_us = 0;
  bool errors_only = false;
  std::string service;  // that takes part: "reviews" or "reviews.default"; empty: any
  std::string text;     // in a name, a tag's value or the id, in any case; empty: any
};

struct TraceSummary {
  uint64_t high = 0, low = 0;
  std::string name, source, host;  // of its first span: route, caller, who was called
  int64_t start_unix_us = 0, duration_us = 0;
  size_t spans = 0;
  std::string status;
  bool is_error = false;  // in any span
};

class TraceBook {
 public:
  static constexpr size_t kSpansMax = 10'000;  // about 1 KiB each
  // Of one trace, when it is asked for.
  static constexpr size_t kSpansPerTraceMax = 1'000;

  void add(SpanBatch batch);
  // Newest first.
  std::vector<TraceSummary> find(const TraceQuery& query) const;
  // In order of their beginning; empty: not kept (any more). `high` 0 finds by the low half.
  std::vector<Span> get(uint64_t high, uint64_t low) const;
  size_t spans() const;

 private:
  std::vector<SpanBatch> batches() const;

  mutable std::mutex mutex_;
  std::deque<SpanBatch> batches_;
  size_t spans_ = 0;
};

}  // namespace np::metrics
