// SPDX-License-Identifier: Apache-2.0
// Collector: a small server of HTTP on loopback that takes posts, one connection at a time, in a
// thread of its own. Behaves as told; what it was sent can be asked from any thread.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/check.h"
#include "base/fd.h"

namespace np::metrics {

class Collector {
 public:
  struct Post {
    std::string head, body;
  };
  enum class Manner : uint8_t {
    kAnswers,
    kReadsOnly,  // and never answers
    kStalls,     // takes the connection and reads nothing
    kDrips,      // answers a byte every 50 ms and never ends the first line
  };

  // `statuses`: of the first answers; the last one is that of all further ones.
  explicit Collector(std::vector<int> statuses = {202}, Manner manner = Manner::kAnswers,
                     const char* address = "127.0.0.1:0")
      : statuses_(std::move(statuses)), manner_(manner) {
    sockaddr_storage name{};
    socklen_t size = SocketAddress::parse(address)->to_sockaddr(&name);
    listener_.reset(::socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    NP_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
    NP_CHECK(::listen(listener_.get(), 16) == 0);
    size = sizeof(name);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size);
    port_ = SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&name)).port;
    thread_ = std::thread([this] { run(); });
  }
  ~Collector() {
    stopping_ = true;
    thread_.join();
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  uint16_t port() const { return port_; }
  std::vector<Post> posts() const {
    const std::lock_guard lock(mutex_);
    return posts_;
  }

 private:
  // False: nothing came, and it is time to go.
  bool is_readable(int fd) const {
    while (!stopping_) {
      pollfd polled{fd, POLLIN, 0};
      if (::poll(&polled, 1, 20) > 0) return true;
    }
    return false;
  }
  void run() {
    while (is_readable(listener_.get())) {
      const Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (manner_ == Manner::kStalls) {
        wait_for_stop();
      } else {
        serve(peer.get());
      }
    }
  }
  void wait_for_stop() const {
    while (!stopping_) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  void serve(int fd) {
    Post post;
    if (!read_post(fd, post)) return;
    int status = 0;
    {
      const std::lock_guard lock(mutex_);
      status = statuses_[std::min(posts_.size(), statuses_.size() - 1)];
      posts_.push_back(std::move(post));
    }
    if (manner_ == Manner::kReadsOnly) wait_for_stop();
    if (manner_ == Manner::kDrips) {
      for (char c = 'H'; !stopping_ && ::send(fd, &c, 1, MSG_NOSIGNAL) == 1;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
    if (manner_ != Manner::kAnswers) return;
    const std::string answer = "HTTP/1.1 " + std::to_string(status) +
                               " Word\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    (void)::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
  }
  bool read_post(int fd, Post& post) const {
    std::string text;
    std::string chunk(65536, '\0');
    for (size_t wanted = SIZE_MAX; text.size() < wanted;) {
      if (!is_readable(fd)) return false;
      const ssize_t count = ::recv(fd, chunk.data(), chunk.size(), 0);
      if (count <= 0) return false;
      text.append(chunk, 0, static_cast<size_t>(count));
      const size_t end = text.find("\r\n\r\n");
      if (wanted != SIZE_MAX || end == std::string::npos) continue;
      post.head = text.substr(0, end + 2);
      const size_t field = post.head.find("Content-Length: ");
      wanted = end + 4 + std::stoul(post.head.substr(field + 16));
    }
    post.body = text.substr(post.head.size() + 2);
    return true;
  }

  const std::vector<int> statuses_;
  const Manner manner_;
  Fd listener_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Post> posts_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace np::metrics
