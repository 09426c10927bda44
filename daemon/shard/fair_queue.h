// SPDX-License-Identifier: Apache-2.0
// FairQueue: what the ring has completed and nobody has acted on yet, in one line per pod, so that
// a pod whose connections are always ready takes turns with the others instead of being ahead of
// them. Owns the received bytes that wait. Owned by the Transport; shard's thread.
//
// Deficit round robin, with the lines that have just become non-empty served first (RFC 8290,
// section 4.2): who asks rarely waits for nobody's backlog. A line that empties out goes through
// the round once before it may be first again. Order within a pod is kept, so a socket's
// completions are seen as the kernel gave them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/pod_places.h"
#include "uring/ring.h"

namespace np::shard {

class FairQueue {
 public:
  // Lines; a pod's is its place (PodPlaces). 0: everybody who has none.
  static constexpr uint32_t kLines = PodPlaces::kPlaces;
  // Cost is counted in units: one for a completion, one more for each so many bytes.
  static constexpr uint32_t kUnitBytes = 4096;
  // What a line may spend in one turn, in units.
  static constexpr int32_t kTurnUnits = 8;

  struct Work {
    uring::Completion completion;
    BufferRef buffer;        // of a receive
    uint32_t iteration = 0;  // of the loop, when it was put in line
    uint32_t line = 0;       // set by push()
  };

  FairQueue() : lines_(kLines) {}

  static uint32_t cost_of(const uring::Completion& completion);

  void push(uint32_t line, Work work);
  // The next one by turns; false when nothing waits.
  bool pop(Work* work);

  bool is_empty() const { return waiting_count_ == 0; }
  uint32_t size() const { return waiting_count_; }
  uint32_t size_of(uint32_t line) const { return lines_[line].size; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Node {
    Work work;
    uint32_t next = kNone;
  };
  struct Line {
    uint32_t head = kNone, tail = kNone;  // nodes
    uint32_t next = kNone;                // line, in one of the rounds
    uint32_t size = 0;
    int32_t deficit = 0;  // units; below 0 after a large one: paid off in later turns
    bool is_listed = false;
  };
  struct Round {
    uint32_t head = kNone, tail = kNone;
  };

  void append(Round& round, uint32_t line);
  void drop_head(Round& round);
  uint32_t take_node();

  std::vector<Line> lines_;
  std::vector<Node> nodes_;  // grows to the most that ever waited
  uint32_t free_node_ = kNone;
  Round first_;  // became non-empty a moment ago
  Round round_;
  uint32_t waiting_count_ = 0;
};

}  // namespace np::shard
