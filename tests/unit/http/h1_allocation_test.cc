// SPDX-License-Identifier: Apache-2.0
// No heap allocation per message once a connection is warm, and little memory while it is idle.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>

#include "http/h1_codec.h"

namespace {
uint64_t g_allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++g_allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace np::http {
namespace {

// One proxied exchange: request and answer go through a server and a client codec.
class ProxyPair {
 public:
  // Delivers the request in pieces of `piece_bytes`.
  void exchange(std::string_view request, std::string_view answer, size_t piece_bytes) {
    StreamId upstream = 0;
    for (size_t at = 0; at < request.size(); at += piece_bytes) {
      events_.clear();
      server_->on_bytes(Slice{{}, request.substr(at, piece_bytes)}, events_);
      for (const StreamEvent& event : events_) {
        if (event.kind == StreamEvent::Kind::kHead) upstream = client_->open_stream();
        pass(event, upstream, *client_, to_origin_);
      }
      server_->end_step();
    }
    flush(to_origin_);
    for (size_t at = 0; at < answer.size(); at += piece_bytes) {
      events_.clear();
      client_->on_bytes(Slice{{}, answer.substr(at, piece_bytes)}, events_);
      for (const StreamEvent& event : events_) pass(event, request_number_, *server_, to_client_);
      client_->end_step();
    }
    flush(to_client_);
    ++request_number_;
  }

  bool is_idle() const { return !server_->is_busy() && client_->can_open_stream(); }

 private:
  static void pass(const StreamEvent& event, StreamId stream, Codec& to, OutputQueue& queue) {
    StreamCommand command;
    command.stream = stream;
    command.head = event.head;
    command.data.bytes = event.data;
    switch (event.kind) {
      case StreamEvent::Kind::kHead:
        command.kind = StreamCommand::Kind::kHead;
        break;
      case StreamEvent::Kind::kData:
        command.kind = StreamCommand::Kind::kData;
        break;
      case StreamEvent::Kind::kTrailers:
        command.kind = StreamCommand::Kind::kTrailers;
        break;
      case StreamEvent::Kind::kEnd:
        command.kind = StreamCommand::Kind::kEnd;
        break;
      default:
        FAIL() << event.detail;
    }
    to.on_command(std::move(command), queue);
  }

  static void flush(OutputQueue& queue) {
    iovec pieces[16];
    while (!queue.empty()) {
      size_t bytes = 0;
      const size_t count = queue.fill_iovec(pieces, 16);
      for (size_t i = 0; i < count; ++i) bytes += pieces[i].iov_len;
      queue.consume(bytes);
    }
  }

  std::unique_ptr<Codec> server_ = make_h1_codec(Role::kServer, {});
  std::unique_ptr<Codec> client_ = make_h1_codec(Role::kClient, {});
  OutputQueue to_origin_;
  OutputQueue to_client_;
  StreamEventList events_;
  StreamId request_number_ = 1;
};

const std::string kRequest =
    "POST /productpage?u=test HTTP/1.1\r\nHost: productpage:9080\r\nUser-Agent: test\r\n"
    "Accept: */*\r\nX-Request-Id: 0123456789\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
    "Transfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
const std::string kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10\r\nSet-Cookie: a\r\n"
    "Set-Cookie: b\r\n\r\n0123456789";

void expect_no_allocation(size_t piece_bytes, int messages) {
  ProxyPair pair;
  for (int i = 0; i < 10; ++i) pair.exchange(kRequest, kAnswer, piece_bytes);
  const uint64_t before = g_allocations;
  for (int i = 0; i < messages; ++i) pair.exchange(kRequest, kAnswer, piece_bytes);
  EXPECT_EQ(g_allocations - before, 0U);
  EXPECT_TRUE(pair.is_idle());
}

TEST(H1Allocation, NoneOverTenThousandMessages) {
  expect_no_allocation(1U << 20U, 10000);
}

TEST(H1Allocation, NoneWhenHeadsComeInPieces) {
  expect_no_allocation(17, 1000);
}

TEST(H1Allocation, ManyConnectionsShareTheSpareMemory) {
  // All idle between messages: what one of them used serves the next.
  std::vector<std::unique_ptr<ProxyPair>> pairs;
  for (int i = 0; i < 100; ++i) {
    pairs.push_back(std::make_unique<ProxyPair>());
    pairs.back()->exchange(kRequest, kAnswer, 1U << 20U);
  }
  const uint64_t before = g_allocations;
  for (int round = 0; round < 10; ++round) {
    for (const auto& pair : pairs) pair->exchange(kRequest, kAnswer, 1U << 20U);
  }
  EXPECT_EQ(g_allocations - before, 0U);
}

}  // namespace
}  // namespace np::http
