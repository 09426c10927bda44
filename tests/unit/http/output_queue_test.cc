// SPDX-License-Identifier: Apache-2.0
// OutputQueue against a std::string: same bytes in the same order under random appends and partial
// sends, memory that holds still while a send is under way, exact charges.
#include "http/output_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

namespace np::http {
namespace {

// Buffers on the heap that count who is alive.
class HeapBuffers : public BufferOwner {
 public:
  BufferRef make(size_t size) {
    auto* buffer = new Buffer{this, new char[size], static_cast<uint32_t>(size), 0, 0};
    alive_.insert(buffer);
    return BufferRef(buffer);
  }
  void recycle(Buffer* buffer) override {
    alive_.erase(buffer);
    delete[] buffer->data;
    delete buffer;
  }
  const std::set<Buffer*>& alive() const { return alive_; }

 private:
  std::set<Buffer*> alive_;
};

std::string gather(const std::vector<iovec>& pieces) {
  std::string out;
  for (const iovec& piece : pieces) {
    out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  return out;
}

std::vector<iovec> fill(const OutputQueue& queue, size_t max) {
  std::vector<iovec> pieces(max);
  pieces.resize(queue.fill_iovec(pieces.data(), max));
  return pieces;
}

TEST(OutputQueue, MatchesAString) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](size_t n) {
      return std::uniform_int_distribution<size_t>(0, n - 1)(random);
    };
    HeapBuffers buffers;
    OutputQueue queue;
    std::string model;
    BufferRef shared;
    char next = 'a';
    for (int step = 0; step < 300; ++step) {
      if (below(3) > 0) {
        const size_t size = below(10) == 0 ? below(9000) : below(1200);
        if (!shared || below(4) == 0) {
          shared = buffers.make(16384);
          for (size_t i = 0; i < 16384; ++i)
            shared.get()->data[i] = next = next == 'z' ? 'a' : static_cast<char>(next + 1);
        }
        const std::string_view bytes(shared.get()->data + below(16384 - size), size);
        model.append(bytes);
        if (below(2) == 0) {
          queue.append(bytes);
        } else {
          queue.append(Slice{shared, bytes});
        }
      } else if (!queue.empty()) {
        // A send: what was handed out holds still while more is appended.
        const std::vector<iovec> pieces = fill(queue, 1 + below(8));
        const std::string sent = gather(pieces);
        ASSERT_EQ(sent, model.substr(0, sent.size()));
        const std::string late(below(700), '!');
        queue.append(late);
        model.append(late);
        ASSERT_EQ(gather(pieces), sent);
        const size_t taken = below(2) == 0 ? sent.size() : below(sent.size() + 1);
        queue.consume(taken);
        model.erase(0, taken);
      }
      ASSERT_EQ(queue.size_bytes(), model.size());
    }
    shared = {};
    ASSERT_EQ(gather(fill(queue, 100000)), model);
    queue.clear();
    EXPECT_EQ(queue.charged_bytes(), 0U);
    EXPECT_TRUE(buffers.alive().empty());
  }
}

TEST(OutputQueue, SmallIsCopiedLargeIsReferenced) {
  HeapBuffers buffers;
  OutputQueue queue;
  {
    const BufferRef buffer = buffers.make(2048);
    queue.append(Slice{buffer, {buffer.get()->data, OutputQueue::kCopyLimitBytes}});
    EXPECT_EQ(buffer.get()->references, 1U);
    queue.append(Slice{buffer, {buffer.get()->data, OutputQueue::kCopyLimitBytes + 1}});
    EXPECT_EQ(buffer.get()->references, 2U);
  }
  EXPECT_EQ(buffers.alive().size(), 1U);
  queue.consume(queue.size_bytes());
  EXPECT_TRUE(buffers.alive().empty());
}

TEST(OutputQueue, SmallPiecesMakeOneEntry) {
  OutputQueue queue;
  for (int i = 0; i < 100; ++i) queue.append("0123456789");
  EXPECT_EQ(fill(queue, 8).size(), 1U);
}

TEST(OutputQueue, ChargesEachBufferAndBlockOnce) {
  HeapBuffers buffers;
  OutputQueue queue;
  EXPECT_EQ(queue.charged_bytes(), 0U);
  const BufferRef a = buffers.make(10000);
  const BufferRef b = buffers.make(20000);
  queue.append("head");
  EXPECT_EQ(queue.charged_bytes(), OutputQueue::kBlockBytes);
  queue.append(Slice{a, {a.get()->data, 1000}});
  queue.append("\r\n");
  queue.append(Slice{b, {b.get()->data, 1000}});
  queue.append(Slice{a, {a.get()->data + 1000, 1000}});
  EXPECT_EQ(queue.charged_bytes(), OutputQueue::kBlockBytes + 30000);
  queue.consume(4 + 1000);
  EXPECT_EQ(queue.charged_bytes(), OutputQueue::kBlockBytes + 30000);
  queue.consume(2 + 1000);
  EXPECT_EQ(queue.charged_bytes(), OutputQueue::kBlockBytes + 10000);
  queue.consume(1000);
  EXPECT_EQ(queue.charged_bytes(), 0U);
}

TEST(OutputQueue, SmallRestDoesNotPinALargeBuffer) {
  HeapBuffers buffers;
  OutputQueue queue;
  {
    const BufferRef buffer = buffers.make(16384);
    std::fill_n(buffer.get()->data, 16384, 'x');
    queue.append(Slice{buffer, {buffer.get()->data, 1000}});
  }
  queue.consume(400);
  EXPECT_EQ(buffers.alive().size(), 1U);
  queue.consume(100);
  EXPECT_TRUE(buffers.alive().empty());
  EXPECT_EQ(queue.charged_bytes(), OutputQueue::kBlockBytes);
  EXPECT_EQ(gather(fill(queue, 8)), std::string(500, 'x'));
  queue.append("y");
  EXPECT_EQ(fill(queue, 8).size(), 1U);
}

TEST(OutputQueue, RestStaysWhereTheBufferIsNeededAnyway) {
  HeapBuffers buffers;
  OutputQueue queue;
  const BufferRef buffer = buffers.make(16384);
  queue.append(Slice{buffer, {buffer.get()->data, 1000}});
  queue.append("x");
  queue.append(Slice{buffer, {buffer.get()->data, 1000}});
  queue.consume(900);
  EXPECT_EQ(fill(queue, 8)[0].iov_base, buffer.get()->data + 900);
}

TEST(OutputQueue, Moves) {
  OutputQueue queue;
  queue.append("hello");
  OutputQueue other = std::move(queue);
  EXPECT_EQ(gather(fill(other, 8)), "hello");
  EXPECT_EQ(other.charged_bytes(), OutputQueue::kBlockBytes);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.charged_bytes(), 0U);
  queue.append("again");
  EXPECT_EQ(gather(fill(queue, 8)), "again");
}

}  // namespace
}  // namespace np::http
