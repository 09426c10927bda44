// SPDX-License-Identifier: Apache-2.0
// Client: a blocking TCP connection to 127.0.0.1 for tests, with time-outs so that no test hangs.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/fd.h"

namespace np::test {

// Memory figures mean nothing under a sanitizer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_buffer_bytes > 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                   sizeof receive_buffer_bytes);
    }
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ =
        ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }

  bool connected() const { return connected_; }
  int fd() const { return fd_.get(); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // What has come, at least one byte; "" at FIN, "error: ..." otherwise.
  std::string receive(size_t max = 65536) {
    std::string bytes(max, '\0');
    const ssize_t got = read_some(bytes.data(), bytes.size());
    if (got < 0) return "error: " + std::to_string(errno);
    bytes.resize(static_cast<size_t>(got));
    return bytes;
  }
  // Up to and including '\n'.
  std::string line() {
    std::string text;
    char c = 0;
    while (read_some(&c, 1) == 1) {
      text += c;
      if (c == '\n') break;
    }
    return text;
  }
  std::string ask(std::string_view command) {
    if (!send(std::string(command) + "\n")) return "send failed";
    return line();
  }
  // Counts bytes until FIN; -1 when it ended otherwise.
  long drain() {
    std::string bytes(65536, '\0');
    long total = 0;
    while (true) {
      const ssize_t got = read_some(bytes.data(), bytes.size());
      if (got <= 0) return got == 0 ? total : -1;
      total += got;
    }
  }
  void finish() { ::shutdown(fd_.get(), SHUT_WR); }
  int last_errno() const { return last_errno_; }

 private:
  // A ring that this thread has closed ends in the background and interrupts the thread once.
  ssize_t read_some(char* out, size_t size) {
    ssize_t got = -1;
    do {
      got = ::recv(fd_.get(), out, size, 0);
    } while (got < 0 && errno == EINTR);
    last_errno_ = got < 0 ? errno : 0;
    return got;
  }

  Fd fd_;
  bool connected_ = false;
  int last_errno_ = 0;
};

}  // namespace np::test
