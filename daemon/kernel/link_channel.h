// SPDX-License-Identifier: Apache-2.0
// LinkChannel: sends and receives the messages of link_protocol.h. Owns one end of the socket pair.
// The supervisor's end never blocks; the worker's end waits for answers. One thread per end.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "kernel/link_protocol.h"

namespace np::kernel {

struct LinkMessage {
  link::Kind kind{};
  uint32_t id = 0;
  std::vector<char> body;
  Fd fd;  // not open when none came

  // The body as a `T`; nothing when its size is another.
  template <typename T>
  std::optional<T> as() const {
    T value;
    if (body.size() != sizeof(T)) return std::nullopt;
    std::memcpy(&value, body.data(), sizeof(T));
    return value;
  }
};

class LinkChannel {
 public:
  explicit LinkChannel(Fd socket) : socket_(std::move(socket)) {}
  // Both ends of a new channel.
  static Result<std::pair<Fd, Fd>> make_pair();

  int fd() const { return socket_.get(); }
  bool is_open() const { return socket_.is_open(); }
  void close() { socket_.reset(); }

  template <typename T>
  Result<void> send(link::Kind kind, uint32_t id, const T& body, int fd = -1) {
    return send_bytes(kind, id, &body, sizeof(body), fd);
  }
  Result<void> send_empty(link::Kind kind, uint32_t id) {
    return send_bytes(kind, id, nullptr, 0, -1);
  }
  // Waits at most `patience`. kNotFound: nothing came; kSystem: the other end is gone or sent what
  // is no message.
  Result<LinkMessage> receive(Duration patience);

 private:
  Result<void> send_bytes(link::Kind kind, uint32_t id, const void* body, size_t size, int fd);

  Fd socket_;
};

}  // namespace np::kernel
