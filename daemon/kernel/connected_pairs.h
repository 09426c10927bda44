// SPDX-License-Identifier: Apache-2.0
// ConnectedPairs: makes the connections that the self-test of acceleration looks at. One
// implementation redirects (accelerated_pairs.h); the tests have one over the plain stack, on which
// every check must pass, and some that lie. Called on the thread that runs the self-test.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace np::kernel {

enum class LoopbackFamily : uint8_t { kV4, kV6 };

// No call on a socket of a pair blocks longer. Far above what loopback needs on a loaded machine,
// and short enough that a kernel which fails every check is through within seconds.
inline constexpr Duration kPairPatience = std::chrono::milliseconds(500);
// SO_SNDBUF and SO_RCVBUF as asked for; the kernel doubles them, up to its maximum.
inline constexpr int kPairBufferBytes = 256 * 1024;

// Both ends of one TCP connection over loopback.
struct ConnectedPair {
  Fd client, server;
};

// Error: the family is not there, or the connection was not made.
Result<ConnectedPair> connect_loopback(LoopbackFamily family);

class ConnectedPairs {
 public:
  virtual ~ConnectedPairs() = default;
  virtual Result<ConnectedPair> make(LoopbackFamily family) = 0;
  // Nothing is redirected to the server's end until it joins again. Only before the first byte:
  // who leaves loses what was redirected to it and not read.
  virtual Result<void> leave(const ConnectedPair& pair) = 0;
  virtual Result<void> join(const ConnectedPair& pair) = 0;
};

}  // namespace np::kernel
