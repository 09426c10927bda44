// SPDX-License-Identifier: Apache-2.0
#include "uring/buffer_ring.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"

namespace np::uring {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kHolder = 7;
constexpr uint64_t kCancel = 2;  // user_data

class BufferRingTest : public testing::Test {
 protected:
  void SetUp() override {
    RingOptions ring_options;
    ring_options.file_slots = 4;
    ring_ = Ring::create(ring_options).value();
    BufferRingOptions options;
    options.buffer_bytes = 256;
    options.initial = 4;
    options.max = 16;
    buffers_ = BufferRing::create(*ring_, options).value();
    ASSERT_TRUE(ring_->seal().has_value());
    ASSERT_TRUE(ring_->enable().has_value());
    int fds[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    near_ = Fd(fds[0]);
    far_ = Fd(fds[1]);
  }
  void TearDown() override {
    held_.clear();
    ring_.reset();
  }

  void arm() { ring_->receive_multishot({near_.get(), false}, buffers_->group(), 1); }
  // One round; appends what came to text_ and keeps the buffers in held_.
  void step() {
    (void)buffers_->maintain();
    ASSERT_EQ(ring_->submit_and_wait(20ms), 0);
    std::array<Completion, 32> batch;
    const size_t taken = ring_->reap(batch);
    for (size_t i = 0; i < taken; ++i) {
      if (batch[i].user_data == kCancel) continue;
      last_result_ = batch[i].result;
      ended_ = !batch[i].has_more();
      if (!batch[i].has_buffer()) continue;
      held_.push_back(buffers_->take(batch[i], kHolder));
      text_.append(held_.back().get()->data, static_cast<size_t>(batch[i].result));
    }
  }

  std::unique_ptr<BufferRing> buffers_;
  std::unique_ptr<Ring> ring_;
  Fd near_, far_;
  std::vector<BufferRef> held_;
  std::string text_;
  int32_t last_result_ = 0;
  bool ended_ = false;
};

TEST_F(BufferRingTest, RecyclesForEver) {
  arm();
  std::string sent;
  for (int i = 0; i < 5000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    sent += piece;
    ASSERT_EQ(::send(far_.get(), piece.data(), piece.size(), 0),
              static_cast<ssize_t>(piece.size()));
    step();
    held_.clear();
  }
  EXPECT_EQ(text_, sent);
  EXPECT_FALSE(ended_);
  EXPECT_EQ(buffers_->total(), 4U);  // never grew
  EXPECT_EQ(buffers_->free(), 4U);
}

// However many there are: what is used in turn stays small.
TEST(BufferRing, TheKernelHasAWindowOfThemTheLastUsedFirst) {
  auto ring = Ring::create({}).value();
  BufferRingOptions options;
  options.buffer_bytes = 4096;
  options.initial = options.max = 64;
  options.window = 2;
  auto buffers = BufferRing::create(*ring, options).value();
  ASSERT_TRUE(ring->seal().has_value());
  ASSERT_TRUE(ring->enable().has_value());
  int fds[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  ring->receive_multishot({near.get(), false}, buffers->group(), 1);
  std::set<const char*> used;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(::send(far.get(), "x", 1, 0), 1);
    (void)buffers->maintain();
    EXPECT_EQ(buffers->in_kernel(), 2U);
    EXPECT_EQ(buffers->free(), 64U);
    EXPECT_EQ(ring->submit_and_wait(20ms), 0);
    std::array<Completion, 1> got;
    ASSERT_EQ(ring->reap(got), 1U);
    used.insert(buffers->take(got[0], kHolder).get()->data);
  }
  EXPECT_EQ(used.size(), 2U);
  // Two pieces in one step are more than it has: the receive ends, nothing is lost.
  const std::string much(3 * 4096, 'm');
  ASSERT_EQ(::send(far.get(), much.data(), much.size(), 0), 3 * 4096);
  size_t received = 0;
  bool has_ended = false;
  while (received < much.size()) {
    (void)buffers->maintain();
    ASSERT_EQ(ring->submit_and_wait(20ms), 0);
    std::array<Completion, 8> got;
    const size_t count = ring->reap(got);
    ASSERT_GT(count, 0U);
    for (size_t i = 0; i < count; ++i) {
      if (got[i].has_buffer()) (void)buffers->take(got[i], kHolder);
      if (got[i].result > 0) received += static_cast<size_t>(got[i].result);
      if (got[i].has_more()) continue;
      EXPECT_EQ(got[i].result, -ENOBUFS);
      has_ended = true;
      ring->receive_multishot({near.get(), false}, buffers->group(), 1);
    }
  }
  EXPECT_TRUE(has_ended);
}

TEST_F(BufferRingTest, GrowsWhileReadersHoldAndEndsAtTheLimit) {
  arm();
  const std::string block(256, 'b');
  for (int i = 0; i < 16; ++i) {
    ASSERT_EQ(::send(far_.get(), block.data(), block.size(), 0), 256);
    step();
    if (ended_) {  // the kernel drained the ring before it grew
      arm();
      step();
    }
  }
  EXPECT_EQ(held_.size(), 16U);
  EXPECT_EQ(buffers_->total(), 16U);
  EXPECT_TRUE(buffers_->is_exhausted());
  ASSERT_EQ(::send(far_.get(), block.data(), block.size(), 0), 256);
  step();
  EXPECT_EQ(last_result_, -ENOBUFS);
  EXPECT_TRUE(ended_);
  // One comes back: the data was not lost.
  held_.erase(held_.begin());
  arm();
  step();
  EXPECT_EQ(text_.size(), 17U * 256);
}

// While bytes come: whoever wins, the receive ends, and what was not received is still there. A
// receive that went on would hold its file for ever.
TEST_F(BufferRingTest, ACancelledReceiveAlwaysEnds) {
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) EXPECT_EQ(::send(far_.get(), "w", 1, 0), 1);
  });
  for (int i = 0; i < 300; ++i) {
    ended_ = false;
    arm();
    for (int k = 0; k < i % 3; ++k) step();
    if (ended_) continue;  // no buffer was left
    ring_->cancel(1, kCancel);
    for (int k = 0; k < 100 && !ended_; ++k) {
      held_.clear();
      step();
    }
    EXPECT_TRUE(ended_) << i;
    held_.clear();
    if (!ended_) break;  // the writer has to be joined
  }
  stop = true;
  char rest[4096];
  while (::recv(near_.get(), rest, sizeof rest, MSG_DONTWAIT) > 0) {
  }
  writer.join();
}

