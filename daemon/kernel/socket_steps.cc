// SPDX-License-Identifier: Apache-2.0
#include "kernel/socket_steps.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace np::kernel {
namespace {

constexpr Duration kMoment = std::chrono::milliseconds(10);
constexpr int kPatienceMs = static_cast<int>(kPairPatience / std::chrono::milliseconds(1));

std::string of_bytes(size_t count, size_t wanted) {
  return std::to_string(count) + " of " + std::to_string(wanted) + " bytes";
}

}  // namespace

Error seen(std::string what) {
  return Error{ErrorCode::kUnsupported, "check", std::move(what), ""};
}

std::string pattern(size_t size, unsigned seed) {
  constexpr unsigned kFactor = 2654435761U;
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(((static_cast<unsigned>(i) * kFactor) >> 13U) + seed);
  }
  return bytes;
}

Result<void> put(int socket, std::string_view bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t sent = again(
        [&] { return ::send(socket, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL); });
    if (sent < 0) {
      return seen("sending stopped at " + of_bytes(done, bytes.size()) + ": " +
                  system_error(errno, "").detail);
    }
    done += static_cast<size_t>(sent);
  }
  return ok();
}

Result<std::string> take(int socket, size_t size) {
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t got = again([&] { return ::recv(socket, bytes.data() + done, size - done, 0); });
    if (got == 0) return seen("the end came after " + of_bytes(done, size));
    if (got < 0 && errno == EAGAIN) return seen("only " + of_bytes(done, size) + " came");
    if (got < 0) {
      return seen("reading stopped at " + of_bytes(done, size) + ": " +
                  system_error(errno, "").detail);
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

Result<void> expect_bytes(int socket, std::string_view bytes) {
  NP_TRY_ASSIGN(const std::string got, take(socket, bytes.size()));
  const auto [first, unused] = std::mismatch(got.begin(), got.end(), bytes.begin());
  if (first == got.end()) return ok();
  return seen("byte " + std::to_string(first - got.begin()) + " of " +
              std::to_string(bytes.size()) + " is not the one that was sent there");
}

Result<void> expect_end(int socket) {
  char byte = 0;
  const ssize_t got = again([&] { return ::recv(socket, &byte, 1, 0); });
  if (got == 0) return ok();
  if (got > 0) return seen("a byte came where the end was due");
  return seen("no end: " + system_error(errno, "").detail);
}

Result<void> expect_nothing(int socket) {
  char byte = 0;
  const ssize_t got = again([&] { return ::recv(socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK); });
  if (got < 0 && errno == EAGAIN) return ok();
  return seen(got == 0 ? "the end came too early" : "there is more than was sent");
}

Result<void> expect_poll(int socket, short events) {
  pollfd one{socket, events, 0};
  const int count = again([&one] { return ::poll(&one, 1, kPatienceMs); });
  if (count == 1 && (one.revents & events) != 0) return ok();
  return seen("poll did not report it within " + std::to_string(kPatienceMs) + " ms");
}

LatePut::LatePut(int socket, std::string bytes)
    : thread_([socket, late = std::move(bytes)] {
        std::this_thread::sleep_for(kMoment);
        (void)put(socket, late);  // the waiting side tells what did not come
      }) {}

}  // namespace np::kernel
