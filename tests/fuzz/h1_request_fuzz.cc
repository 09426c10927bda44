// SPDX-License-Identifier: Apache-2.0
// Bytes of a client against the server codec. What it accepts is forwarded by a client codec, and
// the forwarded bytes must read back as the same request and as nothing else: no input may smuggle
// a second one.
#include "h1_fuzz_support.h"

namespace np::http {
namespace {

// What the origin would read of `wire`.
void check_forwarded(const std::string& wire, const SeenMessage& sent) {
  FuzzedCodec origin(Role::kServer, {});
  const size_t used = origin.feed(wire, [](const StreamEvent&) {});
  NP_CHECK(origin.messages().size() == 1);
  const SeenMessage& read = origin.messages()[0];
  NP_CHECK(read.fault.empty());
  NP_CHECK(used == wire.size());
  NP_CHECK(read.data == sent.data);
  NP_CHECK(read.trailers == sent.trailers);
  NP_CHECK(read.has_ended == sent.has_ended);
  NP_CHECK(read.head == sent.head);
}

void run(std::string_view input) {
  FuzzedCodec server(Role::kServer, fuzz_limits());
  while (!input.empty()) {
    FuzzedCodec client(Role::kClient, {});
    OutputQueue wire;
    OutputQueue to_client;
    StreamId downstream = 0;
    const size_t seen_before = server.messages().size();
    const size_t used = server.feed(input, [&](const StreamEvent& event) {
      downstream = event.stream;
      StreamCommand command;
      if (event.kind == StreamEvent::Kind::kHead) {
        check_whole_head(Role::kServer, input, *event.head);
        client.codec().open_stream();
      }
      if (!to_command(event, 1, command)) return;
      client.codec().on_command(std::move(command), wire);
    });
    if (server.messages().size() > seen_before) {
      SeenMessage sent = server.messages().back();
      if (sent.has_head && sent.fault.empty()) check_forwarded(drain(wire), sent);
    }
    if (used == 0 || downstream == 0) break;
    input.remove_prefix(used);
    Head answer;
    answer.status = 304;
    StreamCommand command;
    command.stream = downstream;
    command.head = &answer;
    command.end_of_message = true;
    server.codec().on_command(std::move(command), to_client);
    if (server.codec().wants_close() || server.codec().is_busy()) break;
  }
}

}  // namespace
}  // namespace np::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  np::http::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
