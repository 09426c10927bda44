// SPDX-License-Identifier: Apache-2.0
// The listening sockets of the proxy namespace: 32 per family, one per slot (design.md 8.6).
// ListenerSet owns them; they outlive every worker, so a restart refuses nothing. Their slots in
// np_listeners decide whether traffic is captured: filling and clearing them starts and stops it.
// Supervisor only, single-threaded.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/proxy_netns.h"

namespace np::kernel {

struct OwnListener {
  Fd fd;
  uint32_t slot = 0;
  bool is_v6 = false;
};

class ListenerSet {
 public:
  static Result<ListenerSet> open(const ProxyNetns& proxy);

  const std::vector<OwnListener>& sockets() const { return sockets_; }
  // Puts every socket into its slot, in place of whatever is there (an older daemon's: R38).
  Result<void> fill(int listeners_map) const;
  // Empties the slots that still hold our sockets; a successor's stay.
  void clear(int listeners_map) const;

 private:
  std::vector<OwnListener> sockets_;
};

}  // namespace np::kernel
