// SPDX-License-Identifier: Apache-2.0
// FlowUpdate: writes one FlowRecord. While it lives, `seq` is odd, so that a reader of the mapped
// np_conn slot can tell a record that is being changed. Stack object; shard thread.
#pragma once

#include <atomic>

#include "base/flow_record.h"
#include "base/time.h"
#include "proxy/counters.h"

namespace np::proxy {

class FlowUpdate {
 public:
  FlowUpdate(FlowRecord& record, Instant now) : record_(record), now_(now) {
    std::atomic_ref<uint32_t> seq(record_.seq);
    seq.store(record_.seq + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  ~FlowUpdate() {
    record_.last_ns = to_ns(now_);
    std::atomic_ref<uint32_t> seq(record_.seq);
    seq.store(record_.seq + 1, std::memory_order_release);
  }
  FlowUpdate(const FlowUpdate&) = delete;
  FlowUpdate& operator=(const FlowUpdate&) = delete;

  FlowRecord* operator->() { return &record_; }

 private:
  FlowRecord& record_;
  Instant now_;
};

// An answer given to the client. The record is open for writing: see FlowUpdate.
inline void count_status(EngineCounters& counters, FlowRecord& record, uint16_t status) {
  if (status == 408) ++counters.downstream_rq_timeout;
  if (status >= 500) {
    ++counters.downstream_rq_5xx;
    ++record.status_5xx;
  } else if (status >= 400) {
    ++counters.downstream_rq_4xx;
    ++record.status_4xx;
  } else if (status >= 300) {
    ++counters.downstream_rq_3xx;
    ++record.status_3xx;
  } else if (status >= 200) {
    ++counters.downstream_rq_2xx;
    ++record.status_2xx;
  }
}

// Of EngineCounters or of a cluster's.
template <typename Counters>
void count_upstream_status(Counters& counters, uint16_t status) {
  if (status >= 500) {
    ++counters.upstream_rq_5xx;
  } else if (status >= 400) {
    ++counters.upstream_rq_4xx;
  } else if (status >= 300) {
    ++counters.upstream_rq_3xx;
  } else if (status >= 200) {
    ++counters.upstream_rq_2xx;
  }
}

inline constexpr uint32_t kFlowOpen = 1;
inline constexpr uint32_t kFlowClosed = 2;

}  // namespace np::proxy
