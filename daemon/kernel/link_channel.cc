// SPDX-License-Identifier: Apache-2.0
#include "kernel/link_channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace np::kernel {

namespace {

// Room for a whole hand-over (about 150 messages) before the worker reads the first of them.
constexpr int kSocketBufferBytes = 1024 * 1024;

Error link_error(const char* what) {
  return Error{ErrorCode::kSystem, "talk to the other process of nodeproxyd", what, ""};
}

// Takes ownership of what came as ancillary data; more than one fd is never asked for.
Fd take_fd(msghdr* message) {
  Fd first;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
      Fd owned(fd);
      if (!first.is_open()) first = std::move(owned);
    }
  }
  return first;
}

}  // namespace

Result<std::pair<Fd, Fd>> LinkChannel::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error(errno, "make the link between supervisor and worker");
  }
  for (const int end : ends) {
    // Beyond wmem_max where we are root; where we are not, the default holds about 170 messages.
    if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBufferBytes,
                     sizeof(kSocketBufferBytes)) != 0) {
      ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
    }
  }
  return std::pair<Fd, Fd>(Fd(ends[0]), Fd(ends[1]));
}

Result<void> LinkChannel::send_bytes(link::Kind kind, uint32_t id, const void* body, size_t size,
                                     int fd) {
  link::Header header;
  header.kind = kind;
  header.id = id;
  header.body_bytes = static_cast<uint32_t>(size);
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<void*>(body), size}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = size > 0 ? 2 : 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd, sizeof(fd));
  }
  for (;;) {
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return ok();
    if (errno != EINTR) return system_error(errno, "send to the other process of nodeproxyd");
  }
}

Result<LinkMessage> LinkChannel::receive(Duration patience) {
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(patience).count();
  pollfd poller{socket_.get(), POLLIN, 0};
  const int ready = ::poll(&poller, 1, static_cast<int>(wait));
  if (ready == 0 || (ready < 0 && errno == EINTR)) {
    return Error{ErrorCode::kNotFound, "wait for the other process of nodeproxyd", "no message",
                 ""};
  }
  char bytes[link::kMessageBytesMax];
  iovec part{bytes, sizeof(bytes)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0) return system_error(errno, "receive from the other process of nodeproxyd");
  LinkMessage received;
  received.fd = take_fd(&message);
  if (got == 0) return link_error("it is gone");
  link::Header header;
  if (static_cast<size_t>(got) < sizeof(header) || (message.msg_flags & MSG_TRUNC) != 0) {
    return link_error("a message of a wrong size came");
  }
  std::memcpy(&header, bytes, sizeof(header));
  const size_t body_bytes = static_cast<size_t>(got) - sizeof(header);
  if (header.magic != link::kMagic || header.body_bytes != body_bytes) {
    return link_error("a message of a wrong layout came");
  }
  received.kind = header.kind;
  received.id = header.id;
  received.body.assign(bytes + sizeof(header), bytes + got);
  return received;
}

}  // namespace np::kernel
