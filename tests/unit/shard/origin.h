// SPDX-License-Identifier: Apache-2.0
// Origin: a small HTTP/1.1 server for tests, one thread per connection.
//   GET  /hello       "hello"             POST /echo     the request's body
//   GET  /bytes/N     N times 'b'         GET  /chunks/N N chunks of "chunk"
//   GET  /cut         promises 1000 bytes, sends 10 and resets
//   POST /ignore      answers at once, without reading the body, and closes
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "shard/shard_pool.h"

namespace np::test {

class Origin {
 public:
  explicit Origin(const char* bind = "127.0.0.1:0") {
    listener_ = std::move(shard::open_listener(*SocketAddress::parse(bind))).value();
    address_ = shard::local_address(listener_.get()).value();
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~Origin() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
  }
  std::string address() const { return address_.to_string(); }
  uint64_t requests() const { return requests_; }
  uint64_t connections() const { return connections_; }
  uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  void accept_all() {
    while (true) {
      const int fd = ::accept(listener_.get(), nullptr, nullptr);
      if (fd < 0 && errno == EINTR) continue;
      if (fd < 0) return;
      ++connections_;
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }
  void serve(int fd) {
    std::string input;
    while (serve_one(fd, input)) {
    }
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }
  static bool read_more(int fd, std::string& input) {
    char block[65536];
    const ssize_t got = ::recv(fd, block, sizeof block, 0);
    if (got > 0) input.append(block, static_cast<size_t>(got));
    return got > 0;
  }
  bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent =
          ::send(fd, bytes.data(), std::min<size_t>(bytes.size(), 65536), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      sent_bytes_ += static_cast<uint64_t>(sent);
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  bool answer(int fd, const std::string& body, const std::string& extra = "") {
    return write_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                             "\r\n" + extra + "\r\n" + body);
  }
  bool serve_one(int fd, std::string& input) {
    size_t end = 0;
    while ((end = input.find("\r\n\r\n")) == std::string::npos) {
      if (!read_more(fd, input)) return false;
    }
    const std::string head = input.substr(0, end + 2);
    input.erase(0, end + 4);
    ++requests_;
    const size_t target_at = head.find(' ') + 1;
    const std::string target = head.substr(target_at, head.find(' ', target_at) - target_at);
    if (target == "/ignore") {
      (void)answer(fd, "ignored", "Connection: close\r\n");
      return false;
    }
    std::string body;
    if (!read_body(fd, head, input, body)) return false;
    if (target == "/echo") return answer(fd, body);
    if (target == "/cut") {
      (void)write_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789");
      const linger reset{1, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      return false;
    }
    if (target.starts_with("/bytes/"))
      return answer(fd, std::string(std::stoul(target.substr(7)), 'b'));
    if (target.starts_with("/chunks/")) {
      std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      for (size_t i = std::stoul(target.substr(8)); i > 0; --i) out += "5\r\nchunk\r\n";
      return write_all(fd, out + "0\r\n\r\n");
    }
    return answer(fd, "hello");
  }
  static std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return text;
  }
  bool read_body(int fd, const std::string& head, std::string& input, std::string& body) {
    const std::string small = lower(head);
    const size_t at = small.find("content-length:");
    if (at != std::string::npos) {
      const size_t length = std::stoul(small.substr(at + 15));
      while (input.size() < length) {
        if (!read_more(fd, input)) return false;
      }
      body = input.substr(0, length);
      input.erase(0, length);
      return true;
    }
    if (small.find("transfer-encoding: chunked") == std::string::npos) return true;
    while (true) {
      size_t end = 0;
      while ((end = input.find("\r\n")) == std::string::npos) {
        if (!read_more(fd, input)) return false;
      }
      const size_t size = std::stoul(input.substr(0, end), nullptr, 16);
      while (input.size() < end + 2 + size + 2) {
        if (!read_more(fd, input)) return false;
      }
      body += input.substr(end + 2, size);
      input.erase(0, end + 2 + size + 2);
      if (size == 0) return true;
    }
  }

  Fd listener_;
  SocketAddress address_;
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> connections_{0};
  std::atomic<uint64_t> sent_bytes_{0};
};

}  // namespace np::test