// What is held keeps its bytes, what is not loses its pages and is filled again.
TEST(BufferRing, GivesBackPagesThatHoldNothing) {
  auto ring = Ring::create({}).value();
  BufferRingOptions options;
  options.buffer_bytes = 8192;
  options.initial = options.max = 8;
  auto buffers = BufferRing::create(*ring, options).value();
  ASSERT_TRUE(ring->seal().has_value());
  ASSERT_TRUE(ring->enable().has_value());
  int fds[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  ring->receive_multishot({near.get(), false}, buffers->group(), 1);
  const auto receive = [&](const std::string& sent) {
    EXPECT_EQ(::send(far.get(), sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
    (void)buffers->maintain();
    EXPECT_EQ(ring->submit_and_wait(20ms), 0);
    std::array<Completion, 1> got;
    EXPECT_EQ(ring->reap(got), 1U);
    return buffers->take(got[0], kHolder);
  };
  const BufferRef held = receive("kept");
  (void)receive("let go");
  EXPECT_EQ(buffers->give_back_idle(), 7U * 8192);
  EXPECT_EQ(std::string(held.get()->data, 4), "kept");
  for (int i = 0; i < 20; ++i) {
    const std::string sent = "again " + std::to_string(i);
    const BufferRef again = receive(sent);
    EXPECT_EQ(std::string(again.get()->data, sent.size()), sent);
  }
}

TEST_F(BufferRingTest, GivesBackNoPageThatTwoBuffersShare) {
  EXPECT_EQ(buffers_->give_back_idle(), 0U);
}

TEST_F(BufferRingTest, CopiesOfAReferenceKeepTheBuffer) {
  arm();
  ASSERT_EQ(::send(far_.get(), "abc", 3, 0), 3);
  step();
  ASSERT_EQ(held_.size(), 1U);
  BufferRef copy = held_[0];
  held_.clear();
  EXPECT_EQ(buffers_->free(), 3U);
  EXPECT_EQ(buffers_->held(kHolder), 1U);
  EXPECT_EQ(buffers_->available(), 15U);
  EXPECT_EQ(std::string(copy.get()->data, 3), "abc");
  copy = BufferRef();
  EXPECT_EQ(buffers_->free(), 4U);
  EXPECT_EQ(buffers_->held(kHolder), 0U);
  EXPECT_EQ(buffers_->available(), 16U);
}

TEST(BufferRing, RefusesOddSizes) {
  RingOptions ring_options;
  const auto ring = Ring::create(ring_options).value();
  BufferRingOptions options;
  options.initial = 3;
  EXPECT_FALSE(BufferRing::create(*ring, options).has_value());
  options.initial = 64;
  options.max = 32;
  EXPECT_FALSE(BufferRing::create(*ring, options).has_value());
  options.max = 64;
  options.window = 0;
  EXPECT_FALSE(BufferRing::create(*ring, options).has_value());
}

}  // namespace
}  // namespace np::uring
