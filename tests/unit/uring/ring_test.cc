// SPDX-License-Identifier: Apache-2.0
// The ring against the real kernel, on socket pairs.
#include "uring/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "uring/user_data.h"

namespace np::uring {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<Ring> make_ring(RingOptions options = {}) {
  if (options.file_slots == 0) options.file_slots = 16;
  auto ring = Ring::create(options);
  EXPECT_TRUE(ring.has_value()) << (ring ? "" : ring.error().to_string());
  EXPECT_TRUE((*ring)->seal().has_value());
  const auto enabled = (*ring)->enable();
  EXPECT_TRUE(enabled.has_value()) << (enabled ? "" : enabled.error().to_string());
  return std::move(ring).value();
}

std::pair<Fd, Fd> socket_pair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

// The next completions, until `wanted` have come or nothing more does.
std::vector<Completion> collect(Ring& ring, size_t wanted) {
  std::vector<Completion> all;
  std::array<Completion, 64> batch;
  for (size_t round = 0; round < wanted + 20 && all.size() < wanted; ++round) {
    EXPECT_EQ(ring.submit_and_wait(50ms), 0);
    const size_t taken = ring.reap(batch);
    all.insert(all.end(), batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  return all;
}

int32_t result_of(const std::vector<Completion>& all, uint64_t user_data) {
  for (const Completion& one : all) {
    if (one.user_data == user_data) return one.result;
  }
  return INT32_MIN;
}

// design.md 8.1: seccomp does not see what a ring does, the ring's own restrictions must.
TEST(Ring, CannotOpenFiles) {
  const auto ring = make_ring();
  io_uring* native = ring->native();
  open_how how{};
  struct statx facts {};
  struct Forbidden {
    const char* name;
    void (*prepare)(io_uring_sqe*, void*);
    void* argument;
  };
  const Forbidden list[] = {
      {"OPENAT",
       [](io_uring_sqe* sqe, void*) {
         ::io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
       },
       nullptr},
      {"OPENAT2",
       [](io_uring_sqe* sqe, void* argument) {
         ::io_uring_prep_openat2(sqe, AT_FDCWD, "/etc/passwd", static_cast<open_how*>(argument));
       },
       &how},
      {"UNLINKAT",
       [](io_uring_sqe* sqe, void*) { ::io_uring_prep_unlinkat(sqe, AT_FDCWD, "/nowhere", 0); },
       nullptr},
      {"RENAMEAT",
       [](io_uring_sqe* sqe, void*) {
         ::io_uring_prep_renameat(sqe, AT_FDCWD, "/nowhere", AT_FDCWD, "/elsewhere", 0);
       },
       nullptr},
      {"STATX",
       [](io_uring_sqe* sqe, void* argument) {
         ::io_uring_prep_statx(sqe, AT_FDCWD, "/etc/passwd", 0, STATX_SIZE,
                               static_cast<struct statx*>(argument));
       },
       &facts},
  };
  uint64_t number = 1;
  for (const Forbidden& one : list) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(native);
    ASSERT_NE(sqe, nullptr);
    one.prepare(sqe, one.argument);
    sqe->user_data = number;
    EXPECT_EQ(result_of(collect(*ring, 1), number), -EACCES) << one.name;
    ++number;
  }
}

TEST(Ring, CannotBeGivenMoreRights) {
  const auto ring = make_ring();
  io_uring_restriction all{};
  all.opcode = IORING_RESTRICTION_SQE_OP;
  all.sqe_op = IORING_OP_OPENAT;
  EXPECT_LT(::io_uring_register_restrictions(ring->native(), &all, 1), 0);
  const int fd = 0;
  EXPECT_LT(::io_uring_register_files(ring->native(), &fd, 1), 0);
}

TEST(Ring, SendsAndReceivesThroughTheFixedTable) {
  const auto ring = make_ring();
  if (!ring->features().fixed_files) GTEST_SKIP() << "no setsockopt through the ring (Linux 6.7)";
  auto [near, far] = socket_pair();
  int32_t number = near.release();
  ring->install_file(&number, 3, 1);
  ring->close_fd(number, 2);
  ring->send({3, true}, "hello", 5, 3);
  const auto all = collect(*ring, 1);
  EXPECT_EQ(all.size(), 1U);  // install and close say nothing when they succeed
  EXPECT_EQ(result_of(all, 3), 5);
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);  // the descriptor is gone, the socket lives
  std::array<char, 8> text{};
  EXPECT_EQ(::recv(far.get(), text.data(), text.size(), 0), 5);
  ring->close_file(3, 4);
  EXPECT_EQ(result_of(collect(*ring, 1), 4), 0);
  EXPECT_EQ(::recv(far.get(), text.data(), text.size(), 0), 0);
}

TEST(Ring, QuietSendSaysNothingWhenAllWasTaken) {
  const auto ring = make_ring();
  auto [ours, theirs] = socket_pair();
  char bytes[] = "all of it", again[] = " twice";
  iovec part{again, 6};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ring->send_quietly({ours.get(), false}, bytes, 9, 1);
  ring->send_message_quietly({ours.get(), false}, &message, 2);
  ASSERT_EQ(ring->submit(), 0);
  EXPECT_EQ(ring->queued(), 0U);
  std::memset(bytes, 'x', sizeof bytes);  // the kernel needs them no more
  std::memset(again, 'x', sizeof again);
  EXPECT_TRUE(collect(*ring, 1).empty());
  char got[32] = {};
  EXPECT_EQ(::read(theirs.get(), got, sizeof got), 15);
  EXPECT_STREQ(got, "all of it twice");
}

// What it took of the bytes is said before anything else can be concluded: with the submission.
TEST(Ring, QuietSendTellsWhatItCouldNotTake) {
  const auto ring = make_ring();
  const auto [ours, theirs] = socket_pair();
  const std::string large(8 << 20, 'a');
  ring->send_quietly({ours.get(), false}, large.data(), large.size(), 1);
  ring->send_quietly({ours.get(), false}, large.data(), large.size(), 2);
  ASSERT_EQ(ring->submit(), 0);
  std::array<Completion, 4> found;
  ASSERT_EQ(ring->reap(found), 2U);
  EXPECT_FALSE(ring->has_overflow());
  EXPECT_EQ(found[0].user_data, 1U);
  EXPECT_GT(found[0].result, 0);
  EXPECT_LT(found[0].result, static_cast<int32_t>(large.size()));
  EXPECT_EQ(found[1].user_data, 2U);
  EXPECT_EQ(found[1].result, -EAGAIN);
}

TEST(Ring, QuietSendTellsOfAnEnd) {
  const auto ring = make_ring();
  auto [ours, theirs] = socket_pair();
  theirs = Fd();
  ring->send_quietly({ours.get(), false}, "x", 1, 7);
  const auto all = collect(*ring, 1);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].result, -EPIPE);
}

