// SPDX-License-Identifier: Apache-2.0
// Answers from an origin: framing (traffic-semantics 4.2), interim answers, tunnels, truncation,
// and when the connection may carry another request.
#include <gtest/gtest.h>

#include "codec_harness.h"

namespace np::http {
namespace {

std::string read_response(const std::string& input, const std::string& method = "GET",
                          bool finishes = false) {
  FeedOptions options;
  options.role = Role::kClient;
  options.request = get_request();
  options.request.method = method;
  if (method == "CONNECT") options.request.authority = "a:80";
  options.finishes = finishes;
  return feed_all_ways(input, options);
}

TEST(H1Response, ContentLength) {
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\n\r\nhi"),
            "head #1 200 'OK' length cl=2 [X: 1]\ndata hi\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            "head #1 200 'OK' none cl=0\nend\n");
}

TEST(H1Response, Chunked) {
  EXPECT_EQ(
      read_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n"
                    "Set-Cookie: x\r\n\r\n"),
      "head #1 200 'OK' streaming\ndata hi\ntrailers [X: 1]\nend\n");
}

TEST(H1Response, NoReason) {
  EXPECT_EQ(read_response("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
            "head #1 200 '' none cl=0\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
            "head #1 200 '' none cl=0\nend\n");
}

TEST(H1Response, UntilClose) {
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\n\r\nhi", "GET", true),
            "head #1 200 'OK' until-close\ndata hi\nend\nwants-close\n");
  EXPECT_EQ(read_response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "GET", true),
            "head #1 200 'OK' 1.0 until-close\nend\nwants-close\n");
}

TEST(H1Response, HeadHasNoBodyWhateverItSays) {
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"),
            "head #1 200 'OK' none cl=5\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD"),
            "head #1 200 'OK' none\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\n\r\n", "HEAD"), "head #1 200 'OK' none\nend\n");
}

TEST(H1Response, StatusesWithoutBody) {
  EXPECT_EQ(read_response("HTTP/1.1 204 No Content\r\n\r\n"),
            "head #1 204 'No Content' none\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
            "head #1 304 'Not Modified' none cl=7\nend\n");
}

TEST(H1Response, BodyOfA204IsDroppedWithTheConnection) {
  EXPECT_EQ(read_response("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi"),
            "head #1 204 'No Content' none\nend\nwants-close\n");
}

TEST(H1Response, Interim) {
  EXPECT_EQ(read_response("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            "interim #1 100 'Continue' none\ninterim #1 103 'Early Hints' none [Link: x]\n"
            "head #1 200 'OK' length cl=2\ndata hi\nend\n");
}

TEST(H1Response, Upgrade) {
  FeedOptions options;
  options.role = Role::kClient;
  options.request = get_request();
  options.request.upgrade = "websocket";
  options.finishes = true;
  EXPECT_EQ(feed_all_ways("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                          "Sec-WebSocket-Accept: k\r\n\r\n\x01\x02 HTTP",
                          options),
            "head #1 101 'Switching' tunnel upgrade=websocket [Sec-WebSocket-Accept: k]\n"
            "data \x01\x02 HTTP\nend\n");
  options.finishes = false;
  EXPECT_EQ(feed_all_ways("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", options),
            "head #1 200 'OK' none cl=0\nend\n");
  EXPECT_EQ(feed_all_ways("HTTP/1.1 101 Switching\r\n\r\n", options),
            "reset protocol 502 unexpected_101\nwants-close\n");
  EXPECT_EQ(
      feed_all_ways("HTTP/1.1 101 No\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", options),
      "reset protocol 502 unexpected_101\nwants-close\n");
}

TEST(H1Response, Connect) {
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nanything", "CONNECT", true),
            "head #1 200 'OK' tunnel\ndata anything\nend\n");
  EXPECT_EQ(read_response("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", "CONNECT"),
            "head #1 403 'No' length cl=2\ndata no\nend\n");
}

TEST(H1Response, Truncated) {
  EXPECT_EQ(read_response("", "GET", true), "reset closed 502 truncated\nwants-close\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 O", "GET", true),
            "reset closed 502 truncated\nwants-close\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "GET", true),
            "head #1 200 'OK' length cl=3\ndata hi\nreset closed 502 truncated\nwants-close\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "GET",
                          true),
            "head #1 200 'OK' streaming\ndata hi\nreset closed 502 truncated\nwants-close\n");
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
                          "GET", true),
            "head #1 200 'OK' streaming\ndata hi\nreset closed 502 truncated\nwants-close\n");
}

