// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "bpf/abi/np_acceleration_abi.h"
#include "kernel/acceleration_checks.h"
#include "kernel/socket_steps.h"

namespace np::kernel {
namespace {

// Three windows of the redirection: begins on it and ends on the stack.
constexpr size_t kStreamBytes = 3 * size_t{NP_ACC_WINDOW_BYTES};
constexpr size_t kStepBytes = 7919;  // divides nothing
// What is sent at most to a peer that does not read. Far above every buffer of a pair.
constexpr size_t kFloodBytesMax = 16 * 1024 * 1024;
constexpr size_t kFloodStepBytes = 4096;

int option(int socket, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  (void)::getsockopt(socket, SOL_SOCKET, name, &value, &size);
  return value;
}

// Sends until the socket takes no more, and says how much it took.
Result<size_t> flood(int socket, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t step = std::min(kFloodStepBytes, bytes.size() - done);
    const ssize_t sent = again(
        [&] { return ::send(socket, bytes.data() + done, step, MSG_NOSIGNAL | MSG_DONTWAIT); });
    if (sent < 0 && errno == EAGAIN) return done;
    if (sent < 0) {
      return seen("after " + std::to_string(done) + " unread bytes the sender got \"" +
                  system_error(errno, "").detail + "\" instead of having to wait");
    }
    done += static_cast<size_t>(sent);
  }
  return done;
}

// The server's end got `early` over the stack; what follows must not overtake it.
Result<void> check_late_enrolment(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY(pairs.leave(pair));
  const std::string early = pattern(1000, 1), late = pattern(1000, 2);
  NP_TRY(put(pair.client.get(), early));
  NP_TRY(expect_poll(pair.server.get(), POLLIN));
  NP_TRY(pairs.join(pair));
  NP_TRY(put(pair.client.get(), late));
  return expect_bytes(pair.server.get(), early + late);
}

}  // namespace

Result<std::string> check_order(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const std::string stream = pattern(kStreamBytes, 0);
  for (size_t done = 0; done < stream.size(); done += kStepBytes) {
    NP_TRY(put(pair.client.get(), std::string_view(stream).substr(done, kStepBytes)));
  }
  NP_TRY(expect_bytes(pair.server.get(), stream));
  NP_TRY(put(pair.server.get(), "answer"));
  NP_TRY(expect_bytes(pair.client.get(), "answer"));
  NP_TRY(check_late_enrolment(pairs, family));
  return std::string("in order, also from the stack to redirection and back");
}

Result<std::string> check_half_close(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const std::string request = pattern(20'000, 3), answer = pattern(20'000, 4);
  NP_TRY(put(pair.client.get(), request));
  (void)::shutdown(pair.client.get(), SHUT_WR);
  NP_TRY(expect_bytes(pair.server.get(), request));
  NP_TRY(expect_end(pair.server.get()));
  NP_TRY(put(pair.server.get(), answer));
  (void)::shutdown(pair.server.get(), SHUT_WR);
  NP_TRY(expect_bytes(pair.client.get(), answer));
  NP_TRY(expect_end(pair.client.get()));
  return std::string("the end follows the last byte, the other direction goes on");
}

Result<std::string> check_memory(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  const std::string bytes = pattern(kFloodBytesMax, 5);
  NP_TRY_ASSIGN(const size_t taken, flood(pair.client.get(), bytes));
  const size_t allowed = size_t{NP_ACC_WINDOW_BYTES} +
                         static_cast<size_t>(option(pair.client.get(), SO_SNDBUF)) +
                         static_cast<size_t>(option(pair.server.get(), SO_RCVBUF));
  if (taken > allowed) {
    return seen("a peer that reads nothing was sent " + std::to_string(taken) +
                " bytes, both buffers and the window hold " + std::to_string(allowed));
  }
  NP_TRY(expect_bytes(pair.server.get(), std::string_view(bytes).substr(0, taken)));
  NP_TRY(expect_poll(pair.client.get(), POLLOUT));
  NP_TRY(put(pair.client.get(), "more"));
  NP_TRY(expect_bytes(pair.server.get(), "more"));
  return "the sender has to wait after " + std::to_string(taken) + " unread bytes";
}

Result<std::string> check_close_unread(ConnectedPairs& pairs, LoopbackFamily family) {
  const std::string bytes = pattern(1000, 6);
  {
    NP_TRY_ASSIGN(ConnectedPair pair, pairs.make(family));
    NP_TRY(put(pair.client.get(), bytes));
    pair.client.reset();
    NP_TRY(expect_bytes(pair.server.get(), bytes));
    NP_TRY(expect_end(pair.server.get()));
  }
  NP_TRY_ASSIGN(ConnectedPair pair, pairs.make(family));
  NP_TRY(put(pair.client.get(), bytes));
  NP_TRY(expect_poll(pair.server.get(), POLLIN));
  pair.server.reset();
  char byte = 0;
  const ssize_t got = again([&] { return ::recv(pair.client.get(), &byte, 1, 0); });
  if (got < 0 && errno == ECONNRESET) {
    return std::string("the sender is reset, what a closing sender left is read");
  }
  return seen("the reader closed with 1000 unread bytes and the sender was told \"" +
              std::string(got == 0 ? "end" : system_error(errno, "").detail) +
              "\", not that they are lost (RFC 9293 3.10.4 sends a reset)");
}

Result<std::string> check_urgent(ConnectedPairs& pairs, LoopbackFamily family) {
  NP_TRY_ASSIGN(const ConnectedPair pair, pairs.make(family));
  NP_TRY(put(pair.client.get(), "before"));
  if (::send(pair.client.get(), "!", 1, MSG_OOB | MSG_NOSIGNAL) != 1) {
    return seen("urgent data cannot be sent: " + system_error(errno, "").detail);
  }
  NP_TRY(expect_poll(pair.server.get(), POLLPRI));
  char byte = 0;
  if (::recv(pair.server.get(), &byte, 1, MSG_OOB) != 1 || byte != '!') {
    return seen("the urgent byte is not there");
  }
  NP_TRY(expect_bytes(pair.server.get(), "before"));
  return std::string("an urgent byte arrives apart");
}

}  // namespace np::kernel
