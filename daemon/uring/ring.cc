// SPDX-License-Identifier: Apache-2.0
#include "uring/ring.h"

#include <liburing.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/fd.h"
#include "uring/constants.h"

namespace np::uring {
namespace {

// All that a shard ever asks for. URING_CMD could drive other files too, but the ring can only
// reach sockets: nothing here opens a file.
constexpr uint8_t kAllowedOperations[] = {
    IORING_OP_NOP,          IORING_OP_ACCEPT,       IORING_OP_RECV,     IORING_OP_SEND,
    IORING_OP_SENDMSG,      IORING_OP_CONNECT,      IORING_OP_SHUTDOWN, IORING_OP_CLOSE,
    IORING_OP_ASYNC_CANCEL, IORING_OP_FILES_UPDATE, IORING_OP_POLL_ADD, IORING_OP_READ,
    IORING_OP_URING_CMD,    IORING_OP_TIMEOUT,
};
static_assert(IORING_CQE_F_BUFFER == 1 && IORING_CQE_F_MORE == 2 && IORING_CQE_BUFFER_SHIFT == 16,
              "Completion reads the flags without liburing's header");
// Needed after the restrictions hold: by enable() itself, and when the ring is taken down.
constexpr uint8_t kAllowedRegisters[] = {
    IORING_REGISTER_ENABLE_RINGS,
    IORING_REGISTER_RING_FDS,
    IORING_UNREGISTER_RING_FDS,
};
constexpr uint8_t kAllowedSqeFlags =
    IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;

// WAITALL makes a short send a failure, which always completes; DONTWAIT keeps the ring from
// waiting for the rest by itself.
constexpr unsigned kQuietly = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;

__kernel_timespec timespec_of(Duration duration) {
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  return {duration.count() / kNanosecondsPerSecond, duration.count() % kNanosecondsPerSecond};
}

int read_io_uring_disabled() {
  int value = 0;
  FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%d", &value) != 1) value = 0;
  (void)std::fclose(file);
  return value;
}

// Why io_uring_setup was refused, as something that a person can change.
Error setup_error(int errno_value) {
  const char* what = "set up io_uring";
  if (errno_value == EPERM || errno_value == EACCES) {
    const int disabled = read_io_uring_disabled();
    if (disabled != 0) {
      return system_error(errno_value, what,
                          "sysctl kernel.io_uring_disabled is " + std::to_string(disabled) +
                              ": set it to 0, or to 1 with this user in kernel.io_uring_group");
    }
    return system_error(errno_value, what,
                        "a seccomp profile refuses io_uring_setup: the container runtime's default "
                        "does; use the profile that comes with nodeproxy (deploy/seccomp.json)");
  }
  if (errno_value == ENOMEM) {
    rlimit limit{};
    (void)::getrlimit(RLIMIT_MEMLOCK, &limit);
    return system_error(errno_value, what,
                        "RLIMIT_MEMLOCK is " + std::to_string(limit.rlim_cur) +
                            " bytes for this user: raise it, or use fewer workers");
  }
  if (errno_value == ENOSYS) {
    return system_error(errno_value, what, "this kernel has no io_uring: Linux 6.1 is needed");
  }
  return system_error(errno_value, what);
}

io_uring_params ring_params(const RingOptions& options, uint32_t flags) {
  io_uring_params params{};
  // SUBMIT_ALL: one bad operation must not hold up those queued behind it.
  params.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                 IORING_SETUP_SUBMIT_ALL | flags;
  params.cq_entries = options.completion_entries;
  return params;
}

void set_file(io_uring_sqe* sqe, File file) {
  if (file.fixed) sqe->flags |= IOSQE_FIXED_FILE;
}

struct SocketOption {
  int level;
  int name;
  const void* value;
  uint32_t size_bytes;
};

void prepare_set_option(io_uring_sqe* sqe, File file, const SocketOption& option) {
  std::memset(sqe, 0, sizeof *sqe);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = file.number;
  sqe->cmd_op = kSocketCommandSetOption;
  const uint64_t value = reinterpret_cast<uintptr_t>(option.value);
  char* raw = reinterpret_cast<char*>(sqe);
  std::memcpy(raw + kSqeOffsetLevel, &option.level, sizeof option.level);
  std::memcpy(raw + kSqeOffsetOptionName, &option.name, sizeof option.name);
  std::memcpy(raw + kSqeOffsetOptionLength, &option.size_bytes, sizeof option.size_bytes);
  std::memcpy(raw + kSqeOffsetOptionValue, &value, sizeof value);
  set_file(sqe, file);
}

}  // namespace

Ring::Ring() = default;

Ring::~Ring() {
  if (ring_) ::io_uring_queue_exit(ring_.get());
}

Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
  std::unique_ptr<Ring> ring(new Ring());
  NP_TRY(ring->open(options));
  return ring;
}

