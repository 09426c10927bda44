// SPDX-License-Identifier: Apache-2.0
// What goes out: start lines, framing and connection fields for each kind of peer, and what never
// goes out.
#include <gtest/gtest.h>

#include "base/check.h"
#include "codec_harness.h"
#include "http/h1_fields.h"

namespace np::http {
namespace {

using Kind = StreamCommand::Kind;

// A server codec that has read this request.
class Answering : public CodecHarness {
 public:
  explicit Answering(const std::string& request_line, const std::string& fields = "")
      : CodecHarness(Role::kServer) {
    feed(request_line + "\r\nHost: a\r\n" + fields + "\r\n");
  }
};

Head streaming_response() {
  Head head;
  head.status = 200;
  head.body = BodyKind::kStreaming;
  return head;
}

// ---- requests ----------------------------------------------------------------------------------

TEST(H1WriteRequest, Plain) {
  CodecHarness harness(Role::kClient);
  const Field fields[] = {{"Accept", "*/*"}, {"X", ""}};
  Head head = get_request();
  head.target = "/a?b";
  head.authority = "svc:80";
  head.fields = fields;
  EXPECT_EQ(harness.request(head),
            "GET /a?b HTTP/1.1\r\nhost: svc:80\r\nAccept: */*\r\nX: \r\n\r\n");
}

// Field lines that were read go out as they came, whatever lies between them; others are put right.
TEST(H1WriteRequest, LinesThatWereReadGoOutAsTheyCame) {
  HeadMemory memory;
  FieldSummary summary;
  const std::string lines =
      "Accept: */*\r\nX-One:  two blanks\r\nx-two: b \r\nConnection: x-gone\r\nX-Gone: 1\r\n"
      "Cookie: a=b; c\r\nx-three:none\r\nX-Empty: \r\nx-end: \xc3\xa9\r\n\r\nbody";
  std::string_view rest = lines;
  ASSERT_FALSE(read_fields(rest, 99, Section::kRequestHead, memory, summary).is_refused());
  EXPECT_EQ(rest, "body");
  std::string told;
  for (const Field& field : memory.fields) told += field.is_line ? '=' : '~';
  EXPECT_EQ(told, "=~~=~==");
  std::vector<Field> fields(memory.fields.begin(), memory.fields.end());
  fields.insert(fields.begin() + 1, Field{"x-ours", "1"});
  Head head = get_request();
  head.authority = "a";
  head.fields = fields;
  CodecHarness harness(Role::kClient);
  EXPECT_EQ(harness.request(head),
            "GET / HTTP/1.1\r\nhost: a\r\nAccept: */*\r\nx-ours: 1\r\nX-One: two blanks\r\n"
            "x-two: b\r\nCookie: a=b; c\r\nx-three: none\r\nX-Empty: \r\nx-end: \xc3\xa9\r\n\r\n");
}

TEST(H1WriteRequest, Bodies) {
  Head head = get_request();
  head.method = "POST";
  EXPECT_EQ(CodecHarness(Role::kClient).request(head),
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
  head.body = BodyKind::kLength;
  head.content_length = 3;
  CodecHarness sized(Role::kClient);
  EXPECT_EQ(sized.request(head), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");

  head.body = BodyKind::kStreaming;
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kClient, {});
  OutputQueue queue;
  const StreamId stream = codec->open_stream();
  const auto run = [&](Kind kind, std::string_view data, const Head* with) {
    StreamCommand command;
    command.kind = kind;
    command.stream = stream;
    command.head = with;
    command.data.bytes = data;
    codec->on_command(std::move(command), queue);
  };
  run(Kind::kHead, "", &head);
  run(Kind::kData, "hello world, hello", nullptr);
  run(Kind::kData, "", nullptr);
  const Field trailers[] = {{"X", "1"}, {"Content-Length", "5"}};
  Head trailer_head;
  trailer_head.fields = trailers;
  run(Kind::kTrailers, "", &trailer_head);
  run(Kind::kEnd, "", nullptr);
  EXPECT_EQ(drain(queue),
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            "12\r\nhello world, hello\r\n0\r\nX: 1\r\n\r\n");
}

TEST(H1WriteRequest, ConnectionOptions) {
  Head head = get_request();
  head.upgrade = "websocket";
  EXPECT_EQ(CodecHarness(Role::kClient).request(head),
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  head.upgrade = {};
  head.accepts_trailers = true;
  EXPECT_EQ(CodecHarness(Role::kClient).request(head),
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: TE\r\nte: trailers\r\n\r\n");
  head.expect_continue = true;
  EXPECT_EQ(CodecHarness(Role::kClient).request(head, true),
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close, TE\r\n"
            "te: trailers\r\n\r\n");
}

TEST(H1WriteRequest, OtherForms) {
  Head head = get_request();
  head.method = "OPTIONS";
  head.target = "*";
  EXPECT_EQ(CodecHarness(Role::kClient).request(head), "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(CodecHarness(Role::kClient).request("CONNECT"),
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n");
  head = get_request();
  head.authority = {};
  EXPECT_EQ(CodecHarness(Role::kClient).request(head), "GET / HTTP/1.1\r\nhost: \r\n\r\n");
}

TEST(H1WriteRequest, NothingBreaksALineApart) {
  using std::string_literals::operator""s;
  const std::string nul = "a\0b"s;
  const Field fields[] = {{"A", "1\r\nEvil: 1"}, {"B", "1\n"},        {"C", nul},
                          {"D: x", "1"},         {"", "1"},           {"Content-Length", "9"},
                          {"Connection", "x"},   {"host", "other"},   {"Transfer-Encoding", "x"},
                          {"E\r\nF", "1"},       {"Good", "1\t\xc3"}, {"Expect", "x"}};
  Head head = get_request();
  head.target = "/a b\r\nEvil: 1";
  head.fields = fields;
  const uint64_t before = g_unexpected_count.load();
  EXPECT_EQ(CodecHarness(Role::kClient).request(head),
            "GET /a%20b%0D%0AEvil:%201 HTTP/1.1\r\nhost: a\r\nGood: 1\t\xc3\r\n\r\n");
  EXPECT_EQ(g_unexpected_count.load() - before, 11U);
}

TEST(H1WriteRequest, UnusableMethodOrAuthoritySendsNothing) {
  Head head = get_request();
  head.method = "GE T";
  CodecHarness bad_method(Role::kClient);
  EXPECT_EQ(bad_method.request(head), "");
  EXPECT_TRUE(bad_method.codec().wants_close());
  head = get_request();
  head.authority = "a\r\nEvil: 1";
  CodecHarness bad_authority(Role::kClient);
  EXPECT_EQ(bad_authority.request(head), "");
  EXPECT_TRUE(bad_authority.codec().wants_close());
}

// ---- answers -----------------------------------------------------------------------------------

TEST(H1WriteResponse, KnownLength) {
  Answering harness("GET / HTTP/1.1");
  const Field fields[] = {{"Content-Type", "text/plain"}};
  Head head = simple_response(200, "hi");
  head.fields = fields;
  EXPECT_EQ(harness.send(Kind::kHead, head),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 2\r\n\r\n");
  EXPECT_EQ(harness.send_data("hi", true), "hi");
  EXPECT_FALSE(harness.codec().is_busy());
  EXPECT_FALSE(harness.codec().wants_close());
}

TEST(H1WriteResponse, Reason) {
  Head head = simple_response(503, "");
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
  head.reason = "Busy";
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
  head.reason = "Bu\r\nsy";
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
  head = simple_response(299, "");
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
}

TEST(H1WriteResponse, StreamingToHttp11IsChunked) {
  for (const BodyKind body : {BodyKind::kStreaming, BodyKind::kUntilClose}) {
    Answering harness("GET / HTTP/1.1");
    Head head = streaming_response();
    head.body = body;
    EXPECT_EQ(harness.send(Kind::kHead, head),
              "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    EXPECT_EQ(harness.send_data(std::string(26, 'x')), "1a\r\n" + std::string(26, 'x') + "\r\n");
    EXPECT_EQ(harness.send_end(), "0\r\n\r\n");
    EXPECT_FALSE(harness.codec().wants_close());
  }
}

TEST(H1WriteResponse, StreamingToHttp10EndsWithTheConnection) {
  Answering harness("GET / HTTP/1.0", "Connection: keep-alive\r\n");
  EXPECT_EQ(harness.send(Kind::kHead, streaming_response()),
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(harness.send_data("hi"), "hi");
  EXPECT_EQ(harness.send_end(), "");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1WriteResponse, Http10KeepAlive) {
  Answering kept("GET / HTTP/1.0", "Connection: keep-alive\r\n");
  EXPECT_EQ(kept.send(Kind::kHead, simple_response(200, ""), true),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
  EXPECT_FALSE(kept.codec().wants_close());
  Answering closed("GET / HTTP/1.0");
  EXPECT_EQ(closed.send(Kind::kHead, simple_response(200, ""), true),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(closed.codec().wants_close());
}

TEST(H1WriteResponse, Close) {
  const std::string closing = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
  Answering asked("GET / HTTP/1.1", "Connection: close\r\n");
  EXPECT_EQ(asked.send(Kind::kHead, simple_response(200, ""), true), closing);
  EXPECT_TRUE(asked.codec().wants_close());
  Answering told("GET / HTTP/1.1");
  EXPECT_EQ(told.send(Kind::kHead, simple_response(200, ""), true, true), closing);
  EXPECT_TRUE(told.codec().wants_close());
}

TEST(H1WriteResponse, DataAfterAFinalRequestIsDropped) {
  Answering harness("GET / HTTP/1.1", "Connection: close\r\n");
  harness.feed("GET /more HTTP/1.1\r\nHost: a\r\n\r\n");
  harness.send(Kind::kHead, simple_response(200, ""), true);
  harness.feed("GET /evenmore HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\n");
}

TEST(H1WriteResponse, AnswerToHead) {
  Answering sized("HEAD / HTTP/1.1");
  EXPECT_EQ(sized.send(Kind::kHead, simple_response(200, "hello")),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
  EXPECT_EQ(sized.send_data("hello", true), "");
  EXPECT_FALSE(sized.codec().wants_close());
  Answering streamed("HEAD / HTTP/1.1");
  EXPECT_EQ(streamed.send(Kind::kHead, streaming_response()), "HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(streamed.send_data("x", true), "");
}

TEST(H1WriteResponse, StatusesWithoutBody) {
  Head head = simple_response(204, "");
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head), "HTTP/1.1 204 No Content\r\n\r\n");
  head = streaming_response();
  head.status = 204;
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head), "HTTP/1.1 204 No Content\r\n\r\n");
  head = Head{};
  head.status = 304;
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 304 Not Modified\r\n\r\n");
  head.has_content_length = true;
  head.content_length = 9;
  EXPECT_EQ(Answering("GET / HTTP/1.1").send(Kind::kHead, head),
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n");
}

TEST(H1WriteResponse, Interim) {
  Head head;
  head.status = 100;
  Answering current("POST / HTTP/1.1", "Content-Length: 1\r\nExpect: 100-continue\r\n");
  EXPECT_EQ(current.send(Kind::kInterim, head), "HTTP/1.1 100 Continue\r\n\r\n");
  Answering old("POST / HTTP/1.0", "Content-Length: 1\r\n");
  EXPECT_EQ(old.send(Kind::kInterim, head), "");
}

TEST(H1WriteResponse, FinalAnswerInsteadOfContinueCloses) {
  Answering harness("POST / HTTP/1.1", "Content-Length: 1\r\nExpect: 100-continue\r\n");
  EXPECT_EQ(harness.send(Kind::kHead, simple_response(403, ""), true),
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1WriteResponse, EarlyAnswerLetsTheBodyArrive) {
  Answering harness("POST / HTTP/1.1", "Content-Length: 4\r\n");
  harness.feed("ab");
  harness.send(Kind::kHead, simple_response(403, ""), true);
  EXPECT_FALSE(harness.codec().wants_close());
  EXPECT_TRUE(harness.codec().is_busy());
  harness.feed("cdGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(harness.transcript(),
            "head #1 POST a / length cl=4\ndata abcd\nend\nhead #2 GET a /2 none\nend\n");
}

TEST(H1WriteResponse, Trailers) {
  const Field fields[] = {{"Grpc-Status", "0"}};
  Head trailers;
  trailers.fields = fields;
  Answering able("GET / HTTP/1.1", "TE: trailers\r\n");
  able.send(Kind::kHead, streaming_response());
  EXPECT_EQ(able.send(Kind::kTrailers, trailers), "0\r\nGrpc-Status: 0\r\n");
  EXPECT_EQ(able.send_end(), "\r\n");
  Answering unable("GET / HTTP/1.1");
  unable.send(Kind::kHead, streaming_response());
  EXPECT_EQ(unable.send(Kind::kTrailers, trailers), "");
  EXPECT_EQ(unable.send_end(), "0\r\n\r\n");
}

TEST(H1WriteResponse, NeverMoreThanAnnounced) {
  Answering harness("GET / HTTP/1.1");
  harness.send(Kind::kHead, simple_response(200, "hi"));
  EXPECT_EQ(harness.send_data("hi there", true), "hi");
}

TEST(H1WriteResponse, LessThanAnnouncedCloses) {
  Answering harness("GET / HTTP/1.1");
  harness.send(Kind::kHead, simple_response(200, "hi"));
  harness.send_data("h", true);
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1WriteResponse, Reset) {
  Answering harness("GET / HTTP/1.1");
  harness.send(Kind::kHead, streaming_response());
  harness.send_reset();
  EXPECT_TRUE(harness.codec().wants_close());
  EXPECT_EQ(harness.send_end(), "");
}

TEST(H1WriteResponse, RefusedRequest) {
  CodecHarness harness(Role::kServer);
  harness.feed("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(harness.transcript(), "refused 400 two_hosts\n");
  EXPECT_TRUE(harness.codec().is_busy());
  EXPECT_EQ(harness.send(Kind::kHead, simple_response(400, ""), true),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
  EXPECT_EQ(harness.transcript(), "refused 400 two_hosts\n");
}

TEST(H1WriteResponse, BrokenBodyMayStillBeAnswered) {
  Answering harness("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n");
  harness.feed("x\r\n");
  EXPECT_EQ(harness.send(Kind::kHead, simple_response(400, ""), true),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
}

TEST(H1WriteResponse, FailedConnectCloses) {
  Answering harness("CONNECT b:1 HTTP/1.1");
  EXPECT_EQ(harness.send(Kind::kHead, simple_response(405, ""), true),
            "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(harness.codec().wants_close());
}

}  // namespace
}  // namespace np::http
