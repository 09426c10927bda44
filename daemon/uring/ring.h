// SPDX-License-Identifier: Apache-2.0
// Ring: one io_uring of one thread. Owns the kernel ring, its table of fixed files and its list of
// allowed operations. Life: create() on any thread (disabled, nothing can be submitted), buffer
// rings are added, seal() registers the restrictions, enable() on the thread that will use it.
// After that only that thread calls anything here.
//
// The prepare functions queue one operation each; nothing reaches the kernel before
// submit_and_wait(), except when the submission queue is full: it is then flushed first. Bytes to
// send or read into must stay until the operation's last completion (has_more() false); headers,
// addresses and numbers that describe an operation only until it is submitted (queued() == 0).
#pragma once

#include <linux/time_types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "base/time.h"

struct io_uring;
struct io_uring_sqe;
struct msghdr;
struct sockaddr;

namespace np::uring {

struct RingOptions {
  uint32_t submit_entries = 1024;
  uint32_t completion_entries = 8192;
  uint32_t file_slots = 0;           // 0: no fixed files
  bool prefer_defer_taskrun = true;  // false: as on kernels below 6.1
};

// A socket as operations name it: a slot of the fixed table, or a descriptor.
struct File {
  int32_t number = -1;
  bool fixed = false;
};

struct Completion {
  uint64_t user_data = 0;
  int32_t result = 0;
  uint32_t flags = 0;

  bool has_more() const { return (flags & 2U) != 0; }    // IORING_CQE_F_MORE
  bool has_buffer() const { return (flags & 1U) != 0; }  // IORING_CQE_F_BUFFER
  uint16_t buffer_id() const { return static_cast<uint16_t>(flags >> 16U); }
};

// What the kernel offers; found by trying, not by version.
struct RingFeatures {
  bool defer_taskrun = false;   // SINGLE_ISSUER + DEFER_TASKRUN
  bool coop_taskrun = false;    // used when defer_taskrun is not
  bool fixed_files = false;     // the sparse table was registered
  bool socket_options = false;  // setsockopt on a fixed file
  bool export_files = false;    // a descriptor for a fixed file (Linux 6.8)
  // A socket can go from one ring to another.
  bool can_hand_on() const { return !fixed_files || export_files; }
};

class Ring {
 public:
  static Result<std::unique_ptr<Ring>> create(const RingOptions& options);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // From now on nothing can be registered, and after enable() only the operations below can be
  // submitted; anything else, opening files above all, completes with EACCES.
  Result<void> seal();
  Result<void> enable();

  void accept_multishot(int listener, uint64_t user_data);
  void receive_multishot(File file, uint16_t buffer_group, uint64_t user_data);
  void send(File file, const void* bytes, size_t size, uint64_t user_data);
  void send_message(File file, const msghdr* message, uint64_t user_data);
  // The same, taken at once or not at all: completes only with less than everything, -EAGAIN being
  // nothing. When it has been submitted (queued() == 0), all completions were reaped, there was no
  // has_overflow(), and none was its own, then the kernel has all of the bytes and needs no memory.
  void send_quietly(File file, const void* bytes, size_t size, uint64_t user_data);
  void send_message_quietly(File file, const msghdr* message, uint64_t user_data);
  void connect(File file, const sockaddr* address, uint32_t length, uint64_t user_data);
  void poll_writable(File file, uint64_t user_data);
  // Completes, with poll's flags, when the peer has reset the connection or sent FIN.
  void poll_end(File file, uint64_t user_data);
  void shutdown_write(File file, uint64_t user_data);
  void read(int fd, void* out, uint32_t size, uint64_t user_data);
  // Completes only when it fails. `value` must stay until it is submitted.
  void set_socket_option(File file, int level, int name, const void* value, uint32_t size,
                         uint64_t user_data);
  // Puts *fd into `slot`. Completes only when it fails.
  void install_file(int32_t* fd, uint32_t slot, uint64_t user_data);
  // Makes a descriptor for what is in `slot`, the completion's result. Needs
  // features().export_files.
  void export_file(uint32_t slot, uint64_t user_data);
  // Closes a descriptor. Completes only when it fails.
  void close_fd(int fd, uint64_t user_data);
  // Empties a slot of the fixed table. Always completes.
  void close_file(uint32_t slot, uint64_t user_data);
  // Cancels the operation. Always completes. There is no cancelling by file: the kernel looks at
  // every operation that waits to find them (Linux 6.18), so each close would cost what all
  // connections are.
  void cancel(uint64_t target, uint64_t user_data);

  // Completes after each `period`, with F_MORE as long as it goes on; without, and -EINVAL, when
  // the kernel has no such timer (before Linux 6.4).
  void repeat_timer(Duration period, uint64_t user_data);

  static constexpr Duration kForever = Duration::max();
  // Submits everything queued and waits until a completion is there or `timeout` is over. A wait
  // with an end sets a timer of the kernel, which costs up to 3 us when it is the next one of the
  // CPU. Returns 0, or the errno of a failure that is not a timeout or an interruption.
  int submit_and_wait(Duration timeout);
  // Operations prepared and not submitted yet.
  uint32_t queued() const;
  // Submits what is queued now.
  int submit();
  // More completions wait than the queue has room for: not all can be reaped before the next wait.
  bool has_overflow() const;
  // Moves completions to `out`; returns how many.
  size_t reap(std::span<Completion> out);

  const RingFeatures& features() const { return features_; }
  uint64_t submit_calls() const { return submit_calls_; }
  io_uring* native() { return ring_.get(); }  // of the buffer ring, and of tests of the kernel

 private:
  Ring();
  Result<void> open(const RingOptions& options);
  void probe_features();
  io_uring_sqe* next_sqe();
  int enter(Duration timeout);

  std::unique_ptr<io_uring> ring_;
  RingFeatures features_;
  uint64_t submit_calls_ = 0;
  __kernel_timespec period_{};  // of repeat_timer()
  bool sealed_ = false;
};

}  // namespace np::uring