Result<void> Ring::open(const RingOptions& options) {
  auto handle = std::make_unique<io_uring>();
  int result = -EINVAL;
  if (options.prefer_defer_taskrun) {
    io_uring_params params =
        ring_params(options, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    result = ::io_uring_queue_init_params(options.submit_entries, handle.get(), &params);
    features_.defer_taskrun = result == 0;
  }
  if (result == -EINVAL) {  // below 6.1
    io_uring_params params = ring_params(options, IORING_SETUP_COOP_TASKRUN);
    result = ::io_uring_queue_init_params(options.submit_entries, handle.get(), &params);
    features_.coop_taskrun = result == 0;
  }
  if (result < 0) return setup_error(-result);
  ring_ = std::move(handle);
  if ((ring_->features & IORING_FEAT_EXT_ARG) == 0 || (ring_->features & IORING_FEAT_NODROP) == 0) {
    return Error{ErrorCode::kUnsupported, "set up io_uring", "this kernel's io_uring is too old",
                 "Linux 6.1 is needed"};
  }
  if (options.file_slots == 0) return ok();
  probe_features();
  // Without setsockopt on fixed files the linger option could not be changed at close.
  if (!features_.socket_options) return ok();
  result = ::io_uring_register_files_sparse(ring_.get(), options.file_slots);
  if (result == -EMFILE) {
    return system_error(EMFILE, "register " + std::to_string(options.file_slots) + " file slots",
                        "RLIMIT_NOFILE bounds the table: raise it");
  }
  if (result < 0) return system_error(-result, "register the file table");
  features_.fixed_files = true;
  return ok();
}

// The ring itself is still disabled, so a small one of its own is asked.
void Ring::probe_features() {
  io_uring probe{};
  if (::io_uring_queue_init(2, &probe, 0) < 0) return;
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  io_uring_sqe* sqe = ::io_uring_get_sqe(&probe);
  if (socket.is_open() && sqe != nullptr) {
    prepare_set_option(sqe, File{socket.get(), false}, {SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on});
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_submit(&probe) == 1 && ::io_uring_wait_cqe(&probe, &cqe) == 0) {
      features_.socket_options = cqe->res == 0;
    }
  }
  if (io_uring_probe* operations = ::io_uring_get_probe_ring(&probe)) {
    features_.export_files = ::io_uring_opcode_supported(operations, kOperationExportFile) != 0;
    ::io_uring_free_probe(operations);
  }
  ::io_uring_queue_exit(&probe);
}

Result<void> Ring::seal() {
  std::vector<io_uring_restriction> list;
  for (const uint8_t operation : kAllowedOperations) {
    io_uring_restriction entry{};
    entry.opcode = IORING_RESTRICTION_SQE_OP;
    entry.sqe_op = operation;
    list.push_back(entry);
  }
  if (features_.export_files) {  // older kernels refuse the whole list for a number unknown to them
    io_uring_restriction entry{};
    entry.opcode = IORING_RESTRICTION_SQE_OP;
    entry.sqe_op = kOperationExportFile;
    list.push_back(entry);
  }
  for (const uint8_t operation : kAllowedRegisters) {
    io_uring_restriction entry{};
    entry.opcode = IORING_RESTRICTION_REGISTER_OP;
    entry.register_op = operation;
    list.push_back(entry);
  }
  io_uring_restriction flags{};
  flags.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  flags.sqe_flags = kAllowedSqeFlags;
  list.push_back(flags);
  const int result = ::io_uring_register_restrictions(ring_.get(), list.data(),
                                                      static_cast<unsigned>(list.size()));
  if (result < 0) return system_error(-result, "restrict the ring's operations");
  sealed_ = true;
  return ok();
}

Result<void> Ring::enable() {
  NP_CHECK(sealed_);
  int result = ::io_uring_enable_rings(ring_.get());
  if (result < 0) return system_error(-result, "enable the ring");
  // Saves looking up the ring's descriptor at each call; nothing is lost without it.
  result = ::io_uring_register_ring_fd(ring_.get());
  if (result < 0 && result != -EINVAL) return system_error(-result, "register the ring's fd");
  return ok();
}

io_uring_sqe* Ring::next_sqe() {
  io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
  while (sqe == nullptr) {
    (void)submit();
    sqe = ::io_uring_get_sqe(ring_.get());
  }
  return sqe;
}

