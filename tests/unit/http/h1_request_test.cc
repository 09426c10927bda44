// SPDX-License-Identifier: Apache-2.0
// Requests that are accepted: what their Head says, what is taken out of their fields, their bodies
// and trailers (traffic-semantics 4.1 to 4.3), the same however the bytes are cut.
#include <gtest/gtest.h>

#include "codec_harness.h"

namespace np::http {
namespace {

// The transcript of a request with these lines (without CRLF), start line first, and a body.
std::string read_request(const std::vector<std::string>& lines, const std::string& body = "") {
  std::string input;
  for (const std::string& line : lines) input += line + "\r\n";
  return feed_all_ways(input + "\r\n" + body);
}

TEST(H1Request, OriginForm) {
  EXPECT_EQ(
      read_request({"GET /a?b=c HTTP/1.1", "Host: a.example:8080", "Accept:  */* ", "X-Empty:"}),
      "head #1 GET a.example:8080 /a?b=c none [Accept: */*] [X-Empty: ]\nend\n");
}

TEST(H1Request, TargetKeepsWhatBrowsersSend) {
  EXPECT_EQ(read_request({"GET /a\\b|{}[]^`?%zz//.. HTTP/1.1", "Host: a"}),
            "head #1 GET a /a\\b|{}[]^`?%zz//.. none\nend\n");
}

TEST(H1Request, EmptyLinesBeforeTheRequestLine) {
  EXPECT_EQ(read_request({"", "", "", "", "GET / HTTP/1.1", "Host: a"}),
            "head #1 GET a / none\nend\n");
}

TEST(H1Request, EmptyLinesAloneAreIdle) {
  CodecHarness harness(Role::kServer);
  harness.feed("\r\n");
  EXPECT_FALSE(harness.codec().is_busy());
  harness.feed("\r");
  harness.feed("\n");
  EXPECT_FALSE(harness.codec().is_busy());
  harness.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\n");
}

TEST(H1Request, AbsoluteFormOverridesHost) {
  EXPECT_EQ(read_request({"GET http://b:81/x?y HTTP/1.1", "Host: a"}),
            "head #1 GET b:81 /x?y none scheme=http\nend\n");
  EXPECT_EQ(read_request({"GET HTTPS://b HTTP/1.1", "Host: a"}),
            "head #1 GET b / none scheme=https\nend\n");
  EXPECT_EQ(read_request({"GET http://b?q HTTP/1.1", "Host: a"}),
            "head #1 GET b /?q none scheme=http\nend\n");
  EXPECT_EQ(read_request({"OPTIONS http://b HTTP/1.1", "Host: a"}),
            "head #1 OPTIONS b * none scheme=http\nend\n");
}

TEST(H1Request, AsteriskForm) {
  EXPECT_EQ(read_request({"OPTIONS * HTTP/1.1", "Host: a"}), "head #1 OPTIONS a * none\nend\n");
}

TEST(H1Request, AuthorityForm) {
  EXPECT_EQ(read_request({"CONNECT b:443 HTTP/1.1", "Host: a"}),
            "head #1 CONNECT b:443  none\nend\n");
}

TEST(H1Request, HostForms) {
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: [::1]:80"}),
            "head #1 GET [::1]:80 / none\nend\n");
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: my_svc.ns"}),
            "head #1 GET my_svc.ns / none\nend\n");
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host:"}), "head #1 GET  / none\nend\n");
}

TEST(H1Request, Http10) {
  EXPECT_EQ(read_request({"GET / HTTP/1.0"}), "head #1 GET  / 1.0 none\nend\n");
  EXPECT_EQ(read_request({"POST / HTTP/1.0", "Content-Length: 2", "Expect: whatever"}, "hi"),
            "head #1 POST  / 1.0 length cl=2\ndata hi\nend\n");
}

TEST(H1Request, ContentLengthBody) {
  EXPECT_EQ(read_request({"POST / HTTP/1.1", "Host: a", "Content-Length: 0005"}, "hello"),
            "head #1 POST a / length cl=5\ndata hello\nend\n");
  EXPECT_EQ(read_request({"POST / HTTP/1.1", "Host: a", "Content-Length: 0"}),
            "head #1 POST a / none cl=0\nend\n");
  EXPECT_EQ(
      read_request({"POST / HTTP/1.1", "Host: a", "Content-Length: 9223372036854775807"}, "x"),
      "head #1 POST a / length cl=9223372036854775807\ndata x");
}

TEST(H1Request, ChunkedBody) {
  EXPECT_EQ(
      read_request({"POST / HTTP/1.1", "Host: a", "transfer-encoding:CHUNKED"},
                   "5;a=\"b\";c\r\nhello\r\n000000000000000A\r\n0123456789\r\n0;last\r\n\r\n"),
      "head #1 POST a / streaming\ndata hello0123456789\nend\n");
}

