// SPDX-License-Identifier: Apache-2.0
// Inbox<Message>: what other threads tell a thread. Many writers, one reader, bounded, no lock: a
// ring of cells, each with a sequence number that says whose turn it is (Vyukov's bounded queue).
// The reader is woken through an eventfd, written only when it may be asleep. A full inbox refuses:
// the writer keeps the message.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/fd.h"
#include "base/result.h"

namespace np::uring {

// An eventfd and the flag that saves writes to it. Any thread calls wake().
class Waker {
 public:
  static Result<Waker> create();
  Waker(Waker&& other) noexcept : fd_(std::move(other.fd_)) {}

  void wake();
  // The reader, after it was woken and before it looks into its inbox.
  void acknowledge() { pending_.store(false, std::memory_order_seq_cst); }
  // Blocks until woken, for readers without a ring.
  void wait();
  int fd() const { return fd_.get(); }

 private:
  explicit Waker(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  std::atomic<bool> pending_{false};
};

template <typename Message>
class Inbox {
 public:
  // `capacity` is a power of two.
  Inbox(Waker waker, size_t capacity)
      : waker_(std::move(waker)), mask_(capacity - 1), cells_(new Cell[capacity]) {
    NP_CHECK(capacity >= 2 && (capacity & mask_) == 0);
    for (size_t i = 0; i < capacity; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  // False when full; `message` is then untouched.
  bool try_push(Message&& message) {
    size_t position = write_.load(std::memory_order_relaxed);
    while (true) {
      Cell& cell = cells_[position & mask_];
      const size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position) {
        if (write_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) {
          cell.message = std::move(message);
          cell.turn.store(position + 1, std::memory_order_release);
          waker_.wake();
          return true;
        }
      } else if (turn < position) {
        return false;  // the cell still holds a message of the round before
      } else {
        position = write_.load(std::memory_order_relaxed);
      }
    }
  }

  // The reader only.
  std::optional<Message> try_pop() {
    Cell& cell = cells_[read_ & mask_];
    if (cell.turn.load(std::memory_order_acquire) != read_ + 1) return std::nullopt;
    std::optional<Message> message(std::move(cell.message));
    cell.message = Message{};
    cell.turn.store(read_ + mask_ + 1, std::memory_order_release);
    ++read_;
    return message;
  }

  Waker& waker() { return waker_; }

 private:
  struct Cell {
    std::atomic<size_t> turn{0};
    Message message{};
  };
  static constexpr size_t kCacheLineBytes = 64;

  Waker waker_;
  const size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(kCacheLineBytes) std::atomic<size_t> write_{0};
  alignas(kCacheLineBytes) size_t read_ = 0;
};

}  // namespace np::uring
