// SPDX-License-Identifier: Apache-2.0
// The limits of traffic-semantics 4.5: exactly at each limit passes, one above does not, however
// the bytes are cut. Also: input byte by byte costs no more than linear time.
#include <gtest/gtest.h>

#include "codec_harness.h"

namespace np::http {
namespace {

// Small, so that every cut can be tried.
H1Limits small_limits() {
  H1Limits limits;
  limits.head_bytes_max = 60;
  limits.field_count_max = 4;
  limits.target_bytes_max = 20;
  limits.chunk_extension_bytes_max = 8;
  limits.trailer_bytes_max = 30;
  limits.empty_lines_max = 2;
  return limits;
}

std::string read_limited(const std::string& input) {
  FeedOptions options;
  options.limits = small_limits();
  const std::string transcript = feed_all_ways(input, options);
  return transcript.starts_with("head") ? "accepted" + transcript.substr(transcript.find('\n') + 1)
                                        : transcript;
}

std::string read_answer(const std::string& input) {
  FeedOptions options;
  options.role = Role::kClient;
  options.request = get_request();
  options.limits = small_limits();
  const std::string transcript = feed_all_ways(input, options);
  return transcript.starts_with("head") ? "accepted" : transcript;
}

TEST(H1Limits, Target) {
  const std::string end = " HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_EQ(read_limited("GET /" + std::string(19, 'x') + end), "acceptedend\n");
  EXPECT_EQ(read_limited("GET /" + std::string(20, 'x') + end), "refused 414 target_too_long\n");
  EXPECT_EQ(read_limited("GET /" + std::string(100, 'x') + end),
            "refused 414 start_line_too_long\n");
  EXPECT_EQ(read_limited("GET /" + std::string(100, 'x')), "refused 414 start_line_too_long\n");
}

TEST(H1Limits, HeadBytes) {
  // "Host: a\r\n" is 9 bytes, "X: ...\r\n" 5 and the value.
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  EXPECT_EQ(read_limited(start + std::string(46, 'x') + "\r\n\r\n"), "acceptedend\n");
  EXPECT_EQ(read_limited(start + std::string(47, 'x') + "\r\n\r\n"),
            "refused 431 head_too_large\n");
  EXPECT_EQ(read_limited(start + std::string(60, 'x')), "refused 431 head_too_large\n");
}

TEST(H1Limits, FieldCount) {
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(read_limited(start + "A: 1\r\nB: 1\r\nC: 1\r\n\r\n"), "acceptedend\n");
  EXPECT_EQ(read_limited(start + "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n"),
            "refused 431 too_many_fields\n");
}

TEST(H1Limits, EmptyLines) {
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_EQ(read_limited("\r\n\r\n" + request), "acceptedend\n");
  EXPECT_EQ(read_limited("\r\n\r\n\r\n" + request), "refused 400 empty_lines\n");
}

TEST(H1Limits, ChunkExtensionsOfAllChunksTogether) {
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(read_limited(start + "1;abcd\r\nx\r\n0;efgh\r\n\r\n"), "accepteddata x\nend\n");
  EXPECT_EQ(read_limited(start + "1;abcd\r\nx\r\n0;efghi\r\n\r\n"),
            "accepteddata x\nreset protocol 400 chunk_extensions_too_long\n");
}

TEST(H1Limits, Trailers) {
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  EXPECT_EQ(read_limited(start + "X: " + std::string(25, 'x') + "\r\n\r\n"),
            "acceptedtrailers [X: " + std::string(25, 'x') + "]\nend\n");
  EXPECT_EQ(read_limited(start + "X: " + std::string(26, 'x') + "\r\n\r\n"),
            "acceptedreset protocol 400 trailers_too_large\n");
  EXPECT_EQ(read_limited(start + "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n\r\n"),
            "acceptedreset protocol 400 too_many_trailers\n");
}

TEST(H1Limits, AnswerHead) {
  const std::string start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";  // 19 bytes, 5 and value
  EXPECT_EQ(read_answer(start + std::string(36, 'x') + "\r\n\r\n"), "accepted");
  EXPECT_EQ(read_answer(start + std::string(37, 'x') + "\r\n\r\n"),
            "reset protocol 502 head_too_large\nwants-close\n");
  EXPECT_EQ(read_answer("HTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nC: 1\r\nContent-Length: 0\r\n\r\n"),
            "accepted");
  EXPECT_EQ(
      read_answer("HTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nContent-Length: 0\r\n\r\n"),
      "reset protocol 502 too_many_fields\nwants-close\n");
  EXPECT_EQ(read_answer("HTTP/1.1 200 " + std::string(100, 'x') + "\r\n\r\n"),
            "reset protocol 502 start_line_too_long\nwants-close\n");
}

TEST(H1Limits, InterimAnswersWithoutEnd) {
  CodecHarness harness(Role::kClient);
  harness.request("GET");
  for (int i = 0; i < 64; ++i) harness.feed("HTTP/1.1 103 Early Hints\r\n\r\n");
  EXPECT_FALSE(harness.codec().wants_close());
  harness.feed("HTTP/1.1 103 Early Hints\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1Limits, Defaults) {
  const H1Limits limits;
  const auto refused = [](const std::string& input) {
    CodecHarness harness(Role::kServer);
    harness.feed(input);
    return harness.transcript().starts_with("refused");
  };
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";
  const size_t room = limits.head_bytes_max - 9 - 5;
  EXPECT_FALSE(refused(start + "X: " + std::string(room, 'x') + "\r\n\r\n"));
  EXPECT_TRUE(refused(start + "X: " + std::string(room + 1, 'x') + "\r\n\r\n"));
  EXPECT_FALSE(refused("GET /" + std::string(8191, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_TRUE(refused("GET /" + std::string(8192, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n"));
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "X: 1\r\n";
  EXPECT_FALSE(refused(start + fields + "\r\n"));
  EXPECT_TRUE(refused(start + fields + "X: 1\r\n\r\n"));
}

// 60 KiB of head one byte at a time: a rescan of the whole head per byte would look at 2 GB, which
// no time limit of a unit test would pass under sanitizers.
TEST(H1Limits, SlowHeadIsLinear) {
  CodecHarness harness(Role::kServer);
  const std::string input =
      "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(60000, 'x') + "\r\n\r\n";
  for (const char& c : input) harness.feed({&c, 1});
  EXPECT_TRUE(harness.transcript().ends_with("end\n"));
}

}  // namespace
}  // namespace np::http
