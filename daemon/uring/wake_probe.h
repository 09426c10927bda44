// SPDX-License-Identifier: Apache-2.0
// WakeProbe: one operation on a socket that waits for bytes, on a ring of its own, to see whether
// they wake it. For the self-test of acceleration; owns its ring and the bytes that it receives.
// One thread at a time; sockets are borrowed and must be open until the probe is gone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/time.h"

namespace np::uring {

class WakeProbe {
 public:
  enum class Kind : uint8_t { kReceive, kReceiveMultishot, kPoll };

  // Submits the operation; it waits when the socket has nothing to read.
  static Result<std::unique_ptr<WakeProbe>> arm(int socket, Kind kind);
  ~WakeProbe();
  WakeProbe(const WakeProbe&) = delete;
  WakeProbe& operator=(const WakeProbe&) = delete;

  // Bytes received, poll's flags, or a negative errno. Nothing: no completion within `patience`.
  std::optional<int> wait(Duration patience);

 private:
  class Impl;
  explicit WakeProbe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace np::uring