void Ring::accept_multishot(int listener, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_multishot_accept(sqe, listener, nullptr, nullptr, SOCK_CLOEXEC);
  sqe->user_data = user_data;
}

void Ring::receive_multishot(File file, uint16_t buffer_group, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_recv_multishot(sqe, file.number, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = buffer_group;
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::send(File file, const void* bytes, size_t size, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_send(sqe, file.number, bytes, size, MSG_NOSIGNAL);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::send_message(File file, const msghdr* message, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_sendmsg(sqe, file.number, message, MSG_NOSIGNAL);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::send_quietly(File file, const void* bytes, size_t size, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_send(sqe, file.number, bytes, size, kQuietly);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::send_message_quietly(File file, const msghdr* message, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_sendmsg(sqe, file.number, message, kQuietly);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::connect(File file, const sockaddr* address, uint32_t length, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_connect(sqe, file.number, address, length);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::poll_writable(File file, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  constexpr unsigned kPollOut = 4;
  ::io_uring_prep_poll_add(sqe, file.number, kPollOut);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

// Failures and ends are waited for whatever the mask says.
void Ring::poll_end(File file, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_poll_add(sqe, file.number, 0);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::shutdown_write(File file, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_shutdown(sqe, file.number, SHUT_WR);
  set_file(sqe, file);
  sqe->user_data = user_data;
}

void Ring::read(int fd, void* out, uint32_t size, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_read(sqe, fd, out, size, 0);
  sqe->user_data = user_data;
}

void Ring::set_socket_option(File file, int level, int name, const void* value, uint32_t size,
                             uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  prepare_set_option(sqe, file, {level, name, value, size});
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe->user_data = user_data;
}

void Ring::install_file(int32_t* fd, uint32_t slot, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_files_update(sqe, fd, 1, static_cast<int>(slot));
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe->user_data = user_data;
}

void Ring::export_file(uint32_t slot, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_nop(sqe);
  sqe->opcode = kOperationExportFile;  // close-on-exec, unless asked otherwise
  sqe->fd = static_cast<int32_t>(slot);
  sqe->flags |= IOSQE_FIXED_FILE;
  sqe->user_data = user_data;
}

void Ring::close_fd(int fd, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_close(sqe, fd);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe->user_data = user_data;
}

void Ring::close_file(uint32_t slot, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_close_direct(sqe, slot);
  sqe->user_data = user_data;
}

void Ring::cancel(uint64_t target, uint64_t user_data) {
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_cancel64(sqe, target, 0);
  sqe->user_data = user_data;
}

uint32_t Ring::queued() const {
  return ::io_uring_sq_ready(ring_.get());
}

int Ring::submit() {
  ++submit_calls_;
  const int result = ::io_uring_submit(ring_.get());
  // EBUSY and EAGAIN: completions must be reaped first, or memory is short; the queue is kept.
  if (result == -EBUSY || result == -EAGAIN) {
    (void)::io_uring_get_events(ring_.get());
  }
  return result < 0 ? -result : 0;
}

void Ring::repeat_timer(Duration period, uint64_t user_data) {
  period_ = timespec_of(period);
  io_uring_sqe* sqe = next_sqe();
  ::io_uring_prep_timeout(sqe, &period_, 0, kTimeoutMultishot);
  sqe->user_data = user_data;
}

int Ring::submit_and_wait(Duration timeout) {
  ++submit_calls_;
  const int result = enter(timeout);
  if (result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY ||
      result == -EAGAIN) {
    return 0;
  }
  return -result;
}

// Only a wait that may end by itself needs a timer.
int Ring::enter(Duration timeout) {
  if (timeout <= Duration::zero()) return ::io_uring_submit_and_get_events(ring_.get());
  if (timeout == kForever) return ::io_uring_submit_and_wait(ring_.get(), 1);
  __kernel_timespec wait = timespec_of(timeout);
  io_uring_cqe* cqe = nullptr;
  return ::io_uring_submit_and_wait_timeout(ring_.get(), &cqe, 1, &wait, nullptr);
}

bool Ring::has_overflow() const {
  return ::io_uring_cq_has_overflow(ring_.get());
}

size_t Ring::reap(std::span<Completion> out) {
  unsigned head = 0;
  size_t taken = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring_.get(), head, cqe) {
    if (taken == out.size()) break;
    out[taken++] = Completion{cqe->user_data, cqe->res, cqe->flags};
  }
  ::io_uring_cq_advance(ring_.get(), static_cast<unsigned>(taken));
  return taken;
}

}  // namespace np::uring