TEST(H1Request, TrailersAreFiltered) {
  EXPECT_EQ(
      read_request({"POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"},
                   "0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: "
                   "gzip\r\nAuthorization: x\r\nCookie: x\r\nConnection: x\r\nTE: x\r\n"
                   "X-Forwarded-For: 1.2.3.4\r\nIf-Match: x\r\nX-Sum: 7\r\n\r\n"),
      "head #1 POST a / streaming\ntrailers [Grpc-Status: 0] [X-Sum: 7]\nend\n");
}

TEST(H1Request, NoTrailersLeftIsNoEvent) {
  EXPECT_EQ(read_request({"POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"},
                         "0\r\nContent-Length: 5\r\n\r\n"),
            "head #1 POST a / streaming\nend\n");
}

TEST(H1Request, HopByHopFieldsAreRemoved) {
  EXPECT_EQ(
      read_request({"GET / HTTP/1.1", "Host: a", "X-Keep: 1", "Connection: close, X-Drop , ,TE",
                    "x-drop: 1", "Keep-Alive: 5", "Proxy-Connection: keep-alive",
                    "Proxy-Authorization: x", "Proxy-Authenticate: x", "TE: trailers, gzip",
                    "X-DROP: 2", "Upgrade: websocket", "HTTP2-Settings: x", "X-Last: 2"}),
      "head #1 GET a / none accepts-trailers [X-Keep: 1] [X-Last: 2]\nend\n");
}

TEST(H1Request, ConnectionMayComeAfterTheFieldItNames) {
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "X-Drop: 1", "Connection: x-drop"}),
            "head #1 GET a / none\nend\n");
}

TEST(H1Request, Upgrade) {
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade",
                          "Upgrade: websocket", "Sec-WebSocket-Key: k"}),
            "head #1 GET a / none upgrade=websocket [Sec-WebSocket-Key: k]\nend\n");
}

TEST(H1Request, UpgradeIsDroppedWhereItMeansNothingOrHarm) {
  const std::string plain = "head #1 GET a / none\nend\n";
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Upgrade: websocket"}), plain);
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: h2c"}),
            plain);
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: H2C"}),
            plain);
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Connection: upgrade, HTTP2-Settings",
                          "HTTP2-Settings: x", "Upgrade: websocket, h2c"}),
            plain);
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: HTTP/2.0"}),
            plain);
  EXPECT_EQ(
      read_request({"GET / HTTP/1.0", "Host: a", "Connection: upgrade", "Upgrade: websocket"}),
      "head #1 GET a / 1.0 none\nend\n");
}

TEST(H1Request, ExpectContinue) {
  EXPECT_EQ(read_request(
                {"POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: 100-Continue"}, "x"),
            "head #1 POST a / length cl=1 expects-continue\ndata x\nend\n");
  EXPECT_EQ(read_request({"GET / HTTP/1.1", "Host: a", "Expect: 100-continue"}),
            "head #1 GET a / none\nend\n");
}

TEST(H1Request, FinInTheMiddle) {
  FeedOptions options;
  options.finishes = true;
  EXPECT_EQ(feed_all_ways("GET / HTTP/1.1\r\nHos", options), "wants-close\n");
  EXPECT_EQ(feed_all_ways("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", options),
            "head #1 POST a / length cl=3\ndata ab\nreset closed 400 truncated\n");
  EXPECT_EQ(feed_all_ways("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "2\r\nab\r\n0\r\n",
                          options),
            "head #1 POST a / streaming\ndata ab\nreset closed 400 truncated\n");
}

TEST(H1Request, FinAfterARequestKeepsServingIt) {
  CodecHarness harness(Role::kServer);
  harness.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  harness.finish();
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\n");
  EXPECT_FALSE(harness.codec().wants_close());
  harness.send(StreamCommand::Kind::kHead, simple_response(200, "ok"));
  EXPECT_EQ(harness.send_data("ok", true), "ok");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1Request, FinBetweenRequests) {
  CodecHarness harness(Role::kServer);
  harness.finish();
  EXPECT_EQ(harness.transcript(), "");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1Request, DataViewsPointIntoTheSlice) {
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kServer, {});
  const std::string input = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  // The head in two pieces: its bytes are gathered, the body's are not.
  StreamEventList events;
  EXPECT_EQ(codec->on_bytes(Slice{{}, std::string_view(input).substr(0, 9)}, events), 9U);
  EXPECT_TRUE(events.empty());
  EXPECT_TRUE(codec->is_busy());
  const std::string_view rest = std::string_view(input).substr(9);
  EXPECT_EQ(codec->on_bytes(Slice{{}, rest}, events), rest.size());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].data.data(), input.data() + input.size() - 5);
  EXPECT_EQ(events[0].head->method, "POST");
}

TEST(H1Request, HeadCopiesNothingWhenItComesWhole) {
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kServer, {});
  const std::string input = "GET /path HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
  StreamEventList events;
  codec->on_bytes(Slice{{}, input}, events);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events[0].head->target.data(), input.data() + 4);
  EXPECT_EQ(events[0].head->fields[0].value.data(), input.data() + input.find('1', 20));
}

}  // namespace
}  // namespace np::http
