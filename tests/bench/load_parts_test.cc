// SPDX-License-Identifier: Apache-2.0
// The load generator's own parts: what it reports must be right before anything is measured with
// it.
#include <gtest/gtest.h>

#include "histogram.h"
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

}  // namespace
}  // namespace np::bench