TEST(Ring, SetsLingerOnAFixedFile) {
  const auto ring = make_ring();
  if (!ring->features().fixed_files) GTEST_SKIP() << "no setsockopt through the ring (Linux 6.7)";
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int32_t number = socket.get();
  const linger wanted{1, 0};
  ring->install_file(&number, 0, 1);
  ring->set_socket_option({0, true}, SOL_SOCKET, SO_LINGER, &wanted, sizeof wanted, 2);
  ring->set_socket_option({0, true}, SOL_SOCKET, -1, &wanted, sizeof wanted, 3);
  const auto all = collect(*ring, 1);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_LT(result_of(all, 3), 0);  // only the failure speaks
  linger found{};
  socklen_t length = sizeof found;
  ASSERT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &found, &length), 0);
  EXPECT_EQ(found.l_onoff, 1);
}

TEST(Ring, AFixedFileGetsADescriptorAndLivesOn) {
  const auto ring = make_ring();
  if (!ring->features().export_files) GTEST_SKIP() << "needs Linux 6.8";
  auto [near, far] = socket_pair();
  int32_t number = near.get();
  ring->install_file(&number, 3, 1);
  ring->close_fd(near.release(), 2);
  ring->export_file(3, 4);
  const Fd descriptor(result_of(collect(*ring, 1), 4));
  ASSERT_TRUE(descriptor.is_open());
  EXPECT_EQ(::fcntl(descriptor.get(), F_GETFD), FD_CLOEXEC);
  ring->close_file(3, 5);
  EXPECT_EQ(result_of(collect(*ring, 1), 5), 0);
  // The socket has not ended with its place in the table.
  EXPECT_EQ(::send(descriptor.get(), "x", 1, MSG_NOSIGNAL), 1);
  char byte = 0;
  EXPECT_EQ(::recv(far.get(), &byte, 1, 0), 1);
  EXPECT_EQ(::recv(far.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
  ring->export_file(3, 6);
  EXPECT_EQ(result_of(collect(*ring, 1), 6), -EBADF);
}

TEST(Ring, OneEntryQueueFlushesItself) {
  RingOptions options;
  options.submit_entries = 1;
  options.completion_entries = 2;
  const auto ring = make_ring(options);
  auto [near, far] = socket_pair();
  for (uint64_t i = 0; i < 50; ++i) ring->send({near.get(), false}, "x", 1, i + 1);
  const auto all = collect(*ring, 50);
  ASSERT_EQ(all.size(), 50U);  // none is lost although two fit
  for (const Completion& one : all) EXPECT_EQ(one.result, 1);
}

TEST(Ring, WaitsNoLongerThanAsked) {
  const auto ring = make_ring();
  const Instant before = monotonic_now();
  EXPECT_EQ(ring->submit_and_wait(30ms), 0);
  const Duration took = monotonic_now() - before;
  EXPECT_GE(took, 29ms);
  EXPECT_LT(took, 500ms);
  EXPECT_EQ(ring->submit_and_wait(Duration::zero()), 0);
  EXPECT_EQ(ring->submit_and_wait(-1s), 0);
}

TEST(Ring, ATimerThatGoesOnEndsWaitsWithoutAnEnd) {
  const auto ring = make_ring();
  ring->repeat_timer(10ms, 7);
  const Instant before = monotonic_now();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(ring->submit_and_wait(Ring::kForever), 0);
    std::array<Completion, 4> got;
    ASSERT_EQ(ring->reap(got), 1U);
    EXPECT_EQ(got[0].user_data, 7U);
    EXPECT_EQ(got[0].result, -ETIME);
    EXPECT_TRUE(got[0].has_more());
  }
  EXPECT_GE(monotonic_now() - before, 29ms);
}

TEST(Ring, CancelRacesWithCompletion) {
  const auto ring = make_ring();
  for (int i = 0; i < 500; ++i) {
    auto [near, far] = socket_pair();
    char byte = 0;
    ring->read(near.get(), &byte, 1, 10);
    EXPECT_EQ(ring->submit_and_wait(Duration::zero()), 0);
    std::thread writer([fd = far.get()] { EXPECT_EQ(::write(fd, "w", 1), 1); });
    if (i % 2 == 0) std::this_thread::yield();
    ring->cancel(10, 11);
    const auto all = collect(*ring, 2);
    writer.join();
    // Whoever wins, both complete exactly once.
    ASSERT_EQ(all.size(), 2U);
    const int32_t read = result_of(all, 10);
    EXPECT_TRUE(read == 1 || read == -ECANCELED) << read;
    EXPECT_GE(result_of(all, 11), -ENOENT);
  }
}

TEST(Ring, FallbackWithoutDeferredTaskWork) {
  RingOptions options;
  options.prefer_defer_taskrun = false;
  const auto ring = make_ring(options);
  EXPECT_TRUE(ring->features().coop_taskrun);
  EXPECT_FALSE(ring->features().defer_taskrun);
  auto [near, far] = socket_pair();
  ring->send({near.get(), false}, "abc", 3, 1);
  EXPECT_EQ(result_of(collect(*ring, 1), 1), 3);
}

TEST(Ring, IsMadeOnOneThreadAndUsedOnAnother) {
  RingOptions options;
  options.file_slots = 4;
  auto ring = Ring::create(options).value();
  ASSERT_TRUE(ring->seal().has_value());
  std::thread user([&] {
    ASSERT_TRUE(ring->enable().has_value());
    auto [near, far] = socket_pair();
    ring->send({near.get(), false}, "abc", 3, 1);
    EXPECT_EQ(result_of(collect(*ring, 1), 1), 3);
  });
  user.join();
}

// Exit code of a child in which io_uring_setup fails with `errno_value`: 0 when the error names
// `cause`.
int refused_child(int errno_value, const char* cause) {
  const pid_t child = ::fork();
  if (child == 0) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(errno_value)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{4, program};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
      ::_exit(2);
    }
    const auto ring = Ring::create({});
    const bool named = !ring && ring.error().to_string().find(cause) != std::string::npos;
    ::_exit(named ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Ring, NamesWhatRefusedIt) {
  EXPECT_EQ(refused_child(EPERM, "seccomp"), 0);
  EXPECT_EQ(refused_child(ENOMEM, "RLIMIT_MEMLOCK"), 0);
  EXPECT_EQ(refused_child(ENOSYS, "Linux 6.1"), 0);
}

TEST(Ring, TableAboveTheDescriptorLimit) {
  RingOptions options;
  options.file_slots = 1U << 30U;
  const auto ring = Ring::create(options);
  ASSERT_FALSE(ring.has_value());
  EXPECT_NE(ring.error().to_string().find("RLIMIT_NOFILE"), std::string::npos)
      << ring.error().to_string();
}

}  // namespace
}  // namespace np::uring
