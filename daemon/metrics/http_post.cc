// SPDX-License-Identifier: Apache-2.0
#include "metrics/http_post.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string_view>
#include <vector>

namespace np::metrics {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

std::vector<SocketAddress> resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return {};
  const std::unique_ptr<addrinfo, FreeAddresses> owner(list);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    addresses.push_back(SocketAddress::from_sockaddr(one->ai_addr));
  }
  return addresses;
}

// False: the deadline came first.
bool wait_for(std::span<pollfd> polled, Instant deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - monotonic_now());
    if (left.count() <= 0) return false;
    constexpr int64_t kMost = 60'000;
    const int count =
        ::poll(polled.data(), polled.size(), static_cast<int>(std::min(left.count(), kMost)));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

bool wait_for(int fd, short events, Instant deadline) {
  pollfd polled{fd, events, 0};
  return wait_for({&polled, 1}, deadline);
}

// Connections that are on their way.
class Attempts {
 public:
  // One that is there at once counts as ready at the next wait().
  void begin(const SocketAddress& address) {
    sockaddr_storage name{};
    const socklen_t size = address.to_sockaddr(&name);
    Fd fd(::socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.is_open()) return;
    const int result = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), size);
    if (result == 0 || errno == EINPROGRESS) under_way_.push_back(std::move(fd));
  }
  // Until one is there, which is returned, or one has failed, or it is `until`.
  Fd wait(Instant until) {
    std::vector<pollfd> polled;
    for (const Fd& fd : under_way_) polled.push_back({fd.get(), POLLOUT, 0});
    if (!wait_for(polled, until)) return {};
    for (size_t i = polled.size(); i-- > 0;) {
      if (polled[i].revents == 0) continue;
      Fd fd = std::move(under_way_[i]);
      under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(i));
      int problem = 0;
      socklen_t size = sizeof(problem);
      ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
      if (problem == 0) return fd;
    }
    return {};
  }
  size_t count() const { return under_way_.size(); }

 private:
  std::vector<Fd> under_way_;
};

// False: the deadline came. A peer that takes no more may have answered already, which is no
// reason not to read.
bool send_all(int fd, std::string_view text, Instant deadline) {
  while (!text.empty()) {
    const ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (count > 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return true;
    }
  }
  return true;
}

// "HTTP/1.1 202 Accepted" -> 202; 0: it is none.
int status_of(std::string_view head) {
  constexpr std::string_view kVersion = "HTTP/1.";
  constexpr size_t kStatusAt = kVersion.size() + 2;
  if (!head.starts_with(kVersion) || head.size() < kStatusAt + 3) return 0;
  int status = 0;
  const char* begin = head.data() + kStatusAt;
  const auto end = std::from_chars(begin, begin + 3, status);
  return end.ec == std::errc() && end.ptr == begin + 3 && status >= 100 ? status : 0;
}

int read_status(int fd, Instant deadline) {
  constexpr size_t kHeadBytesMax = 16 * 1024;
  std::string text;
  std::array<char, 2048> chunk{};
  while (text.size() < kHeadBytesMax) {
    // Heads of interim answers (1xx) precede the one that counts.
    for (size_t end = 0; (end = text.find("\r\n\r\n")) != std::string::npos;) {
      const int status = status_of(text);
      if (status / 100 != 1) return status;
      text.erase(0, end + 4);
    }
    if (!wait_for(fd, POLLIN, deadline)) return 0;
    const ssize_t count = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) return 0;
    if (count > 0) text.append(chunk.data(), static_cast<size_t>(count));
  }
  return 0;
}

}  // namespace

Fd connect_to_first(std::span<const SocketAddress> addresses, Instant deadline) {
  constexpr Duration kHeadStart = std::chrono::milliseconds(250);
  Attempts attempts;
  while (monotonic_now() < deadline && (!addresses.empty() || attempts.count() > 0)) {
    Instant until = deadline;
    if (!addresses.empty()) {
      attempts.begin(addresses.front());
      addresses = addresses.subspan(1);
      if (!addresses.empty()) until = std::min(until, monotonic_now() + kHeadStart);
    }
    if (attempts.count() == 0) continue;
    if (Fd fd = attempts.wait(until); fd.is_open()) return fd;
  }
  return {};
}

int post_json(const std::string& host, uint16_t port, const std::string& path,
              const std::string& body, Duration patience) {
  const Instant deadline = monotonic_now() + patience;
  const Fd fd = connect_to_first(resolve(host, port), deadline);
  if (!fd.is_open()) return 0;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  std::string text = "POST " + path + " HTTP/1.1\r\nHost: ";
  text += is_ipv6 ? "[" + host + "]" : host;
  text += ":" + std::to_string(port) +
          "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\nConnection: close\r\n\r\n";
  text += body;
  return send_all(fd.get(), text, deadline) ? read_status(fd.get(), deadline) : 0;
}

}  // namespace np::metrics