TEST(H1Response, HopByHopFieldsAreRemoved) {
  EXPECT_EQ(read_response("HTTP/1.1 200 OK\r\nConnection: x-drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n"
                          "Proxy-Authenticate: x\r\nUpgrade: h2c\r\nTrailer: y\r\nSet-Cookie: a\r\n"
                          "Set-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
            "head #1 200 'OK' none cl=0 [Trailer: y] [Set-Cookie: a] [Set-Cookie: b]\nend\n");
}

// ---- reuse -------------------------------------------------------------------------------------

TEST(H1Reuse, KeptConnectionTakesTheNextRequest) {
  CodecHarness harness(Role::kClient);
  EXPECT_TRUE(harness.codec().can_open_stream());
  harness.request("GET");
  EXPECT_FALSE(harness.codec().can_open_stream());
  EXPECT_TRUE(harness.codec().is_busy());
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_TRUE(harness.codec().can_open_stream());
  EXPECT_FALSE(harness.codec().is_busy());
  harness.request("HEAD");
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
  EXPECT_TRUE(harness.codec().can_open_stream());
  EXPECT_EQ(harness.transcript(),
            "head #1 200 'OK' length cl=2\ndata hi\nend\nhead #2 200 'OK' none cl=2\nend\n");
}

TEST(H1Reuse, AnswersThatEndTheConnection) {
  const std::vector<std::string> answers = {
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
  };
  for (const std::string& answer : answers) {
    CodecHarness harness(Role::kClient);
    harness.request("GET");
    harness.feed(answer);
    EXPECT_FALSE(harness.codec().can_open_stream()) << answer;
    EXPECT_TRUE(harness.codec().wants_close()) << answer;
  }
  CodecHarness harness(Role::kClient);
  harness.request("GET");
  harness.feed("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(harness.codec().can_open_stream());
}

TEST(H1Reuse, RequestThatSaidClose) {
  CodecHarness harness(Role::kClient);
  EXPECT_NE(harness.request(get_request(), true).find("connection: close\r\n"), std::string::npos);
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1Reuse, BytesBehindTheAnswer) {
  CodecHarness harness(Role::kClient);
  harness.request("GET");
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n");
  EXPECT_EQ(harness.transcript(), "head #1 200 'OK' none cl=0\nend\n");
  EXPECT_FALSE(harness.codec().can_open_stream());
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1Reuse, BytesOnAnIdleConnection) {
  CodecHarness harness(Role::kClient);
  harness.request("GET");
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(harness.codec().can_open_stream());
  harness.feed("\r");
  EXPECT_FALSE(harness.codec().can_open_stream());
  EXPECT_TRUE(harness.codec().wants_close());
  EXPECT_EQ(harness.transcript(), "head #1 200 'OK' none cl=0\nend\n");
}

TEST(H1Reuse, AnswerBeforeTheRequest) {
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kClient, {});
  const StreamId stream = codec->open_stream();
  StreamEventList events;
  codec->on_bytes(Slice{{}, "HTTP/1.1 200 OK\r\n"}, events);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, StreamEvent::Kind::kReset);
  EXPECT_EQ(events[0].stream, stream);
  EXPECT_TRUE(codec->wants_close());
}

TEST(H1Reuse, AnswerBeforeTheEndOfTheRequest) {
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kClient, {});
  Head head = get_request();
  head.method = "POST";
  head.body = BodyKind::kLength;
  head.content_length = 10;
  StreamCommand command;
  command.stream = codec->open_stream();
  command.head = &head;
  OutputQueue queue;
  codec->on_command(std::move(command), queue);
  StreamEventList events;
  codec->on_bytes(Slice{{}, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"}, events);
  EXPECT_EQ(events.back().kind, StreamEvent::Kind::kEnd);
  EXPECT_FALSE(codec->can_open_stream());
  EXPECT_TRUE(codec->wants_close());
}

TEST(H1Reuse, FinOnAnIdleConnection) {
  CodecHarness harness(Role::kClient);
  harness.finish();
  EXPECT_EQ(harness.transcript(), "");
  EXPECT_FALSE(harness.codec().can_open_stream());
  EXPECT_TRUE(harness.codec().wants_close());
}

}  // namespace
}  // namespace np::http
