// SPDX-License-Identifier: Apache-2.0
// Whole exchanges: what one role writes the other reads back the same, pipelined requests are
// served one at a time, and tunnels carry bytes both ways.
#include <gtest/gtest.h>

#include "codec_harness.h"

namespace np::http {
namespace {

using Kind = StreamCommand::Kind;

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// ---- round trips -------------------------------------------------------------------------------

struct Trip {
  BodyKind body;
  std::vector<std::string> pieces;
};

std::string text_of(const Trip& trip) {
  std::string text;
  for (const std::string& piece : trip.pieces) text += piece;
  return text;
}

const Trip kTrips[] = {
    {BodyKind::kNone, {}},
    {BodyKind::kLength, {"hello"}},
    {BodyKind::kLength, {std::string(600, 'a'), std::string(5000, 'b')}},
    {BodyKind::kStreaming, {"a", "bc", std::string(4096, 'd')}},
    {BodyKind::kStreaming, {}},
};

TEST(H1RoundTrip, Requests) {
  for (const Trip& trip : kTrips) {
    const Field fields[] = {{"X-One", "1"}, {"Cookie", "a=b; c"}, {"X-Empty", ""}};
    Head head = get_request();
    head.method = "PUT";
    head.target = "/x?y=z";
    head.body = trip.body;
    head.content_length = text_of(trip).size();
    head.has_content_length = trip.body != BodyKind::kStreaming;
    head.accepts_trailers = true;
    head.upgrade = "websocket";
    head.fields = fields;
    const std::unique_ptr<Codec> client = make_h1_codec(Role::kClient, {});
    const StreamId stream = client->open_stream();
    OutputQueue queue;
    StreamCommand command;
    command.stream = stream;
    command.head = &head;
    client->on_command(std::move(command), queue);
    for (const std::string& piece : trip.pieces) {
      StreamCommand data;
      data.kind = Kind::kData;
      data.stream = stream;
      data.data.bytes = piece;
      client->on_command(std::move(data), queue);
    }
    StreamCommand end;
    end.kind = Kind::kEnd;
    end.stream = stream;
    client->on_command(std::move(end), queue);

    FeedOptions options;
    options.cut_step = 7;
    std::string expected = "head #1 PUT a /x?y=z ";
    if (trip.body == BodyKind::kNone) expected += "none cl=0";
    if (trip.body == BodyKind::kLength) {
      expected += "length cl=" + std::to_string(text_of(trip).size());
    }
    if (trip.body == BodyKind::kStreaming) expected += "streaming";
    expected += " accepts-trailers upgrade=websocket [X-One: 1] [Cookie: a=b; c] [X-Empty: ]\n";
    if (!trip.pieces.empty()) expected += "data " + text_of(trip) + "\n";
    EXPECT_EQ(feed_all_ways(drain(queue), options), expected + "end\n");
  }
}

TEST(H1RoundTrip, Responses) {
  for (const Trip& trip : kTrips) {
    CodecHarness server(Role::kServer);
    server.feed("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    const Field fields[] = {{"Set-Cookie", "a"}, {"Set-Cookie", "b"}};
    Head head;
    head.status = 404;
    head.body = trip.body;
    head.content_length = text_of(trip).size();
    head.fields = fields;
    std::string wire = server.send(Kind::kHead, head);
    for (const std::string& piece : trip.pieces) wire += server.send_data(piece);
    const Field trailer_fields[] = {{"X-Sum", "1"}};
    Head trailers;
    trailers.fields = trailer_fields;
    wire += server.send(Kind::kTrailers, trailers);
    wire += server.send_end();
    EXPECT_FALSE(server.codec().is_busy());

    FeedOptions options;
    options.role = Role::kClient;
    options.request = get_request();
    options.cut_step = 7;
    std::string expected = "head #1 404 'Not Found' ";
    if (trip.body == BodyKind::kNone) expected += "none cl=0";
    if (trip.body == BodyKind::kLength) {
      expected += "length cl=" + std::to_string(text_of(trip).size());
    }
    if (trip.body == BodyKind::kStreaming) expected += "streaming";
    expected += " [Set-Cookie: a] [Set-Cookie: b]\n";
    if (!trip.pieces.empty()) expected += "data " + text_of(trip) + "\n";
    if (trip.body == BodyKind::kStreaming) expected += "trailers [X-Sum: 1]\n";
    EXPECT_EQ(feed_all_ways(wire, options), expected + "end\n");
  }
}

// ---- pipelining --------------------------------------------------------------------------------

TEST(H1Pipelining, SecondRequestWaitsForTheFirstAnswer) {
  CodecHarness harness(Role::kServer);
  harness.feed(kGet + "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\n");
  EXPECT_EQ(harness.unused(), "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  harness.send(Kind::kHead, simple_response(200, "hi"));
  harness.feed("");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\n");
  harness.send_data("hi", true);
  harness.feed("");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none\nend\nhead #2 GET a /2 none\nend\n");
}

TEST(H1Pipelining, AnsweredAtOnce) {
  CodecHarness harness(Role::kServer);
  std::string input;
  for (int i = 0; i < 50; ++i) input += kGet;
  int requests = 0;
  harness.on_event = [&](StreamEvent::Kind kind) {
    if (kind != StreamEvent::Kind::kEnd) return;
    ++requests;
    harness.send(Kind::kHead, simple_response(204, ""), true);
  };
  harness.feed(input);
  EXPECT_EQ(requests, 50);
  EXPECT_EQ(harness.unused(), "");
}

TEST(H1Pipelining, CommandsForAnotherStreamAreIgnored) {
  const std::unique_ptr<Codec> codec = make_h1_codec(Role::kServer, {});
  StreamEventList events;
  codec->on_bytes(Slice{{}, kGet}, events);
  const Head head = simple_response(200, "");
  OutputQueue queue;
  StreamCommand command;
  command.stream = 7;
  command.head = &head;
  codec->on_command(std::move(command), queue);
  EXPECT_TRUE(queue.empty());
}

// ---- tunnels -----------------------------------------------------------------------------------

TEST(H1Tunnel, UpgradeAtTheServer) {
  CodecHarness harness(Role::kServer);
  harness.feed(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
      "early");
  EXPECT_EQ(harness.transcript(), "head #1 GET a / none upgrade=websocket\nend\n");
  EXPECT_EQ(harness.unused(), "early");
  Head head;
  head.status = 101;
  head.upgrade = "websocket";
  head.body = BodyKind::kTunnel;
  EXPECT_EQ(harness.send(Kind::kHead, head),
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            "\r\n");
  harness.codec().start_tunnel();
  harness.feed(" late");
  EXPECT_EQ(harness.send_data("GET / HTTP/1.1\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(harness.codec().is_busy());
  harness.finish();
  EXPECT_FALSE(harness.codec().wants_close());
  EXPECT_EQ(harness.send_data("more"), "more");
  EXPECT_EQ(harness.send_end(), "");
  EXPECT_TRUE(harness.codec().wants_close());
  EXPECT_EQ(harness.transcript(),
            "head #1 GET a / none upgrade=websocket\nend\ndata early late\nend\n");
}

TEST(H1Tunnel, RefusedUpgradeIsAnOrdinaryAnswer) {
  CodecHarness harness(Role::kServer);
  harness.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  harness.send(Kind::kHead, simple_response(403, ""), true);
  harness.feed("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(harness.transcript().ends_with("head #2 GET a /2 none\nend\n"));
}

TEST(H1Tunnel, ConnectAtTheServer) {
  CodecHarness harness(Role::kServer);
  harness.feed("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n");
  Head head;
  head.status = 200;
  head.body = BodyKind::kTunnel;
  EXPECT_EQ(harness.send(Kind::kHead, head), "HTTP/1.1 200 OK\r\n\r\n");
  harness.feed("x");
  EXPECT_EQ(harness.send_data("y"), "y");
  EXPECT_EQ(harness.transcript(), "head #1 CONNECT b:1  none\nend\ndata x");
}

TEST(H1Tunnel, UpgradeAtTheClient) {
  CodecHarness harness(Role::kClient);
  Head head = get_request();
  head.upgrade = "websocket";
  harness.request(head);
  harness.feed("HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly");
  harness.codec().start_tunnel();
  EXPECT_EQ(harness.send_data("ping"), "ping");
  harness.feed(" late");
  EXPECT_EQ(harness.send_end(), "");
  EXPECT_FALSE(harness.codec().wants_close());
  harness.finish();
  EXPECT_TRUE(harness.codec().wants_close());
  EXPECT_EQ(harness.transcript(),
            "head #1 101 'Ok' tunnel upgrade=websocket\ndata early late\nend\n");
}

TEST(H1Tunnel, OriginFinishesFirst) {
  CodecHarness harness(Role::kClient);
  harness.request("CONNECT");
  harness.feed("HTTP/1.1 200 OK\r\n\r\n");
  harness.finish();
  EXPECT_FALSE(harness.codec().wants_close());
  EXPECT_EQ(harness.send_data("ping"), "ping");
  harness.send_end();
  EXPECT_TRUE(harness.codec().wants_close());
}

}  // namespace
}  // namespace np::http
