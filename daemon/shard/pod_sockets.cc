// SPDX-License-Identifier: Apache-2.0
#include "shard/pod_sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/fd.h"
#include "base/random.h"
#include "base/time.h"

namespace np::shard {
namespace {

constexpr size_t kRequestsMax = 4096;

bool set_int(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

}  // namespace

PodSocketThread::PodSocketThread(const PodSocketOptions& options, Peers& peers, uring::Waker waker)
    : options_(options), peers_(peers), inbox_(std::move(waker), kRequestsMax) {
  // A successor should not begin with the ports that its predecessor's last connections hold.
  next_port_ = Rng(wall_clock_ns()).below(UINT16_MAX);
}

Result<std::unique_ptr<PodSocketThread>> PodSocketThread::create(const PodSocketOptions& options,
                                                                 Peers& peers) {
  if (options.port_lo == 0 || options.port_lo > options.port_hi) {
    return Error{ErrorCode::kInvalid, "start the pod socket thread", "the port band is empty", ""};
  }
  NP_TRY_ASSIGN(uring::Waker waker, uring::Waker::create());
  std::unique_ptr<PodSocketThread> self(new PodSocketThread(options, peers, std::move(waker)));
  std::promise<int> entered;
  std::future<int> result = entered.get_future();
  self->thread_ = std::thread(&PodSocketThread::run, self.get(), std::move(entered));
  const int errno_value = result.get();
  if (errno_value != 0) {
    return system_error(errno_value, "enter the proxy network namespace",
                        "needs CAP_SYS_ADMIN until privileges are dropped");
  }
  return self;
}

PodSocketThread::~PodSocketThread() {
  PodSocketRequest stop;
  stop.stop = true;
  while (!inbox_.try_push(PodSocketRequest(stop))) std::this_thread::yield();
  thread_.join();
}

void PodSocketThread::run(std::promise<int> entered) {
  entered.set_value(::setns(options_.netns_fd, CLONE_NEWNET) == 0 ? 0 : errno);
  while (true) {
    inbox_.waker().wait();
    inbox_.waker().acknowledge();
    while (auto request = inbox_.try_pop()) {
      if (request->stop) return;
      serve(*request);
    }
  }
}

void PodSocketThread::serve(const PodSocketRequest& request) {
  const int made = make(request);
  PodSocketReady ready;
  ready.slot = request.slot;
  ready.generation = request.generation;
  if (made >= 0) {
    ready.fd = Fd(made);
  } else {
    ready.errno_value = -made;
  }
  ShardMessage message(std::move(ready));
  // The shard is waiting for exactly this, so it cannot be dropped; its inbox is drained at each
  // iteration.
  // NOLINTNEXTLINE(bugprone-use-after-move): it is moved from only when the push succeeds
  while (!peers_.inboxes[request.shard]->try_push(std::move(message))) std::this_thread::yield();
}

int PodSocketThread::make(const PodSocketRequest& request) {
  const auto band = static_cast<uint32_t>(options_.port_hi - options_.port_lo) + 1;
  const uint32_t tries = options_.tries < band ? options_.tries : band;
  int result = -EADDRNOTAVAIL;
  for (uint32_t i = 0; i < tries; ++i) {
    const auto port = static_cast<uint16_t>(options_.port_lo + next_port_ % band);
    ++next_port_;
    result = try_port(request, port);
    // EADDRNOTAVAIL: the 4-tuple exists. EADDRINUSE: somebody holds the port alone.
    if (result != -EADDRNOTAVAIL && result != -EADDRINUSE) return result;
  }
  return -EADDRNOTAVAIL;
}

int PodSocketThread::try_port(const PodSocketRequest& request, uint16_t port) const {
  sockaddr_storage source{};
  sockaddr_storage remote{};
  const unsigned source_length = SocketAddress{request.source, port}.to_sockaddr(&source);
  const unsigned remote_length = request.remote.to_sockaddr(&remote);
  Fd fd(::socket(source.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return -errno;
  // Reuse: one port may lead to many remotes. The address is the pod's, not ours: IPv6 needs
  // FREEBIND, IPv4 finds the netns' local default route (R29).
  if (!set_int(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1)) return -errno;
  if (source.ss_family == AF_INET6 && !set_int(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND, 1)) {
    return -errno;
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&source), source_length) != 0) {
    return -errno;
  }
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&remote), remote_length) != 0 &&
      errno != EINPROGRESS) {
    return -errno;
  }
  // The ring wants blocking sockets: it answers EAGAIN for others instead of waiting.
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) return -errno;
  return fd.release();
}

}  // namespace np::shard
