// SPDX-License-Identifier: Apache-2.0
// Between the shards' ejections and the rooms that do not know them: the kernel map that keeps them
// for the next worker, and the people who ask. Made by run_worker.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "control/seams.h"
#include "kernel/worker_link.h"
#include "proxy/node_state.h"

namespace np {

// np_eject. Called by shards, under the lock of a service: one system call each.
class KernelEjections final : public proxy::EjectionStore {
 public:
  explicit KernelEjections(kernel::WorkerLink& link) : link_(link) {}
  void put(uint32_t service_id, const SocketAddress& endpoint, const Record& record) override;
  void erase(uint32_t service_id, const SocketAddress& endpoint) override;
  // What the worker before left: ejections stand, a request without an answer was a failure
  // (design.md 8.7).
  void restore(proxy::NodeState& node) const;
  uint64_t failed_writes() const { return failed_writes_.load(std::memory_order_relaxed); }

 private:
  kernel::WorkerLink& link_;
  std::atomic<uint64_t> failed_writes_{0};
};

// `nodectl endpoints`, `uneject` and the log, which also hears what shadow mode would have done.
// notify() by any shard, the rest by the control thread.
class EjectionWatch final : public control::EndpointWatch {
 public:
  static Result<std::unique_ptr<EjectionWatch>> create();
  // `link` also tells np_events; null: only the log.
  void set_node(proxy::NodeState& node, kernel::WorkerLink* link) {
    node_ = &node;
    link_ = link;
  }
  void notify();
  size_t ejected_now();
  // Changes that the log does not know of, because too many came at once.
  uint64_t lost_events() const;

  std::vector<control::EndpointStanding> standing(uint32_t service_id) override;
  // By service id; services nobody has asked for yet are missing. Any thread.
  std::map<uint32_t, std::vector<control::EndpointStanding>> all_standing();
  bool uneject(uint32_t service_id, const SocketAddress& address) override;
  int fd() const override { return fd_.get(); }
  Instant next_deadline() override;
  std::vector<control::EndpointNote> take_notes() override;

 private:
  explicit EjectionWatch(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  proxy::NodeState* node_ = nullptr;
  kernel::WorkerLink* link_ = nullptr;
};

}  // namespace np
