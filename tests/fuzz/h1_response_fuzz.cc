// SPDX-License-Identifier: Apache-2.0
// Bytes of an origin against the client codec; what it accepts goes out through a server codec and
// must read back as the same answer. The first byte chooses the request and whether FIN follows.
#include "h1_fuzz_support.h"

namespace np::http {
namespace {

void ignore(const StreamEvent&) {}

struct Setup {
  std::string method;
  bool has_upgrade = false;
  bool is_http10_client = false;
  bool finishes = false;
};

Setup choose(uint8_t bits) {
  constexpr std::string_view kMethods[] = {"GET", "HEAD", "CONNECT", "GET"};
  Setup setup;
  setup.method = kMethods[bits & 3U];
  setup.has_upgrade = (bits & 3U) == 3;
  setup.is_http10_client = (bits & 4U) != 0 && !setup.has_upgrade;
  setup.finishes = (bits & 8U) != 0;
  return setup;
}

void send_request(Codec& codec, const Setup& setup) {
  Head head;
  head.method = setup.method;
  head.authority = "a:1";
  head.target = "/";
  if (setup.has_upgrade) head.upgrade = "websocket";
  OutputQueue unused;
  StreamCommand command;
  command.stream = codec.open_stream();
  command.head = &head;
  command.end_of_message = true;
  codec.on_command(std::move(command), unused);
}

std::string request_text(const Setup& setup) {
  std::string text = setup.method + (setup.method == "CONNECT" ? " a:1" : " /");
  text += setup.is_http10_client ? " HTTP/1.0\r\nConnection: keep-alive" : " HTTP/1.1";
  text += "\r\nHost: a:1\r\nTE: trailers\r\n";
  if (setup.has_upgrade) text += "Connection: upgrade\r\nUpgrade: websocket\r\n";
  return text + "\r\n";
}

void run(const Setup& setup, std::string_view input) {
  FuzzedCodec client(Role::kClient, fuzz_limits());
  send_request(client.codec(), setup);
  FuzzedCodec server(Role::kServer, {});
  NP_CHECK(server.feed(request_text(setup), ignore) > 0);
  OutputQueue wire;
  bool is_first = true;
  const auto forward = [&](const StreamEvent& event) {
    if (is_first && event.kind == StreamEvent::Kind::kHead) {
      check_whole_head(Role::kClient, input, *event.head);
    }
    is_first = false;
    StreamCommand command;
    if (to_command(event, 1, command)) server.codec().on_command(std::move(command), wire);
  };
  client.feed(input, forward);
  if (setup.finishes) client.finish(forward);
  if (client.messages().size() != 1) {
    NP_CHECK(client.messages().empty());
    return;
  }
  const SeenMessage& sent = client.messages()[0];
  if (!sent.has_head || !sent.fault.empty()) return;

  FuzzedCodec reader(Role::kClient, {});
  send_request(reader.codec(), setup);
  const std::string text = drain(wire);
  NP_CHECK(reader.feed(text, ignore) == text.size());
  // The end of the connection, or of this direction of a tunnel, is the end of the message.
  const bool ends_with_fin = server.codec().wants_close() || server.codec().is_busy();
  if (sent.has_ended && ends_with_fin) reader.finish(ignore);
  NP_CHECK(reader.messages().size() == 1);
  const SeenMessage& read = reader.messages()[0];
  NP_CHECK(read.fault.empty());
  NP_CHECK(read.data == sent.data);
  NP_CHECK(read.has_ended == sent.has_ended);
  NP_CHECK(setup.is_http10_client || read.trailers == sent.trailers);
}

}  // namespace
}  // namespace np::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  np::http::run(np::http::choose(data[0]), {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
