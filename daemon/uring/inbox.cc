// SPDX-License-Identifier: Apache-2.0
#include "uring/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace np::uring {

Result<Waker> Waker::create() {
  // Blocking on purpose: io_uring answers a read of a non-blocking empty eventfd with EAGAIN
  // instead of waiting for it.
  Fd fd(::eventfd(0, EFD_CLOEXEC));
  if (!fd.is_open()) return system_error(errno, "create an eventfd");
  return Waker(std::move(fd));
}

void Waker::wake() {
  // One write is enough until the reader has acknowledged it: it then looks at everything that was
  // pushed before its acknowledgement.
  if (pending_.exchange(true, std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Waker::wait() {
  uint64_t value = 0;
  while (::read(fd_.get(), &value, sizeof value) < 0 && errno == EINTR) {
  }
}

}  // namespace np::uring
