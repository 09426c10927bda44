// SPDX-License-Identifier: Apache-2.0
// The dangers of socket redirection, one check each: a few steps on fresh connections that a
// program over TCP relies on, and that hold on the plain stack. A check knows nothing of how the
// bytes travel. Runs on the thread that asks; some start a second one that sends.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "kernel/connected_pairs.h"

namespace np::kernel {

struct DangerCheck {
  const char* name;
  const char* promise;  // what TCP gives
  // What was seen; an Error says what is not as promised.
  Result<std::string> (*run)(ConnectedPairs& pairs, LoopbackFamily family);
};

// acceleration_stream_checks.cc: what happens to the stream.
Result<std::string> check_order(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_half_close(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_memory(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_close_unread(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_urgent(ConnectedPairs& pairs, LoopbackFamily family);

// acceleration_wake_checks.cc: who is woken.
Result<std::string> check_epoll(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_io_uring(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_partial_read(ConnectedPairs& pairs, LoopbackFamily family);

// acceleration_read_checks.cc: other ways to read than recv().
Result<std::string> check_fionread(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_peek(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_wait_all(ConnectedPairs& pairs, LoopbackFamily family);
Result<std::string> check_splice(ConnectedPairs& pairs, LoopbackFamily family);

// All of them, in the order in which they are shown.
std::span<const DangerCheck> danger_checks();

}  // namespace np::kernel
