// SPDX-License-Identifier: Apache-2.0
#include "uring/wake_probe.h"

#include <liburing.h>
#include <poll.h>

#include <array>

namespace np::uring {
namespace {

constexpr unsigned kEntries = 8;
constexpr int kBufferGroup = 1;
constexpr int kBuffers = 8;
constexpr int kBufferBytes = 4096;

}  // namespace

class WakeProbe::Impl {
 public:
  Impl() = default;
  ~Impl() {
    if (is_open_) ::io_uring_queue_exit(&ring_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> arm(int socket, Kind kind) {
    if (const int failure = ::io_uring_queue_init(kEntries, &ring_, 0); failure < 0) {
      return system_error(-failure, "set up io_uring");
    }
    is_open_ = true;
    if (kind == Kind::kReceiveMultishot) NP_TRY(provide_buffers());
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (kind == Kind::kPoll) {
      ::io_uring_prep_poll_add(sqe, socket, POLLIN);
    } else if (kind == Kind::kReceive) {
      ::io_uring_prep_recv(sqe, socket, bytes_.data(), kBufferBytes, 0);
    } else {
      ::io_uring_prep_recv_multishot(sqe, socket, nullptr, 0, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = kBufferGroup;
    }
    if (const int submitted = ::io_uring_submit(&ring_); submitted < 0) {
      return system_error(-submitted, "submit to io_uring");
    }
    return ok();
  }

  std::optional<int> wait(Duration patience) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
    __kernel_timespec limit{};
    limit.tv_sec = seconds.count();
    limit.tv_nsec = (patience - seconds).count();
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_wait_cqe_timeout(&ring_, &cqe, &limit) != 0 || cqe == nullptr) {
      return std::nullopt;
    }
    const int result = cqe->res;
    ::io_uring_cqe_seen(&ring_, cqe);
    return result;
  }

 private:
  Result<void> provide_buffers() {
    ::io_uring_prep_provide_buffers(::io_uring_get_sqe(&ring_), bytes_.data(), kBufferBytes,
                                    kBuffers, kBufferGroup, 0);
    const int submitted = ::io_uring_submit(&ring_);
    const std::optional<int> result = wait(std::chrono::seconds(1));
    if (submitted == 1 && result && *result >= 0) return ok();
    return Error{ErrorCode::kUnsupported, "provide buffers to io_uring", "it refuses them", ""};
  }

  io_uring ring_{};
  bool is_open_ = false;
  std::array<char, static_cast<size_t>(kBuffers) * kBufferBytes> bytes_{};
};

WakeProbe::WakeProbe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WakeProbe::~WakeProbe() = default;

Result<std::unique_ptr<WakeProbe>> WakeProbe::arm(int socket, Kind kind) {
  auto impl = std::make_unique<Impl>();
  NP_TRY(impl->arm(socket, kind));
  return std::unique_ptr<WakeProbe>(new WakeProbe(std::move(impl)));
}

std::optional<int> WakeProbe::wait(Duration patience) {
  return impl_->wait(patience);
}

}  // namespace np::uring
