// SPDX-License-Identifier: Apache-2.0
// Connections for the checks of acceleration: over the plain stack, where every check must pass,
// and such that break one promise, so that a check that asks for it must fail.
#pragma once

#include <thread>
#include <vector>

#include "kernel/connected_pairs.h"

namespace np::kernel {

class UnredirectedPairs : public ConnectedPairs {
 public:
  Result<void> leave(const ConnectedPair&) override { return ok(); }
  Result<void> join(const ConnectedPair&) override { return ok(); }
};

class PlainPairs final : public UnredirectedPairs {
 public:
  Result<ConnectedPair> make(LoopbackFamily family) override { return connect_loopback(family); }
};

// Local sockets: other types keep other promises.
class LocalPairs final : public UnredirectedPairs {
 public:
  // `peek_moves`: SO_PEEK_OFF, by which one peek goes on where the last one ended.
  explicit LocalPairs(int type, bool peek_moves = false) : type_(type), peek_moves_(peek_moves) {}
  Result<ConnectedPair> make(LoopbackFamily family) override;

 private:
  int type_;
  bool peek_moves_;
};

// A relay between both ends, which are not each other's peers.
class RelayedPairs final : public UnredirectedPairs {
 public:
  // Later than any patience; no FIN passes; the first byte of each read is another.
  enum class Lie : uint8_t { kNone, kLate, kEndless, kOther };
  explicit RelayedPairs(Lie lie) : lie_(lie) {}
  ~RelayedPairs() override;
  Result<ConnectedPair> make(LoopbackFamily family) override;

 private:
  Lie lie_;
  std::vector<std::thread> threads_;
};

}  // namespace np::kernel
