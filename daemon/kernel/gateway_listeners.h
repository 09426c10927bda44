// SPDX-License-Identifier: Apache-2.0
// GatewayListeners: the ordinary listening sockets in the host namespace that Gateway objects ask
// for. Owned by the supervisor and kept for the next worker, so that a restart refuses nothing.
// Supervisor only, single-threaded.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace np::kernel {

struct GatewayListenerSocket {
  Fd fd;
  SocketAddress bind;
};

class GatewayListeners {
 public:
  // Makes exactly `binds` listen; sockets that stay are not touched. An address that cannot be
  // bound is left out and named in the error; the others listen all the same.
  Result<void> set(const std::vector<SocketAddress>& binds);
  // A worker that drains ends the sockets for all their copies. If it does not end in order then,
  // the next one needs them listening; for others this changes nothing.
  void listen_again();
  const std::vector<GatewayListenerSocket>& sockets() const { return sockets_; }

 private:
  std::vector<GatewayListenerSocket> sockets_;
};

}  // namespace np::kernel
