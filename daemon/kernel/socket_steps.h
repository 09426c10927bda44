// SPDX-License-Identifier: Apache-2.0
// What the checks of redirected sockets are written in: each step does one thing to a socket of a
// ConnectedPair and is an Error when that is not what TCP promises. No step blocks longer than
// kPairPatience per call.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/connected_pairs.h"

namespace np::kernel {

// Repeats a call that a signal ended: the kernel's own work for an io_uring that is gone looks like
// one, too. Bounded, because a call that never does anything else is a finding.
template <typename Call>
auto again(Call call) {
  constexpr int kTriesMax = 100;
  auto result = call();
  for (int tries = 1; result < 0 && errno == EINTR && tries < kTriesMax; ++tries) result = call();
  return result;
}

// What a check found against the danger.
Error seen(std::string what);

// `size` bytes that differ from those of another seed at every place.
std::string pattern(size_t size, unsigned seed);

Result<void> put(int socket, std::string_view bytes);
// Exactly `size` bytes.
Result<std::string> take(int socket, size_t size);
Result<void> expect_bytes(int socket, std::string_view bytes);
Result<void> expect_end(int socket);
Result<void> expect_nothing(int socket);
// The wanted events of poll, at once or within kPairPatience.
Result<void> expect_poll(int socket, short events);

// Sends after a moment, from another thread: whoever waits meanwhile must be woken.
class LatePut {
 public:
  LatePut(int socket, std::string bytes);
  ~LatePut() { thread_.join(); }
  LatePut(const LatePut&) = delete;
  LatePut& operator=(const LatePut&) = delete;

 private:
  std::thread thread_;
};

}  // namespace np::kernel
