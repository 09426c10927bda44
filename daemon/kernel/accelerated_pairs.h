// SPDX-License-Identifier: Apache-2.0
// AcceleratedPairs: connections over loopback whose bytes go from socket to socket. Owns the
// programs and maps of bpf/accelerate.bpf.c, none of them pinned, and a cgroup in which this
// process lives meanwhile: only sockets made in it are enrolled, and only by its own connections.
// Everything is gone when it is destroyed, or when the process dies, but for an empty cgroup that
// the next one removes. Needs root. Used by the one-shot process of `nodeproxyd
// --test-acceleration`, and by tests.
#pragma once

#include <memory>
#include <string>

#include "bpf/abi/np_acceleration_abi.h"
#include "kernel/connected_pairs.h"

struct np_accelerate;

namespace np::kernel {

// The two rules of bpf/accelerate.bpf.c.
struct RedirectionRules {
  uint64_t window_bytes = NP_ACC_WINDOW_BYTES;  // per direction, messages charged
  bool keeps_route = true;                      // who went over the stack stays there
};

class AcceleratedPairs final : public ConnectedPairs {
 public:
  static Result<std::unique_ptr<AcceleratedPairs>> create(const RedirectionRules& rules);
  ~AcceleratedPairs() override;
  AcceleratedPairs(const AcceleratedPairs&) = delete;
  AcceleratedPairs& operator=(const AcceleratedPairs&) = delete;

  Result<ConnectedPair> make(LoopbackFamily family) override;
  Result<void> leave(const ConnectedPair& pair) override;
  Result<void> join(const ConnectedPair& pair) override;

  // Since the beginning, over all CPUs.
  Result<np_acc_st> counters() const;

 private:
  AcceleratedPairs() = default;
  Result<void> load(const RedirectionRules& rules);
  Result<void> enter_cgroup();
  void leave_cgroup();

  np_accelerate* skeleton_ = nullptr;
  Fd cgroup_root_;
  std::string cgroup_;  // of ours, below the root; empty: none was made
  std::string former_;  // where this process lived, below the root
  Fd link_;             // of np_acc_open to the cgroup
};

}  // namespace np::kernel
