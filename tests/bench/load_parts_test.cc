// SPDX-License-Identifier: Apache-2.0
// The load generator's own parts: what it reports must be right before anything is measured with
// it.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "histogram.h"
#include "load_generator.h"
#include "response_reader.h"

namespace np::bench {
namespace {

TEST(Histogram, QuantilesAreWithinOnePercent) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 100'000; ++value) histogram.record(value * 1000);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.5)), 50e6, 50e6 * 0.01);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.99)), 99e6, 99e6 * 0.01);
  EXPECT_EQ(histogram.quantile(1.0), 100'000'000U);
  EXPECT_EQ(histogram.min(), 1000U);
}

ResponseReader::State feed(ResponseReader& reader, const std::string& text, size_t piece) {
  auto state = ResponseReader::State::kMore;
  for (size_t at = 0; at < text.size() && state == ResponseReader::State::kMore;) {
    const std::string_view bytes = std::string_view(text).substr(at, piece);
    size_t used = 0;
    state = reader.on_bytes(bytes, used);
    at += used;
  }
  return state;
}

TEST(ResponseReader, FindsTheEndOfEveryKindOfBody) {
  const std::string bodies[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: "
      "b\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  };
  for (const std::string& text : bodies) {
    for (const size_t piece : {size_t{1}, size_t{7}, text.size()}) {
      ResponseReader reader;
      reader.start(false);
      EXPECT_EQ(feed(reader, text, piece), ResponseReader::State::kComplete) << text;
      EXPECT_EQ(reader.status(), 200);
      EXPECT_EQ(reader.body_bytes(), 5U);
      EXPECT_FALSE(reader.closes());
    }
  }
}

TEST(ResponseReader, TruncationIsNeverComplete) {
  ResponseReader reader;
  reader.start(false);
  EXPECT_EQ(feed(reader, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 64),
            ResponseReader::State::kMore);
  EXPECT_EQ(reader.on_close(), ResponseReader::State::kBroken);
  reader.start(false);
  EXPECT_EQ(feed(reader, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", 64),
            ResponseReader::State::kMore);
  EXPECT_EQ(reader.on_close(), ResponseReader::State::kBroken);
}

TEST(ResponseReader, UntilCloseEndsWithTheConnection) {
  ResponseReader reader;
  reader.start(false);
  EXPECT_EQ(feed(reader, "HTTP/1.1 200 OK\r\n\r\nhello", 3), ResponseReader::State::kMore);
  EXPECT_EQ(reader.on_close(), ResponseReader::State::kComplete);
}

// A server on loopback that takes one connection and closes it, in order or with a reset.
class ClosingServer {
 public:
  ClosingServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    const auto generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), generic, length), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    EXPECT_EQ(::getsockname(listener_.get(), generic, &length), 0);
    address_ = SocketAddress::from_sockaddr(generic);
  }

  const SocketAddress& address() const { return address_; }

  void take_and_close(bool reset) {
    const Fd peer(::accept(listener_.get(), nullptr, nullptr));
    const linger value{reset ? 1 : 0, 0};
    EXPECT_EQ(::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &value, sizeof value), 0);
  }

 private:
  Fd listener_;
  SocketAddress address_;
};

// The close comes after the generator last looked and before it sends: the send is told of the
// reset, and reading finds an end.
LoadReport report_of_close_before_sending(bool reset) {
  ClosingServer server;
  LoadOptions options;
  options.target = server.address();
  options.requests = 1;
  options.on_measuring = [&server, reset] { server.take_and_close(reset); };
  return LoadGenerator(options).run();
}

TEST(LoadGenerator, AResetThatTheSendWasToldOfIsAReset) {
  const LoadReport report = report_of_close_before_sending(true);
  EXPECT_EQ(report.reset_errors, 1U);
  EXPECT_EQ(report.errors(), 1U);
}

TEST(LoadGenerator, AnOrderlyCloseBeforeTheAnswerIsUnanswered) {
  const LoadReport report = report_of_close_before_sending(false);
  EXPECT_EQ(report.unanswered_closes, 1U);
  EXPECT_EQ(report.errors(), 1U);
}

}  // namespace
}  // namespace np::bench
